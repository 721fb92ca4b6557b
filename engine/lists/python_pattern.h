// SPDX-License-Identifier: Apache-2.0
// A regular expression written for Python → the same for RE2, or Python's own refusal.
//
// The reader follows the grammar of Python 3.11's `re` (and of the `regex` module where that
// differs), so that it knows which patterns raise there. What RE2 cannot express is named: look-
// around, back-references, atomic groups, possessive quantifiers, conditionals, counts above 1,000.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ferrule {

enum class PythonModule : uint8_t { kRe, kRegex };

struct PythonPattern {
  enum class State : uint8_t {
    kOk,
    kRaises,       // Python raises error / PatternError when it compiles the pattern
    kOverflows,    // Python raises OverflowError: a count that is too large
    kUnsupported,  // Python accepts it, RE2 cannot express it
  };
  State state = State::kOk;
  std::string why;  // what Python objects to, or the construct that RE2 lacks
  std::string re2;
  bool ascii_only = false;  // right for ASCII names only: `\b` and `[\W]`
  bool one_line = false;    // right for names without a line break only: `$`
  // What RE2 would read otherwise in `pattern` as it stands; empty: for names of modules (ASCII
  // without line breaks) RE2 may be given the pattern itself.
  std::string differs;
  int wildcards = 0;  // `.` repeated without end
};

// Whether `why` is one of the constructs that no translation can give to RE2.
bool IsInexpressible(std::string_view why);

// `pattern` must be UTF-8.
PythonPattern TranslatePythonPattern(std::string_view pattern, PythonModule module);

}  // namespace ferrule
