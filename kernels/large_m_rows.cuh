// SPDX-License-Identifier: Apache-2.0
// y of a warp, in the layout of wgmma.cuh → global memory, by stores of the warp.
#pragma once

#include "kernels/large_m_load.cuh"

namespace ferrule::large_m {

__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// The row after the last that a tile stores.
__device__ __forceinline__ int RowEnd(const auto& a, const Place& p) {
  const int rows = a.segments[p.segment].rows;
  return p.bf16 ? min(p.row + a.plan.bf16_tile, rows) : rows;
}

// Whether y of a tile goes out eight columns at a time; each eight is then inside or outside whole.
template <bool kTokenScales>
__device__ __forceinline__ bool ByEights(const GpuSegment& g, int row0) {
  return g.y_f32 == 0 && (kTokenScales || g.bias == nullptr) &&
         ((row0 | g.rows | g.y_stride) & 7) == 0 && (reinterpret_cast<uintptr_t>(g.y) & 15) == 0;
}
// Whether sums are y but for rounding.
__device__ __forceinline__ bool IsBare(const GpuSegment& g) {
  return g.bias == nullptr && !RowsHaveScales(g);
}

// Sums of two columns from `row` on, of an eight that is inside or outside whole, → y.
class ToY {
 public:
  ToY() = default;  // as they are
  __device__ __forceinline__ ToY(const GpuSegment& g, int row, int row_end) {
    if (row < 0 || row >= row_end) return;
    if (RowsHaveScales(g)) scale_ = make_float2(__ldg(g.scale + row), __ldg(g.scale + row + 1));
    if (g.bias != nullptr) bias_ = make_float2(__ldg(g.bias + row), __ldg(g.bias + row + 1));
  }
  __device__ __forceinline__ void operator()(float* low, float* high) const {
    *low = *low * scale_.x + bias_.x;
    *high = *high * scale_.y + bias_.y;
  }

 private:
  float2 scale_ = {1, 1}, bias_ = {0, 0};
};

__device__ __forceinline__ void StoreEight(const GpuSegment& g, int64_t token, int row, int row_end,
                                           uint4 v) {
  if (row >= 0 && row < row_end)
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row) = v;
}

// `kTall` tokens, 16 or 8, × c columns of a warp by way of `rows`, 128 bytes of shared memory a
// token: so that lanes store whole rows. Chunks of 16 bytes are swizzled against bank conflicts. Of
// 16 tokens a lane holds four sums of eight columns, two of token lane / 4 and two of the eighth
// after it; of 8 only the first two.
template <int kTall, int c>
__device__ __forceinline__ void StoreRows(const GpuSegment& g, int tokens, int token0, int row0,
                                          int row_end, uint32_t rows, const float* sum) {
  const int lane = threadIdx.x & 31;
  const int mine = lane & (kTall - 1);  // the row whose chunks this lane gives the addresses of
  __syncwarp();                         // what was there is read
#pragma unroll
  for (int q = 0; q < c / 16; ++q) {
    const uint32_t to = rows + mine * 128 + (((2 * q + lane / kTall % 2) ^ (mine & 7)) << 4);
    const float* v = sum + kTall / 2 * q;
    if constexpr (kTall == 16) {
      StoreMatrices(to, PackBf16(v[0], v[1]), PackBf16(v[2], v[3]), PackBf16(v[4], v[5]),
                    PackBf16(v[6], v[7]));
    } else {
      StoreTwoMatrices(to, PackBf16(v[0], v[1]), PackBf16(v[2], v[3]));
    }
  }
  __syncwarp();
  constexpr int kChunks = c / 8;  // of a row
#pragma unroll
  for (int i = 0; i < (kTall * kChunks + 31) / 32; ++i) {
    const int at = i * 32 + lane, m = at / kChunks, chunk = at % kChunks;
    const bool any = kTall * kChunks % 32 == 0 || m < kTall;
    const uint4 v = LoadShared(rows + (any ? m * 128 + ((chunk ^ (m & 7)) << 4) : 0));
    if (any && token0 + m < tokens) StoreEight(g, token0 + m, row0 + 8 * chunk, row_end, v);
  }
}

// Two sums that are neighbours in shared memory, each by itself: one store of both would want an
// even register and the odd one after it, as wgmma wants for the products that are added to them,
// and an addition of three even (odd) registers takes a clock more (measured, H200: all clocks of
// 7168 -> 36864 at 4096 tokens 2 % more).
__device__ __forceinline__ void StorePair(uint32_t address, float first, float second) {
  StoreSharedAlone(address, first);
  StoreSharedAlone(address + 4, second);
}

// The same one by one, wherever y lies: float32, rows that end anywhere.
template <int kTall, int n, bool kTokenScales>
__device__ __forceinline__ void StoreOneByOne(const GpuSegment& g, int tokens, int token0, int row0,
                                              int row_end, uint32_t rows, const float* sum) {
  constexpr int kEach = kTall / 8;  // pairs that a lane holds of eight columns
  const int lane = threadIdx.x & 31;
  const uint32_t mine = rows + (lane >> 2) * 64 + (lane & 3) * 8;
#pragma unroll
  for (int q = 0; q < n / 16; ++q) {
    const float* v = sum + 4 * kEach * q;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 2 * kEach; ++i)
      StorePair(mine + i % kEach * 512 + i / kEach * 32, v[2 * i], v[2 * i + 1]);
    __syncwarp();
#pragma unroll 1
    for (int i = lane; i < kTall * 16; i += 32) {
      const int token = token0 + i / 16, row = row0 + 16 * q + i % 16;
      if (token < tokens && row >= 0 && row < row_end) {
        float value = LoadSharedFloat(rows + i * 4);
        if (kTokenScales && RowsHaveScales(g)) value *= ScaleOfRow(g, row);
        StoreOne(g, token, row, value);
      }
    }
  }
}

// The largest part of `eights`, up to eight, that goes into it.
__host__ __device__ constexpr int ScalesAtOnce(int eights) {
  int most = 8;
  while (eights % most != 0) --most;
  return most;
}

// Scales of rows and biases, in the layout of StoreRows. Those of several eights are under way at
// once: one after the other each would be waited for.
template <int kTall, int n>
__device__ __forceinline__ void MakeY(const GpuSegment& g, int row0, int row_end, float* sum) {
  constexpr int kAtOnce = ScalesAtOnce(n / 8);
#pragma unroll
  for (int first = 0; first < n / 8; first += kAtOnce) {
    ToY to_y[kAtOnce];
#pragma unroll
    for (int q = 0; q < kAtOnce; ++q)
      to_y[q] = ToY(g, row0 + 8 * (first + q) + (threadIdx.x & 3) * 2, row_end);
#pragma unroll
    for (int q = 0; q < kAtOnce; ++q)
#pragma unroll
      for (int i = 0; i < kTall / 4; i += 2) {
        float* v = sum + kTall / 4 * (first + q) + i;
        to_y[q](v, v + 1);
      }
  }
}

// kTall tokens × n columns of a warp; `rows`: kTall · 128 bytes of the warp. `sum` is lost.
template <int kTall, int n, bool kTokenScales>
__device__ __forceinline__ void StoreTokens(const GpuSegment& g, int tokens, int token0, int row0,
                                            int row_end, uint32_t rows, float* sum) {
  if (!ByEights<kTokenScales>(g, row0)) {
    StoreOneByOne<kTall, n, kTokenScales>(g, tokens, token0, row0, row_end, rows, sum);
    return;
  }
  if (kTokenScales && !IsBare(g)) MakeY<kTall, n>(g, row0, row_end, sum);
#pragma unroll
  for (int h = 0; h < n / 64; ++h)
    StoreRows<kTall, 64>(g, tokens, token0, row0 + 64 * h, row_end, rows, sum + 2 * kTall * h);
  if constexpr (n % 64 != 0)
    StoreRows<kTall, n % 64>(g, tokens, token0, row0 + n / 64 * 64, row_end, rows,
                             sum + n / 64 * (2 * kTall));
}

}  // namespace ferrule::large_m
