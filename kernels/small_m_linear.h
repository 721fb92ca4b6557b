// SPDX-License-Identifier: Apache-2.0
// R0: linears of few tokens, or of few rows with more tokens in tiles of 32, FP8 and BF16 segments
// in one launch, x quantized inside (FP8 blocks) or (FP8 alone) before.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <type_traits>

#include "kernels/gpu_plan.h"
#include "kernels/launch_target.h"

namespace ferrule {

// A segment as kernels see it. Tiles of all segments are numbered through.
struct GpuSegment {
  // Null: BF16. [scale rows][scale_stride] of blocks, one of the whole tensor, or one for each row.
  const float* scale;
  const float* bias;  // or null
  void* y;            // [tokens, rows]
  int64_t y_stride;
  int scale_stride;
  int scale_blocks;  // of K that have scales: all; 1: the first is all there is; 0: rows have them
  int rows;
  int first_row;   // of tile `first_tile`; <= 0: tiles begin where scale blocks do
  int scale_half;  // half (64 rows) of a scale block that it begins in
  int first_tile;
  int tiles_end;
  int y_f32;
};

struct SmallCommon {
  const __nv_bfloat16* x;  // [tokens, columns], 16-byte aligned
  int64_t x_stride;        // a multiple of 8, below 2^31 (Validate)
  int tokens;
  int columns;  // a multiple of 8
  int k_phase;  // a multiple of 16
  int blocks;   // of the whole row: ceil((columns + k_phase) / 128)
  int ue8m0;
  int segment_count;
  int tiles;
  SmallPlan plan;
};

// What a kernel is made for: it starts later the longer its code is.
enum class SmallX {
  kFp8,        // quantizes x
  kMixed,      // quantizes x, and keeps it as it is for BF16 segments
  kQuantized,  // x comes quantized; FP8 alone, with any scales
};

// x as kernels/quantize.cu leaves it.
struct QuantizedX {
  CUtensorMap codes;    // boxes of plan.token_tile tokens × 128 bytes, 128-byte swizzle
  const float* scales;  // [blocks][scale_stride], 16-byte aligned
  int scale_stride;     // a multiple of 32, >= tokens; 0: a token has one for all blocks
};
struct NoX {};

// A launch with one segment has parameters for one, and for a quantized x only where there is one:
// more bytes start later.
template <int kSegments, SmallX kX>
struct SmallArgumentsOf : SmallCommon {
  static constexpr SmallX kMode = kX;
  GpuSegment segments[kSegments];
  CUtensorMap weights[kSegments];  // boxes of 64 rows × 128 bytes, 128-byte swizzle
  std::conditional_t<kX == SmallX::kQuantized, QuantizedX, NoX> quantized;
};
using SmallArguments = SmallArgumentsOf<kGpuSegments, SmallX::kQuantized>;

cudaError_t LaunchSmall(const SmallArguments& arguments, const LaunchTarget& to);

// Clusters of `slices` CTAs that the current device holds at one CTA a multiprocessor.
cudaError_t CountClusters(int slices, int* count);

}  // namespace ferrule
