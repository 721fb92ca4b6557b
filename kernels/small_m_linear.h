// SPDX-License-Identifier: Apache-2.0
// R0: linears of up to 32 tokens, FP8 block and BF16 segments in one launch, x quantized inside.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "kernels/gpu_plan.h"

namespace ferrule {

// A segment as kernels see it. Tiles of all segments are numbered through.
struct GpuSegment {
  const float* scale;  // null: BF16
  const float* bias;   // or null
  void* y;             // [tokens, rows]
  int64_t y_stride;
  int scale_stride;
  int rows;
  int first_row;   // of tile `first_tile`; <= 0: tiles begin where scale blocks do
  int scale_half;  // half (64 rows) of a scale block that it begins in
  int first_tile;
  int tiles_end;
  int y_f32;
};

struct SmallCommon {
  const __nv_bfloat16* x;  // [tokens, columns], 16-byte aligned
  int64_t x_stride;        // a multiple of 8
  int tokens;
  int columns;  // a multiple of 8
  int k_phase;  // a multiple of 16
  int blocks;   // of the whole row: ceil((columns + k_phase) / 128)
  int ue8m0;
  int segment_count;
  int tiles;
  SmallPlan plan;
};

// A launch with one segment has parameters for one: more bytes start later.
template <int kSegments>
struct SmallArgumentsOf : SmallCommon {
  GpuSegment segments[kSegments];
  CUtensorMap weights[kSegments];  // boxes of 64 rows × 128 bytes, 128-byte swizzle
};
using SmallArguments = SmallArgumentsOf<kGpuSegments>;

cudaError_t LaunchSmall(const SmallArguments& arguments, cudaStream_t stream);

}  // namespace ferrule
