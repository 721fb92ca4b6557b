// SPDX-License-Identifier: Apache-2.0
// What the two tensor-core kernels share: rings, sums times scales, one output.
#pragma once

#include "kernels/small_m_linear.h"

namespace ferrule::sm90 {

// A place in a ring.
struct Stage {
  int index = 0, phase = 0;
  __device__ __forceinline__ void Next(int depth) {
    if (++index == depth) {
      index = 0;
      phase ^= 1;
    }
  }
};

// sum += d · sx · sw, in the layout of wgmma.cuh; `sx` points at the thread's first column.
template <int n>
__device__ __forceinline__ void Promote(float (&sum)[n / 2], const float (&d)[n / 2], float sw,
                                        const float* sx) {
#pragma unroll
  for (int h = 0; h < n / 8; ++h) {
    const float2 s = *reinterpret_cast<const float2*>(sx + h * 8);
    const float a = sw * s.x, b = sw * s.y;
    sum[4 * h] += a * d[4 * h];
    sum[4 * h + 1] += b * d[4 * h + 1];
    sum[4 * h + 2] += a * d[4 * h + 2];
    sum[4 * h + 3] += b * d[4 * h + 3];
  }
}

// Whether each row has a scale, with which its sums are still to be multiplied.
__device__ __forceinline__ bool RowsHaveScales(const GpuSegment& g) { return g.scale_blocks == 0; }

// The scale of a row where rows have scales; of rows outside the segment 1.
__device__ __forceinline__ float ScaleOfRow(const GpuSegment& g, int row) {
  return row >= 0 && row < g.rows ? __ldg(g.scale + row) : 1.0f;
}

// `value`: with its scale.
__device__ __forceinline__ void StoreOne(const GpuSegment& g, int64_t token, int row, float value) {
  const int64_t at = token * g.y_stride + row;
  if (g.bias != nullptr) value += __ldg(g.bias + row);
  if (g.y_f32 != 0) {
    static_cast<float*>(g.y)[at] = value;
  } else {
    static_cast<__nv_bfloat16*>(g.y)[at] = __float2bfloat16_rn(value);
  }
}

}  // namespace ferrule::sm90
