// SPDX-License-Identifier: Apache-2.0
// Entries of a list that name nothing, with what was most likely meant.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/plan/decision.h"

namespace ferrule {

// Reports entries of the list at `where` that are not `used`, and such that stand twice. Those of
// the skip list are added to `decisions->dead`.
void ReportDead(int8_t where, const std::vector<bool>& used, Decisions* decisions,
                Diagnostics* out);

}  // namespace ferrule
