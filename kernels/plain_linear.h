// SPDX-License-Identifier: Apache-2.0
// One segment of any scheme, weight type, block size, alignment and number of tokens: slow and
// always there. The fast kernels take over what they can.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "kernels/launch_target.h"
#include "kernels/linear.h"

namespace ferrule {

struct PlainArguments {
  LinearSegment segment;   // pointers in device memory
  const __nv_bfloat16* x;  // kBf16: [tokens, columns]
  int64_t x_stride;
  int tokens, columns;
  const uint8_t* codes;  // FP8: what LaunchQuantize wrote for this segment
  int64_t pitch;
  const float* x_scales;
  int x_scale_stride;
  bool invariant;  // kernels/mma_linear.h: one order of sums for any number of tokens
};

cudaError_t LaunchPlain(const PlainArguments& arguments, const LaunchTarget& to);

}  // namespace ferrule
