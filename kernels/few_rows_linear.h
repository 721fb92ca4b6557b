// SPDX-License-Identifier: Apache-2.0
// R0 for few rows: linears whose rows, or columns, are too few for tiles of 64 rows, FP8 block or
// BF16 segments in one launch, x quantized inside.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "kernels/few_rows_plan.h"
#include "kernels/gpu_plan.h"
#include "kernels/launch_target.h"

namespace ferrule {

// Tiles of all segments are numbered through; each segment begins one.
struct FewRowsSegment {
  const uint8_t* weight;  // 16-byte aligned
  int64_t row_bytes;      // from row to row, a multiple of 16
  const float* scale;     // null: BF16
  const float* bias;      // or null
  void* y;                // [tokens, rows]
  int64_t y_stride;
  int scale_stride;
  int rows, n_phase;
  int tiles_end;
  int y_f32;
};

struct FewRowsArguments {
  const __nv_bfloat16* x;  // [tokens, columns], 16-byte aligned
  int64_t x_stride;        // a multiple of 8
  int tokens;
  int columns;  // a multiple of 16
  int k_phase;  // a multiple of 16, 0 of BF16
  int blocks;   // of the whole row: ceil((columns + k_phase) / 128)
  int ue8m0;
  int segment_count, tiles;
  bool fp8;  // all segments, or none
  FewRowsPlan plan;
  FewRowsSegment segments[kGpuSegments];
};

cudaError_t LaunchFewRows(const FewRowsArguments& arguments, const LaunchTarget& to);

}  // namespace ferrule
