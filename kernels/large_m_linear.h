// SPDX-License-Identifier: Apache-2.0
// FP8 block linears of more tokens than R0 takes, x quantized before by kernels/quantize.cu.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/large_plan.h"
#include "kernels/small_m_linear.h"

namespace ferrule {

struct LargeCommon {
  int tokens;
  int k_phase;  // codes of x lie `k_phase` columns further on
  int blocks;   // ceil((columns + k_phase) / 128)
  int segment_count;
  const float* x_scales;  // [blocks][x_scale_stride], 16-byte aligned
  int x_scale_stride;     // a multiple of 64, >= tokens
  LargePlan plan;
};

// A launch with one segment has parameters for one: more bytes start later.
template <int kSegments>
struct LargeArgumentsOf : LargeCommon {
  static constexpr int kSegmentCount = kSegments;
  GpuSegment segments[kSegments];  // tiles of plan.row_tile rows
  CUtensorMap weights[kSegments];  // boxes of row_tile / share_w rows × 128 bytes
  CUtensorMap x;                   // boxes of token_tile / share_x rows × 128 bytes
};
using LargeArguments = LargeArgumentsOf<kGpuSegments>;

cudaError_t LaunchLarge(const LargeArguments& arguments, cudaStream_t stream);

// One for each token tile, each in its own file.
cudaError_t LaunchLarge64(const LargeArguments& arguments, cudaStream_t stream);
cudaError_t LaunchLarge128(const LargeArguments& arguments, cudaStream_t stream);
cudaError_t LaunchLarge256(const LargeArguments& arguments, cudaStream_t stream);

}  // namespace ferrule
