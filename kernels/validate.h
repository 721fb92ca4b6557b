// SPDX-License-Identifier: Apache-2.0
// The part of Validate that needs no pointers, for callers that size a workspace at load time.
#pragma once

#include "kernels/linear.h"

namespace ferrule {

LinearStatus ValidateSizes(const LinearGroup& group);

}  // namespace ferrule
