// SPDX-License-Identifier: Apache-2.0
// What the two halves of the reader of Python patterns share: characters, position, first failure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/lists/python_pattern.h"

namespace ferrule {

// Shortest and longest match, for the fixed width that look-behind needs.
struct PatternWidth {
  uint64_t min = 0, max = 0;
};

struct PatternFlags {
  bool verbose = false, ascii = false;
};

struct PatternGroup {
  std::string name;
  bool open = true;
  PatternWidth width;
};

class PythonPatternReader {
 public:
  PythonPatternReader(std::string_view pattern, PythonModule module, bool verbose);
  // The whole pattern. With `restart` set, it turned verbose mode on and must be read again in it.
  PythonPattern Read(bool* restart);

 private:
  static constexpr char32_t kEnd = 0xFFFFFFFF;
  static constexpr int kMaxDepth = 200;

  // python_pattern.cc: sequences and quantifiers
  PatternWidth Alternatives(PatternFlags flags, bool top);
  PatternWidth Sequence(PatternFlags flags, bool first);
  bool Quantifier(char32_t c, uint64_t* min, uint64_t* max);
  void Repeat(uint64_t min, uint64_t max, PatternWidth* last, bool* repeated);
  PatternWidth Reference(size_t group);

  // python_group.cc: everything that begins with a bracket
  PatternWidth Group(PatternFlags flags, bool may_set_global, bool* is_item);
  PatternWidth NamedGroup(PatternFlags flags);
  PatternWidth LookAround(PatternFlags flags, bool behind);
  void Conditional(PatternFlags flags);
  bool InlineFlags(PatternFlags flags, bool may_set_global, PatternFlags* inner, std::string* open,
                   bool* global);
  PatternWidth Capture(PatternFlags flags, const std::string& name);
  PatternWidth Close(PatternWidth width);

  // python_class.cc: escapes and sets of characters
  struct Escape {
    bool is_class = false;   // \d \w \s and their opposites
    bool is_anchor = false;  // \A \b \B \Z
    bool is_reference = false;
    char32_t code = 0;  // of a literal, or the letter of a class or anchor
    size_t group = 0;
  };
  Escape ReadEscape(bool in_set);
  char32_t Hex(size_t digits);
  char32_t Octal(char32_t first, size_t more, bool* ok);
  void Set(PatternFlags flags);
  void EmitClass(char32_t letter, PatternFlags flags, bool in_set);
  void EmitAnchor(char32_t letter);
  void EmitLiteral(char32_t c);
  std::string Until(char32_t end, const char* what);

  char32_t Peek() const { return at_ < text_.size() ? text_[at_] : kEnd; }
  char32_t Next() { return at_ < text_.size() ? text_[at_++] : kEnd; }
  bool Take(char32_t c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }
  // The first failure counts; afterwards nothing more is read.
  void Raise(std::string why);
  void Overflow(std::string why);
  void Unsupported(std::string why);
  void Differs(std::string what);
  bool failed() const {
    return out_.state == PythonPattern::State::kRaises ||
           out_.state == PythonPattern::State::kOverflows;
  }
  bool is_regex() const { return module_ == PythonModule::kRegex; }

  std::u32string text_;
  size_t at_ = 0;
  PythonModule module_;
  PatternFlags global_;
  std::string global_flags_;  // i, m, s
  bool restart_ = false;
  int depth_ = 0;
  bool too_deep_ = false;
  std::vector<PatternGroup> groups_;  // from group 1
  std::vector<size_t> promised_;      // groups named by conditionals before they are known
  int behind_ = 0;                    // inside so many look-behinds
  size_t behind_groups_ = 0;
  PythonPattern out_;
};

}  // namespace ferrule
