// SPDX-License-Identifier: Apache-2.0
// The modules of a rule file under its own example, one line each, for comparisons in tests.
#pragma once

#include <string>
#include <vector>

#include "engine/rules/rule_file.h"
#include "engine/rules/units.h"

namespace ferrule {

// "layers.<layer> from 0 x4 unified [48, 16] per 4 q:16 k:16 v:16 column bias"
std::string UnitText(const Units& units, const Unit& unit);

// One line for each unit in the order of evaluation, then the second names of roots. Empty when
// the example cannot be evaluated. `model_type` empty: the file's first.
std::vector<std::string> UnitLines(const RuleFile& file, const std::string& model_type,
                                   Diagnostics* out);
std::string UnitsText(const RuleFile& file, Diagnostics* out);

}  // namespace ferrule
