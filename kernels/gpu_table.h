// SPDX-License-Identifier: Apache-2.0
// What was measured to be the fastest way, for shapes of released models with one FP8 segment; it
// holds for several that are cut into as many tiles.
#pragma once

#include <cstdint>

#include "kernels/gpu_steps.h"

namespace ferrule {

// Measured on this one, and looked up on all of compute capability 9.0, whatever they are.
constexpr const char* kTableGpu = "NVIDIA H200";

// Where a row of kernels/gpu_table.inc answers: the choice and the number of tokens up to which it
// holds, kAnyTokens when any. 0 elsewhere, where the rules of gpu_plan.cc hold.
constexpr int kAnyTokens = 1 << 30;
int LookUpGpu(int64_t rows, int64_t in, int64_t tokens, GpuChoice* choice);

}  // namespace ferrule
