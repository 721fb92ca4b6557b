// SPDX-License-Identifier: Apache-2.0
// A tree of a git commit → files in a temporary folder.
#pragma once

#include <string>

#include "engine/text/diagnostics.h"

namespace ferrule::cli {

// A new empty folder for temporary files; empty with a finding when none can be made.
std::string MakeTemporary(Diagnostics* out);

// Writes PATH (default `rules`, from the top of the repository) of `word`, REF[:PATH], to
// `directory`/rules. False when that cannot be; `why` is then what git or tar says.
bool CheckOut(const std::string& word, const std::string& directory, std::string* why);

}  // namespace ferrule::cli
