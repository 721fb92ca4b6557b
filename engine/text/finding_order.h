// SPDX-License-Identifier: Apache-2.0
// The order in which findings are shown: errors, then warnings, then notes, so that one error is
// not lost below a hundred warnings; within each by file and line, and of one place as they were
// found.
#pragma once

#include <vector>

#include "engine/text/diagnostics.h"

namespace ferrule {

// They belong to `diagnostics` and are valid until its next Add. Defined in diagnostics.cc, whose
// own text goes by it.
std::vector<const Finding*> InOrder(const Diagnostics& diagnostics);

}  // namespace ferrule
