// SPDX-License-Identifier: Apache-2.0
// One segment, FP8 of any scheme or BF16, on any GPU from Ampere on: E4M3 is widened to F16,
// exactly, and multiplied by mma.sync. What Hopper's own kernels do not take runs here too.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/plain_linear.h"

namespace ferrule {

// Arguments as for LaunchPlain. Weights, x and their rows are aligned to 16 bytes, scale blocks are
// 128 × 128 and k_phase is a multiple of 16.
cudaError_t LaunchMma(const PlainArguments& arguments, const LaunchTarget& to);

}  // namespace ferrule
