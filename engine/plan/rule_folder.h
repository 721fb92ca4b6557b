// SPDX-License-Identifier: Apache-2.0
// A directory of rule files: its .yaml files, and what may have been meant where there are none.
#pragma once

#include <string>

#include "engine/text/diagnostics.h"

namespace ferrule {

// Whether a .yaml file lies in the directory itself.
bool HoldsYaml(const std::string& directory);

// To a finding about a directory without rules: what is there instead, and the remedy. `shown` is
// the directory as the user named it.
void HelpEmpty(const std::string& directory, const std::string& shown, Finding* finding);

}  // namespace ferrule
