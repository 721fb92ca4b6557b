// SPDX-License-Identifier: Apache-2.0
// Regular expressions of skip lists, written for Python's `re`: compiled with RE2 or refused.
//
// What Python refuses is refused with its reason, what RE2 cannot express by name, and what RE2
// would read otherwise too (python_pattern.h reads the grammar). RE2's own log is off: it would
// write to the server's stderr. Names of modules are ASCII without line breaks, so that `\d`, `\w`
// and `$`, which differ beyond, mean the same; RE2 is given the pattern as it stands.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <string>

#include "engine/text/diagnostics.h"

namespace ferrule {

RE2::Options PythonRegexOptions();

// Null with a finding (FR201, FR202, FR203, FR205) when the pattern is not acceptable.
std::unique_ptr<RE2> CompilePythonRegex(const std::string& pattern, size_t max_bytes,
                                        int max_program, int max_wildcards, const Location& at,
                                        Diagnostics* out);

// Whether a match at the start is found in every name, as for `.*` and `x?`.
bool MatchesEverything(const RE2& regex);

}  // namespace ferrule
