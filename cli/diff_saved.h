// SPDX-License-Identifier: Apache-2.0
// A saved plan is of one checkpoint and one tensor-parallel size: what `ferrule diff` may hold
// against it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/rule_tree.h"

namespace ferrule::cli {

// The sizes to compare: those of the command line, else that of a saved plan, else 1. Empty with a
// finding when the command line asks a saved plan for what it does not hold.
std::vector<int> SizesToCompare(const RuleTree& before, const RuleTree& after,
                                const DiffOptions& options, Diagnostics* out);

// Why two plans are not of one checkpoint; empty when nothing speaks against it. Tensors that both
// sides accept as stored have one dtype and shape.
std::string OtherCheckpoint(const PlanState& before, const PlanState& after);

// A line that names both when a saved plan was made of a directory of another name; else empty.
std::string OtherName(const RuleTree& tree, const std::string& directory);

}  // namespace ferrule::cli
