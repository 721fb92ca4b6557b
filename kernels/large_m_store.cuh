// SPDX-License-Identifier: Apache-2.0
// The last part of kernels/large_m_linear.cuh: sums → y.
#pragma once

#include "kernels/large_m_exchange.cuh"

namespace ferrule::large_m {

// kPieces × 64 tokens × n columns of a warpgroup: each warp leaves its tokens in `rows`, in boxes
// of 16 tokens, and goes on; the boxes are on their way then. 16-byte chunks are swizzled as the
// map says.
template <int kRows, int kPieces, int n>
__device__ __forceinline__ void SendTile(const CUtensorMap* map, int token0, int row0,
                                         uint32_t rows, const float (&sum)[kPieces][n / 2]) {
  constexpr int kBytes = LargeBox(kRows), kColumns = kBytes / 2, kBoxes = n / kColumns;
  constexpr int kShift = kBytes == 128 ? 0 : kBytes == 64 ? 1 : 2, kMask = kBytes / 16 - 1;
  static_assert(n % kColumns == 0);
  const int lane = threadIdx.x & 31, token = token0 + (threadIdx.x >> 5 & 3) * 16;
  const int mine = lane & 15;  // the token whose chunks this lane gives the addresses of
  const uint32_t to = rows + mine * kBytes;
#pragma unroll
  for (int i = 0; i < kPieces; ++i)
#pragma unroll
    for (int q = 0; q < n / 16; ++q) {
      const float* v = sum[i] + 8 * q;
      const int box = i * kBoxes + q * 16 / kColumns, chunk = 2 * q % (kBytes / 16) + (lane >> 4);
      StoreMatrices(to + box * (16 * kBytes) + ((chunk ^ (mine >> kShift & kMask)) << 4),
                    PackBf16(v[0], v[1]), PackBf16(v[2], v[3]), PackBf16(v[4], v[5]),
                    PackBf16(v[6], v[7]));
    }
  FenceAsync();
  __syncwarp();
  if (lane == 0) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i)
#pragma unroll
      for (int b = 0; b < kBoxes; ++b)
        SendBox(map, row0 + b * kColumns, token + 64 * i, rows + (i * kBoxes + b) * (16 * kBytes));
    BulkCommit();
  }
}

// K shared out over a cluster: partial sums of a warpgroup into the CTA's own shared memory, where
// the ring was.
template <int kRows, int n>
__device__ __forceinline__ void StageSums(const Work& w, int token0, int column0,
                                          const float (&sum)[n / 2]) {
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
  const uint32_t to = w.base + 4 * ((token0 + warp * 16 + (lane >> 2)) * kLargePitch<kRows> +
                                    column0 + (lane & 3) * 2);
#pragma unroll
  for (int h = 0; h < n / 8; ++h) {
    StorePair(to + 32 * h, sum[4 * h], sum[4 * h + 1]);
    StorePair(to + 32 * kLargePitch<kRows> + 32 * h, sum[4 * h + 2], sum[4 * h + 3]);
  }
}

// Adds this CTA's tokens of all CTAs of the cluster, in their order, and stores y, four columns a
// thread. `kSlices` 0: as many as the plan says.
template <int kTokens, int kRows, int kSlices>
__device__ __forceinline__ void SumAndStore(const auto& a, const Work& w, const Place& p) {
  const GpuSegment& g = a.segments[p.segment];
  const int slices = kSlices > 0 ? kSlices : a.plan.slices, first = kTokens * w.rank / slices;
  const int end = min(kTokens * (w.rank + 1) / slices, a.tokens - p.token);
  const int count = (end - first) * (kRows / 4);
  constexpr bool kTokenScales = std::decay_t<decltype(a)>::kTokenScales;
  const bool eights = ByEights<kTokenScales>(g, p.row);
  const int row_end = RowEnd(a, p);
#pragma unroll 1
  for (int i = threadIdx.x; i < count; i += static_cast<int>(blockDim.x)) {
    const int m = first + i / (kRows / 4), c = i % (kRows / 4) * 4;
    const uint32_t from = w.base + (m * kLargePitch<kRows> + c) * 4;
    float4 v = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int q = 0; q < (kSlices > 0 ? kSlices : 8); ++q) {
      if (q >= slices) break;
      const float4 s = LoadCluster(MapShared(from, q));
      v.x += s.x, v.y += s.y, v.z += s.z, v.w += s.w;
    }
    const int row = p.row + c;
    const int64_t token = p.token + m;
    if (!eights) {
      const float one[] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (row + j >= 0 && row + j < row_end)
          StoreOne(g, token, row + j,
                   kTokenScales && RowsHaveScales(g) ? one[j] * ScaleOfRow(g, row + j) : one[j]);
    } else if (row >= 0 && row < row_end) {
      if (kTokenScales && !IsBare(g)) {
        ToY(g, row, row_end)(&v.x, &v.y);
        ToY(g, row + 2, row_end)(&v.z, &v.w);
      }
      *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row) =
          make_uint2(PackBf16(v.x, v.y), PackBf16(v.z, v.w));
    }
  }
}

// The sums of a warpgroup: to y, or to shared memory for the cluster; then they are lost.
template <int kRows, int kPieces, int n>
__device__ __forceinline__ void Finish(const auto& a, const Work& w, const Place& p, int token0,
                                       int column0, float (&sum)[kPieces][n / 2]) {
  constexpr bool kSends = std::decay_t<decltype(a)>::kHasMapsOfY;
  const int token = p.token + token0, row = p.row + column0;
  if (a.plan.slices > 1) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) StageSums<kRows, n>(w, token0 + 64 * i, column0, sum[i]);
    return;
  }
  const uint32_t rows = w.base + a.plan.staging + (threadIdx.x >> 5) * a.plan.y_bytes;
  if constexpr (kSends) {
    BulkWaitRead();  // what was there is read: the lane that asked waits, then all
    __syncwarp();
    // TMA stores nothing from a negative place on.
    if (!p.bf16 && row >= 0 && (a.sends >> p.segment & 1) != 0) {
      SendTile<kRows, kPieces, n>(&a.y.of[p.segment], token, row, rows, sum);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kPieces; ++i)
    StoreTokens<16, n, std::decay_t<decltype(a)>::kTokenScales>(
        a.segments[p.segment], a.tokens, token + 64 * i + (threadIdx.x >> 5 & 3) * 16, row,
        RowEnd(a, p), rows, sum[i]);
}

// K shared out over a cluster: what all its CTAs left in shared memory → y.
template <int kTokens, int kRows>
__device__ __forceinline__ void AddSlices(const auto& a, const Work& w) {
  const Place p = PlaceOf<kTokens, kRows>(a, w, w.cluster);
  __syncwarp();
  ClusterArrive();
  ClusterWait();
  switch (a.plan.slices) {
    case 2:
      SumAndStore<kTokens, kRows, 2>(a, w, p);
      break;
    case 3:
      SumAndStore<kTokens, kRows, 3>(a, w, p);
      break;
    case 4:
      SumAndStore<kTokens, kRows, 4>(a, w, p);
      break;
    default:
      SumAndStore<kTokens, kRows, 0>(a, w, p);
  }
  __syncwarp();
  ClusterArriveRelaxed();  // nobody's memory goes before it was read
  ClusterWait();
}

// Blocks of K in turns: both warpgroups hold sums of all n columns, in the same places. The first
// (second) ends with the first (second) half of the columns of both; 256·n bytes where the ring
// was. Of each two sums the second lies first, see StorePair.
template <int kHalf, int n>
__device__ __forceinline__ void LeaveHalf(float4* at, const float (&sum)[n / 2]) {
  constexpr int kEach = n / 16;  // groups of eight columns
#pragma unroll
  for (int h = 0; h < kEach; ++h) {
    const int i = 4 * (h + kEach * kHalf);
    at[(kHalf * kEach + h) * 128] = make_float4(sum[i + 1], sum[i], sum[i + 3], sum[i + 2]);
  }
}
template <int kHalf, int n>
__device__ __forceinline__ void AddHalf(const float4* at, const float (&sum)[n / 2],
                                        float (&half)[n / 4]) {
  constexpr int kEach = n / 16;
#pragma unroll
  for (int h = 0; h < kEach; ++h) {
    const int i = 4 * (h + kEach * kHalf);
    const float4 v = at[(kHalf * kEach + h) * 128];
    half[4 * h] = sum[i] + v.y, half[4 * h + 1] = sum[i + 1] + v.x;
    half[4 * h + 2] = sum[i + 2] + v.w, half[4 * h + 3] = sum[i + 3] + v.z;
  }
}
template <int n>
__device__ __forceinline__ void Combine(char* ring, int wg, const float (&sum)[n / 2],
                                        float (&half)[n / 4]) {
  constexpr int kBoth = 256;  // threads
  float4* at = reinterpret_cast<float4*>(ring) + (threadIdx.x & 127);
  NamedBarrier<kBoth>(1);  // the ring is read to its end
  if (wg == 0) {
    LeaveHalf<1, n>(at, sum);
  } else {
    LeaveHalf<0, n>(at, sum);
  }
  NamedBarrier<kBoth>(1);
  if (wg == 0) {
    AddHalf<0, n>(at, sum, half);
  } else {
    AddHalf<1, n>(at, sum, half);
  }
}

}  // namespace ferrule::large_m
