// SPDX-License-Identifier: Apache-2.0
// Linears of any number of tokens, FP8 block and BF16 segments in one launch, x quantized before by
// kernels/quantize.cu: with `batch_invariant`, and up to 16 tokens where x does not fit R0.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/gpu_plan.h"
#include "kernels/small_m_linear.h"

namespace ferrule {

struct TileArguments {
  int tokens;
  int columns;
  int k_phase;            // of FP8 segments; codes of x lie `k_phase` columns further on
  int blocks;             // of FP8: ceil((columns + k_phase) / 128)
  int bf16_boxes;         // ceil(columns / 64)
  const float* x_scales;  // [blocks][x_scale_stride]
  int x_scale_stride;     // >= token_tiles * token_tile
  int segment_count;
  int row_tiles;  // of all segments
  TilePlan plan;
  GpuSegment segments[kGpuSegments];  // tiles of plan.row_tile rows
  CUtensorMap weights[kGpuSegments];  // boxes of row_tile rows × 128 bytes
  CUtensorMap x_fp8, x_bf16;          // boxes of token_tile / share rows × 128 bytes
};

cudaError_t LaunchTile(const TileArguments& arguments, const LaunchTarget& to);

}  // namespace ferrule
