// SPDX-License-Identifier: Apache-2.0
// What `ferrule diff` found → text for people, lines for grep, JSON.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "engine/report/plan_diff.h"

namespace ferrule::cli {

struct Compared {
  std::string directory;
  std::string model_type;
  int tp = 1;
  PlanState before, after;
  PlanDiff diff;
  std::vector<std::string> notes;  // what a reader should know of this comparison
};

struct DiffSums {
  int64_t compared = 0, changed = 0, modules = 0, unsafe = 0, errors = 0;
  int exit_code = 0;
};

// Checkpoint, why.
using LeftOut = std::vector<std::pair<std::string, std::string>>;

// One plan; each ends in a line break.
std::string DiffHuman(const Compared& c);
std::string DiffShort(const Compared& c);
// The whole document.
std::string DiffJson(const DiffOptions& options, const std::vector<Compared>& all,
                     const LeftOut& left_out, const DiffSums& sums, const Diagnostics& findings,
                     const ReportOptions& report);

}  // namespace ferrule::cli
