// SPDX-License-Identifier: Apache-2.0
// Entries of a list that name nothing, with what was most likely meant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/plan/decision.h"

namespace ferrule {

// Reports entries of the list at `where` that are not `used`, and such that stand twice. Those of
// the skip list are added to `decisions->dead`.
void ReportDead(int8_t where, const std::vector<bool>& used, Decisions* decisions,
                Diagnostics* out);

// Whether a plain name holds a sign of globs; and, for an entry that names nothing, what it would
// name if the list had globs, and how to write that: facts and help of `finding`.
bool IsPlainGlob(std::string_view name);
void ExplainGlob(const Decisions& decisions, const Matching& names, const std::string& glob,
                 Finding* finding);

}  // namespace ferrule
