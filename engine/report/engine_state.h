// SPDX-License-Identifier: Apache-2.0
// What an engine version would make of a plan, as one side of a comparison (plan_diff.h).
#pragma once

#include "engine/report/plan_state.h"
#include "engine/runtimes/plan_as.h"

namespace ferrule {

// The state of the plan with the engine's decisions in the place of ferrule's: what it runs
// quantized or in BF16, and what it refuses. Modules that it does not build stay as planned.
PlanState StateAs(const Plan& plan, const PlanAs& as, const Diagnostics& findings);

}  // namespace ferrule
