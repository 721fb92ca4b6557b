// SPDX-License-Identifier: Apache-2.0
// The last part of kernels/large_m_linear.cuh: sums → y.
#pragma once

#include "kernels/large_m_load.cuh"

namespace ferrule::large_m {

__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Four lanes of a quad hold columns (8h + 2·lane, + 1) of groups h = 0 … 3; afterwards lane h holds
// all eight columns of group h.
__device__ __forceinline__ uint4 Turn(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const int lane = threadIdx.x & 3;
  const bool odd = lane & 1, high = lane & 2;
  const uint32_t ab = __shfl_xor_sync(~0u, odd ? a : b, 1);
  const uint32_t cd = __shfl_xor_sync(~0u, odd ? c : d, 1);
  // Lanes (0,1) of group 0 or 1, lanes (0,1) of group 2 or 3; then for the lanes (2,3).
  const uint32_t p0 = odd ? ab : a, p1 = odd ? b : ab;
  const uint32_t q0 = odd ? cd : c, q1 = odd ? d : cd;
  const uint32_t r0 = __shfl_xor_sync(~0u, high ? p0 : q0, 2);
  const uint32_t r1 = __shfl_xor_sync(~0u, high ? p1 : q1, 2);
  return high ? make_uint4(r0, r1, q0, q1) : make_uint4(p0, p1, r0, r1);
}

// Whether y of a tile goes out eight columns at a time; each eight is then inside or outside whole.
__device__ __forceinline__ bool ByEights(const GpuSegment& g, int row0) {
  return g.y_f32 == 0 && g.bias == nullptr && ((row0 | g.rows | g.y_stride) & 7) == 0 &&
         (reinterpret_cast<uintptr_t>(g.y) & 15) == 0;
}
__device__ __forceinline__ void StoreEight(const GpuSegment& g, int64_t token, int row, uint4 v) {
  if (row >= 0 && row < g.rows)
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row) = v;
}

// 64 tokens × n columns of a warpgroup, in the layout of wgmma.cuh. A quad turns its columns, so
// that each lane stores 16 bytes.
template <int n>
__device__ __forceinline__ void StorePiece(const GpuSegment& g, int tokens, int token0, int row0,
                                           const float (&sum)[n / 2]) {
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
  const int c = (lane & 3) * 2, token_of_lane = token0 + warp * 16 + (lane >> 2);
  if (!ByEights(g, row0)) {
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const int row = row0 + (i >> 2) * 8 + c + (i & 1), token = token_of_lane + (i & 2) * 4;
      if (token < tokens && row >= 0 && row < g.rows) StoreOne(g, token, row, sum[i]);
    }
    return;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = token_of_lane + 8 * half;
    uint32_t words[n / 8];
#pragma unroll
    for (int h = 0; h < n / 8; ++h)
      words[h] = PackBf16(sum[4 * h + 2 * half], sum[4 * h + 2 * half + 1]);
#pragma unroll
    for (int q = 0; q < n / 32; ++q) {
      const uint4 v = Turn(words[4 * q], words[4 * q + 1], words[4 * q + 2], words[4 * q + 3]);
      if (token < tokens) StoreEight(g, token, row0 + 32 * q + 8 * (lane & 3), v);
    }
    if constexpr (n % 32 == 16) {  // two groups are left: four bytes a lane
#pragma unroll
      for (int h = n / 8 - 2; h < n / 8; ++h) {
        const int row = row0 + 8 * h;
        if (token < tokens && row >= 0 && row < g.rows)
          *reinterpret_cast<uint32_t*>(static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row +
                                       c) = words[h];
      }
    }
  }
}

// K shared out over a cluster: partial sums of a warpgroup into the CTA's own shared memory, where
// the ring was.
template <int kRows, int n>
__device__ __forceinline__ void StageSums(const Work& w, int token0, int column0,
                                          const float (&sum)[n / 2]) {
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
  float* to = reinterpret_cast<float*>(w.memory) +
              (token0 + warp * 16 + (lane >> 2)) * kLargePitch<kRows> + column0 + (lane & 3) * 2;
#pragma unroll
  for (int h = 0; h < n / 8; ++h) {
    *reinterpret_cast<float2*>(to + 8 * h) = make_float2(sum[4 * h], sum[4 * h + 1]);
    *reinterpret_cast<float2*>(to + 8 * kLargePitch<kRows> + 8 * h) =
        make_float2(sum[4 * h + 2], sum[4 * h + 3]);
  }
}

// Adds this CTA's tokens of all CTAs of the cluster, in their order, and stores y, eight columns a
// thread.
template <int kTokens, int kRows>
__device__ __forceinline__ void SumAndStore(const LargeArguments& a, const Work& w,
                                            const Place& p) {
  const GpuSegment& g = a.segments[p.segment];
  const int slices = a.plan.slices, first = kTokens * w.rank / slices;
  const int end = min(kTokens * (w.rank + 1) / slices, a.tokens - p.token);
  const int count = end - first;
  const bool eights = ByEights(g, p.row);
#pragma unroll 1
  for (int i = threadIdx.x; i < count * (kRows / 8); i += kConsumers) {
    const int m = first + i / (kRows / 8), c = i % (kRows / 8) * 8;
    const uint32_t from = w.base + (m * kLargePitch<kRows> + c) * 4;
    float v[8] = {};
#pragma unroll 4
    for (int q = 0; q < slices; ++q) {
      const uint32_t at = MapShared(from, q);
      const float4 s = LoadCluster(at), t = LoadCluster(at + 16);
      v[0] += s.x, v[1] += s.y, v[2] += s.z, v[3] += s.w;
      v[4] += t.x, v[5] += t.y, v[6] += t.z, v[7] += t.w;
    }
    const int row = p.row + c;
    const int64_t token = p.token + m;
    if (!eights) {
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (row + j >= 0 && row + j < g.rows) StoreOne(g, token, row + j, v[j]);
    } else {
      StoreEight(g, token, row,
                 make_uint4(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]), PackBf16(v[4], v[5]),
                            PackBf16(v[6], v[7])));
    }
  }
}

}  // namespace ferrule::large_m
