// SPDX-License-Identifier: Apache-2.0
// A list of names compiled under a dialect: which entries name a module? The only user of RE2.
//
// Used for every list of names: skip lists, targets, layers, allow-lists. Plain entries are found
// by hashes of the path, of its ancestors and of runs of its segments, and globs that end in their
// only star by one binary search, so that the cost does not grow with the list; regular expressions
// by one RE2::Set. Whole segments, unless the dialect says `suffix` or `substring`: `mlp.gate`
// never names `mlp.gate_up_proj`, `layers.1` never `layers.10`. Immutable after Compile and safe to
// use from many threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/lists/dialect.h"

namespace ferrule {

struct ListEntry {
  std::string text;  // as written
  Location at;
};

// A declared rename of roots: whole leading segments `from` are read as `to`.
using Renames = std::vector<std::pair<std::string, std::string>>;

struct Hit {
  int entry = -1;  // index in the list; -1: nothing matched
  Primitive how = Primitive::kExact;
  explicit operator bool() const { return entry >= 0; }
};

class SkipList {
 public:
  // Limits for patterns; beyond them FR203.
  static constexpr size_t kMaxPattern = 512;
  static constexpr size_t kMaxPatterns = 64;
  static constexpr int kMaxProgram = 2000;
  static constexpr int kMaxWildcards = 2;
  // Globs with a star elsewhere than at the end, entries read as a suffix or a substring: each is
  // looked at one by one.
  static constexpr size_t kMaxOneByOne = 512;

  SkipList();
  ~SkipList();
  SkipList(SkipList&&) noexcept;
  SkipList& operator=(SkipList&&) noexcept;

  enum class Use : uint8_t {
    kSkip,     // a pattern that matches every name is a mistake
    kTargets,  // here it is not
  };

  // Entries are stripped as the dialect says and renamed. Findings for patterns that RE2 cannot
  // express, that Python reads otherwise, that cost too much, or that a plain dialect does not
  // have.
  static std::optional<SkipList> Compile(const Matching& matching, std::vector<ListEntry> entries,
                                         const Renames& renames, Diagnostics* out,
                                         Use use = Use::kSkip);
  // The skip list of a dialect.
  static std::optional<SkipList> Compile(const Dialect& dialect, std::vector<ListEntry> entries,
                                         const Renames& renames, Diagnostics* out,
                                         Use use = Use::kSkip) {
    return Compile(dialect.list.names, std::move(entries), renames, out, use);
  }

  size_t size() const;
  const ListEntry& entry(size_t i) const;
  // The entry as it is compared: stripped and renamed; of a pattern, the regular expression.
  const std::string& name(size_t i) const;
  bool is_pattern(size_t i) const;
  bool has_patterns() const;
  bool has_classes() const;  // entries that name every linear

  // False: no entry names any module whose template (PathTable's form) is `normal` and whose path
  // begins with `begin`; classes are left aside. True: perhaps, each is to be asked. So one
  // question settles all experts of a layer.
  bool MayName(std::string_view normal, std::string_view begin) const;
  // The same of MatchLiteral.
  bool MayNameLiterally(std::string_view normal) const;

  // The best entry that names the module `path`: exact before ancestor before last segments before
  // other segments before globs, suffixes and substrings before patterns before class; among equals
  // the first of the list.
  Hit Match(std::string_view path) const;
  // Whole segments only, without globs, patterns and classes: for fused names, which patterns must
  // not catch by accident.
  Hit MatchLiteral(std::string_view path) const;
  // Every entry that names `path`, appended to `hits`.
  void MatchAll(std::string_view path, std::vector<Hit>* hits) const;
  // How the entry of a hit takes `path` by accident: it begins or ends inside a segment or a number
  // (`layers.1*` takes layer 10), or an unescaped dot stands for another character. Empty when it
  // does not.
  std::string Accident(const Hit& hit, std::string_view path) const;

 private:
  struct State;
  class Compiler;
  std::unique_ptr<State> state_;
};

}  // namespace ferrule
