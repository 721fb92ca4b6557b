// SPDX-License-Identifier: Apache-2.0
// Regular expressions written for Python's `re`, compiled with RE2 or refused.
//
// What RE2 cannot express (look-around, back-references, atomic groups, possessive quantifiers,
// conditionals, \Z) is refused by name; what it would read otherwise than Python as well. RE2's own
// log is off: it would write to the server's stderr. Names of modules are ASCII without line
// breaks, so that `\d`, `\w` and `$`, which differ beyond, mean the same.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/diagnostics.h"

namespace ferrule {

RE2::Options PythonRegexOptions();

// Null with a finding (FR201, FR202, FR203, FR205) when the pattern is not acceptable.
std::unique_ptr<RE2> CompilePythonRegex(const std::string& pattern, size_t max_bytes,
                                        int max_program, int max_wildcards, const Location& at,
                                        Diagnostics* out);

// Whether a match at the start is found in every name, as for `.*` and `x?`.
bool MatchesEverything(const RE2& regex);

// `name` with the first rename whose `from` are its leading whole segments; with `anywhere`, whole
// segments at any place. At most one rename is applied, once.
std::string ApplyRenames(std::string_view name,
                         const std::vector<std::pair<std::string, std::string>>& renames,
                         bool anywhere);

}  // namespace ferrule
