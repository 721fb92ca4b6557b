// SPDX-License-Identifier: Apache-2.0
// The parts of Validate that need no pointers, for callers that size a workspace at load time or
// know more of y than its segments do.
#pragma once

#include "kernels/linear.h"

namespace ferrule {

LinearStatus ValidateSizes(const LinearGroup& group);

// Segments that lie side by side in one y: each alone fits where all together do not.
inline LinearStatus ValidateWhole(int64_t rows, int64_t y_stride) {
  if (y_stride >= rows) return {};
  return {LinearCode::kBadSize, -1, "y_stride is smaller than the rows of all segments"};
}

}  // namespace ferrule
