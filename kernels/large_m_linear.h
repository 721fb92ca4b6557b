// SPDX-License-Identifier: Apache-2.0
// FP8 linears of more tokens than R0 takes, x quantized before by kernels/quantize.cu, and BF16
// ones beside those of blocks.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <type_traits>

#include "kernels/large_plan.h"
#include "kernels/small_m_linear.h"

namespace ferrule {

struct LargeCommon {
  int tokens;
  int k_phase;      // codes of x lie `k_phase` columns further on
  int blocks;       // ceil((columns + k_phase) / 128)
  int bf16_stages;  // ceil(columns / (64 · plan.bf16_boxes))
  int segment_count;
  const float* x_scales;  // [blocks][x_scale_stride], 16-byte aligned
  int x_scale_stride;     // a multiple of 64, >= tokens; 0: a token has one for all blocks
  int sends;              // bit i: y of segment i has a tensor map
  LargePlan plan;
};

struct NoMaps {};

// A launch with one segment has parameters for one, and for BF16 only where there is some: more
// bytes start later.
template <int kSegments, bool kMixed, bool kSends, bool kScalesTokens = false>
struct LargeArgumentsOf : LargeCommon {
  static constexpr int kSegmentCount = kSegments;
  static constexpr bool kTakesBf16 = kMixed;
  static constexpr bool kHasMapsOfY = kSends;
  // x has one scale a token, W one a row or one in all. BF16 does not stand beside such, and y does
  // not leave in boxes. Kernels of their own: in those of blocks the code for it would cost up to
  // 5 % with many tokens.
  static constexpr bool kTokenScales = kScalesTokens;
  static_assert(!kTokenScales || (!kMixed && !kSends));
  GpuSegment segments[kSegments];  // tiles of plan.row_tile rows, in BF16 of plan.bf16_tile
  CUtensorMap weights[kSegments];  // boxes of row_tile / share_w or bf16_tile rows × 128 bytes
  CUtensorMap x;                   // boxes of token_tile / share_x rows × 128 bytes
  struct Maps {
    CUtensorMap of[kSegments];
  };
  std::conditional_t<kMixed, CUtensorMap, NoMaps> x_bf16;  // boxes of token_tile rows × 128 bytes
  std::conditional_t<kSends, Maps, NoMaps> y;              // boxes of 16 tokens × LargeBox bytes
};
struct LargeArguments : LargeArgumentsOf<kGpuSegments, true, true> {
  bool token_scales = false;
};

cudaError_t LaunchLarge(const LargeArguments& arguments, const LaunchTarget& to);

// One for each token tile, each in its own file; likewise those of token_scales.
cudaError_t LaunchLarge64(const LargeArguments& arguments, const LaunchTarget& to);
cudaError_t LaunchLarge128(const LargeArguments& arguments, const LaunchTarget& to);
cudaError_t LaunchLarge256(const LargeArguments& arguments, const LaunchTarget& to);
cudaError_t LaunchLarge64TokenScales(const LargeArguments& arguments, const LaunchTarget& to);
cudaError_t LaunchLarge128TokenScales(const LargeArguments& arguments, const LaunchTarget& to);
cudaError_t LaunchLarge256TokenScales(const LargeArguments& arguments, const LaunchTarget& to);

}  // namespace ferrule
