// SPDX-License-Identifier: Apache-2.0
// The modules of a plan that `ferrule run` executes, and of which `ferrule bench --plan` takes the
// shapes.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/plan/plan.h"

namespace ferrule::cli {

struct RunModules {
  std::vector<int32_t> ids;  // fused modules as one, their parts not again; in the plan's order
  int64_t stacked = 0;       // modules left out: experts in one tensor
  int64_t reported = 0;      // the others left out: in schemes that are only reported
};

RunModules ModulesToRun(const Plan& plan);

}  // namespace ferrule::cli
