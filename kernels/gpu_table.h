// SPDX-License-Identifier: Apache-2.0
// What was measured to be the fastest way, for shapes of released models with one FP8 segment.
#pragma once

#include <cstdint>

#include "kernels/gpu_steps.h"

namespace ferrule {

// True and the choice where a row of kernels/gpu_table.inc answers; the rules of gpu_plan.cc hold
// elsewhere.
bool LookUpGpu(int64_t rows, int64_t in, int64_t tokens, GpuChoice* choice);

}  // namespace ferrule
