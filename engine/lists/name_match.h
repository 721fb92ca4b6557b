// SPDX-License-Identifier: Apache-2.0
// How an entry of a list can name a module: plain functions on (entry, module path).
//
//   IsExact("lm_head", "lm_head")                  HasSegments("mlp.gate", "a.mlp.gate.b")
//   IsAncestor("a.mlp", "a.mlp.gate")              HasLastSegments("mlp.gate", "a.mlp.gate")
//   HasSuffix("b_proj", "a.kv_b_proj")             HasText("gate", "a.gate_up_proj")
//   Glob("a.*.gate", "a.0.mlp.gate")               PythonRegex::Compile("re", …)->Match(…)
//
// These are the primitives that dialect and runtime files name. They know no engine: what an engine
// strips, renames or tries first is said in its file.
#pragma once

#include <re2/re2.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/lists/python_pattern.h"

namespace ferrule {

inline bool IsExact(std::string_view entry, std::string_view path) { return entry == path; }
// The entry is the path or a container above it.
bool IsAncestor(std::string_view entry, std::string_view path);
// The entry is a run of whole segments of the path, at any place. An empty entry is a run where the
// path holds an empty segment, as in SGLang.
bool HasSegments(std::string_view entry, std::string_view path);
// The entry is the last whole segments of the path.
bool HasLastSegments(std::string_view entry, std::string_view path);
// The entry is one segment of the path.
bool HasSegment(std::string_view entry, std::string_view path);
// Without regard to segments:
bool HasPrefix(std::string_view entry, std::string_view path);
bool HasSuffix(std::string_view entry, std::string_view path);
bool HasText(std::string_view entry, std::string_view path);
// As Python's `a.lower() in b.lower()` for ASCII letters.
bool HasTextNoCase(std::string_view entry, std::string_view path);
// The path stands within the entry.
inline bool IsTextOf(std::string_view entry, std::string_view path) { return HasText(path, entry); }

// Python's fnmatch.fnmatchcase: `*`, `?`, `[a-c]`, `[!a]`; `*` crosses dots.
bool Glob(std::string_view pattern, std::string_view name);
// ModelOpt's way to a regular expression: `.` is escaped, `*` is `.*`, all else stays alive.
std::string ModelOptGlob(std::string_view pattern);

std::string_view LastSegment(std::string_view path);
std::vector<std::string_view> Segments(std::string_view path);
std::string_view StripTrailingDots(std::string_view text);
// Python's str.replace: every occurrence, left to right; an empty `from` stands before every
// character and at the end.
std::string ReplaceEvery(std::string_view text, std::string_view from, std::string_view to);
std::string ReplaceFirst(std::string_view text, std::string_view from, std::string_view to);

// `name` with the first rename whose `from` are its leading whole segments; with `anywhere`, whole
// segments at any place. At most one rename is applied, once.
std::string ApplyRenames(std::string_view name,
                         const std::vector<std::pair<std::string, std::string>>& renames,
                         bool anywhere);

enum class Anchor : uint8_t { kMatch, kSearch, kFull };

// One pattern of Python, compiled by RE2 or known to raise. Immutable.
class PythonRegex {
 public:
  enum class Verdict : uint8_t { kNo, kYes, kRaises, kUnsupported };

  PythonRegex(std::string_view pattern, PythonModule module);
  Verdict Match(std::string_view name, Anchor anchor) const;
  // A match at the start that ends after a dot, before a dot or at the end.
  Verdict MatchToBoundary(std::string_view name) const;
  // What raises or is not supported; "error" or "OverflowError" is `error()`.
  const std::string& why() const { return why_; }
  std::string_view error() const { return overflows_ ? "OverflowError" : "error"; }

 private:
  bool Knows(std::string_view name) const;
  // Whether `plain_` is what stands at `at`; kUnsupported: RE2 must be asked.
  Verdict PlainAt(std::string_view name, size_t at) const;

  std::unique_ptr<RE2> regex_;
  std::string plain_;  // the pattern where it is letters, digits, `_`, `-` and dots alone, as most
                       // entries are; else empty
  Verdict without_ = Verdict::kUnsupported;  // when there is no regex_
  bool ascii_only_ = false, one_line_ = false, overflows_ = false;
  std::string why_;
};

// Compiles each pattern once. Not thread-safe.
class PythonRegexes {
 public:
  const PythonRegex& Get(std::string_view pattern, PythonModule module);

 private:
  struct Hash {
    using is_transparent = void;  // looked up without making a string
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Known =
      std::unordered_map<std::string, std::unique_ptr<PythonRegex>, Hash, std::equal_to<>>;
  Known known_[2];
};

}  // namespace ferrule
