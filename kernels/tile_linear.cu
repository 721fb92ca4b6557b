// SPDX-License-Identifier: Apache-2.0
// R1 … R3: y[M, N] = x[M, K] · W[N, K]ᵀ for any M and several segments, FP8 block or BF16.
//
// Shapes.  A tile is R = 128 or 256 rows of W × n = 16, 32, 64 or 128 tokens; W is the m operand of
//   wgmma, so that few tokens waste nothing. One tile for each cluster of S CTAs, which share out K
//   (S = 1: a CTA takes tile after tile).
//   ring     stages × ([R rows][128 bytes] W, [n tokens][128 bytes] x, [n] scales of x), by TMA. W
//   of
//            the first stages is asked for BEFORE the wait for the kernels before (the quantizer)
//   work     two warpgroups, R/2 rows each. FP8: the sum of 128 columns goes into float32 registers
//            times sx·sw; BF16: sums stay in the tensor core
//   staging  S = 1: 2 × [<= 64 tokens][64 rows] BF16, where y is turned so that a token's rows are
//            stored together; S > 1: [n tokens][128 rows] float32 partial sums, of which CTA `rank`
//            adds rows [128/S·rank, …) of all CTAs in their order: deterministic
#include "kernels/gpu_segment.cuh"
#include "kernels/launch.cuh"
#include "kernels/sm90.cuh"
#include "kernels/tile_linear.h"
#include "kernels/tile_load.cuh"
#include "kernels/wgmma.cuh"

namespace ferrule {
namespace {

using namespace sm90;
using namespace tile;

// Scales of W of this slice and tile, into shared memory of the warpgroup.
__device__ __forceinline__ void LoadScales(const TileArguments& a, const Place& p, Range boxes,
                                           int row, int wg, float* to) {
  const GpuSegment& g = a.segments[p.segment];
  const float* from = g.scale + static_cast<int64_t>(row) * g.scale_stride;
  for (int k = boxes.begin + (threadIdx.x & 127); k < boxes.end; k += 128)
    to[k - boxes.begin] = __ldg(from + k);
  WarpgroupBarrier(wg);
}

// With many tokens the tensor cores are the limit: the warpgroups take turns, so that one
// multiplies while the other adds up. Each waits for its own barrier; the other arrives there when
// half of its products are made.
template <int n>
constexpr bool kTurns = n == 128;
constexpr int kFirstTurn = 3;  // barriers 3 and 4

// Blocks of one tile, two in flight; a missing second one repeats the first with scale 0. Like its
// twin in small_m_linear.cu; scales of x lie in the ring here.
template <int n>
__device__ __forceinline__ void MultiplyFp8(const TileArguments& a, const Work& w, Range boxes,
                                            int wg, const float* sw, Stage* at,
                                            float (&sum)[n / 2]) {
  const int depth = a.plan.stages;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * depth;
  const uint32_t rows = w.base + wg * 64 * kBoxBytes, x = w.base + a.plan.x_box;
  const float* sx =
      reinterpret_cast<const float*>(w.memory + a.plan.x_scales) + (threadIdx.x & 3) * 2;
  if constexpr (kTurns<n>)
    if (wg == 1) NamedBarrierArrive<kConsumers>(kFirstTurn);
#pragma unroll 1
  for (int k = boxes.begin; k < boxes.end; k += 2) {
    const bool two = k + 1 < boxes.end;
    const int k1 = two ? k + 1 : k;
    Stage next = *at;
    if (two) next.Next(depth);
    float d0[n / 2], d1[n / 2];
    BarrierWait(full + 8 * at->index, at->phase);
    BarrierWait(full + 8 * next.index, next.phase);
    const uint64_t w0 = Descriptor(rows + at->index * 128 * kBoxBytes);
    const uint64_t w1 = Descriptor(rows + next.index * 128 * kBoxBytes);
    const uint64_t x0 = Descriptor(x + at->index * n * kBoxBytes);
    const uint64_t x1 = Descriptor(x + next.index * n * kBoxBytes);
    if constexpr (kTurns<n>) NamedBarrier<kConsumers>(kFirstTurn + wg);
    WgmmaFence();
#pragma unroll
    for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d0, w0 + 2 * q, x0 + 2 * q, q);
    WgmmaCommit();
#pragma unroll
    for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d1, w1 + 2 * q, x1 + 2 * q, q);
    WgmmaCommit();
    const float sw0 = sw[k - boxes.begin], sw1 = two ? sw[k1 - boxes.begin] : 0.0f;
    WgmmaWait<1>();
    if constexpr (kTurns<n>)  // the last turn of a tile has nobody to call
      if (wg == 0 || k + 2 < boxes.end) NamedBarrierArrive<kConsumers>(kFirstTurn + 1 - wg);
    Promote<n>(sum, d0, sw0, sx + at->index * n);
    if (two) Release(w, empty + 8 * at->index);
    WgmmaWait<0>();
    Promote<n>(sum, d1, sw1, sx + next.index * n);
    __syncwarp();
    Release(w, empty + 8 * next.index);
    *at = next;
    at->Next(depth);
  }
}

// The same for 256-row tiles, of which a warpgroup has two pieces: no room for two blocks.
template <int n>
__device__ __forceinline__ void MultiplyFp8Wide(const TileArguments& a, const Work& w, Range boxes,
                                                int wg, const float* sw, Stage* stage,
                                                float (&sum)[2][n / 2]) {
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * a.plan.stages;
#pragma unroll 1
  for (int k = boxes.begin; k < boxes.end; ++k) {
    BarrierWait(full + 8 * stage->index, stage->phase);
    const float scale = sw[k - boxes.begin];
    const float* sx = reinterpret_cast<const float*>(w.memory + a.plan.x_scales) +
                      stage->index * n + (threadIdx.x & 3) * 2;
    const uint64_t x = Descriptor(w.base + a.plan.x_box + stage->index * n * kBoxBytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint64_t weight =
          Descriptor(w.base + (stage->index * 256 + PieceRow<2>(wg, i)) * kBoxBytes);
      float d[n / 2];
      WgmmaFence();
#pragma unroll
      for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d, weight + 2 * q, x + 2 * q, q);
      WgmmaCommit();
      WgmmaWait<0>();
      Promote<n>(sum[i], d, scale, sx);
    }
    __syncwarp();
    Release(w, empty + 8 * stage->index);
    stage->Next(a.plan.stages);
  }
}

template <int n, int kPieces>
__device__ __forceinline__ void MultiplyBf16(const TileArguments& a, const Work& w, int wg,
                                             Stage* stage, float (&sum)[kPieces][n / 2]) {
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * a.plan.stages;
  const Range boxes = BoxesOf(a, w, true);
  int before = 0;
#pragma unroll 1
  for (int k = boxes.begin; k < boxes.end; ++k) {
    BarrierWait(full + 8 * stage->index, stage->phase);
    const uint64_t x = Descriptor(w.base + a.plan.x_box + stage->index * n * kBoxBytes);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint64_t weight = Descriptor(
          w.base + (stage->index * a.plan.row_tile + PieceRow<kPieces>(wg, i)) * kBoxBytes);
#pragma unroll
      for (int q = 0; q < 4; ++q) WgmmaBf16<n>(sum[i], weight + 2 * q, x + 2 * q, 1);
    }
    WgmmaCommit();
    WgmmaWait<1>();
    if (k > boxes.begin) Release(w, empty + 8 * before);
    before = stage->index;
    stage->Next(a.plan.stages);
  }
  WgmmaWait<0>();
  if (boxes.end > boxes.begin) Release(w, empty + 8 * before);
}

// S = 1: y of one 64-row piece of a warpgroup. BF16 is turned in shared memory, 64 tokens at a
// time; float32 goes out as it lies.
template <int n>
__device__ __forceinline__ void StorePiece(const TileArguments& a, const Work& w, const Place& p,
                                           int wg, int row0, const float (&sum)[n / 2]) {
  constexpr int kChunk = n < 64 ? n : 64;  // tokens
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31, thread = threadIdx.x & 127;
  const int r = warp * 16 + (lane >> 2), c = (lane & 3) * 2;
  const GpuSegment& g = a.segments[p.segment];
  if (g.y_f32 != 0) {
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const int token = p.token + (i >> 2) * 8 + c + (i & 1), row = row0 + r + (i & 2) * 4;
      if (token < a.tokens && row >= 0 && row < g.rows) StoreOne(g, token, row, sum[i]);
    }
    return;
  }
  __nv_bfloat16* stage =
      reinterpret_cast<__nv_bfloat16*>(w.memory + a.plan.staging) + wg * kChunk * kStagingPitch;
  float bias[2] = {0, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row0 + r + 8 * h;
    if (g.bias != nullptr && row >= 0 && row < g.rows) bias[h] = __ldg(g.bias + row);
  }
#pragma unroll
  for (int chunk = 0; chunk < n / kChunk; ++chunk) {
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      const float value = sum[chunk * (kChunk / 2) + i] + bias[i >> 1 & 1];
      stage[((i >> 2) * 8 + c + (i & 1)) * kStagingPitch + r + (i & 2) * 4] =
          __float2bfloat16_rn(value);
    }
    WarpgroupBarrier(wg);
    for (int i = thread; i < kChunk * 8; i += 128) {  // 8 rows of a token a thread
      const int token = p.token + chunk * kChunk + i / 8, row = row0 + i % 8 * 8;
      if (token >= a.tokens) continue;
      const uint4 v = *reinterpret_cast<const uint4*>(stage + i / 8 * kStagingPitch + i % 8 * 8);
      __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row;
      if (row >= 0 && row + 8 <= g.rows && (reinterpret_cast<uintptr_t>(y) & 15) == 0) {
        *reinterpret_cast<uint4*>(y) = v;
      } else {
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (row + j >= 0 && row + j < g.rows)
            y[j] = __ushort_as_bfloat16(static_cast<uint16_t>(words[j / 2] >> j % 2 * 16));
      }
    }
    WarpgroupBarrier(wg);
  }
}

// S > 1: partial sums of the CTA into its own shared memory.
template <int n>
__device__ __forceinline__ void StageSums(const TileArguments& a, const Work& w, int wg,
                                          const float (&sum)[n / 2]) {
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
  float* to = reinterpret_cast<float*>(w.memory + a.plan.staging) + wg * 64 + warp * 16 +
              (lane >> 2) + (lane & 3) * 2 * kTilePitch;
#pragma unroll
  for (int i = 0; i < n / 2; ++i) to[((i >> 2) * 8 + (i & 1)) * kTilePitch + (i & 2) * 4] = sum[i];
}

// S > 1: adds this CTA's rows of all CTAs and stores y, four rows of a token a thread.
__device__ __forceinline__ void SumAndStore(const TileArguments& a, const Work& w, const Place& p) {
  const GpuSegment& g = a.segments[p.segment];
  const int rows = 128 / w.slices, quads = rows / 4;
  const int tokens = min(a.plan.token_tile, a.tokens - p.token);
  const uint32_t sums = w.base + a.plan.staging + w.slice * rows * 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < tokens * quads; i += kConsumers) {
    const int m = i / quads, r = i % quads * 4;
    const uint32_t from = sums + (m * kTilePitch + r) * 4;
    float4 v = LoadCluster(MapShared(from, w.member));
#pragma unroll 4
    for (int q = 1; q < w.slices; ++q) {
      const float4 u = LoadCluster(MapShared(from, q * w.share + w.member));
      v = make_float4(v.x + u.x, v.y + u.y, v.z + u.z, v.w + u.w);
    }
    const int token = p.token + m, row = p.row + w.slice * rows + r;
    __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row;
    if (g.y_f32 == 0 && g.bias == nullptr && row >= 0 && row + 4 <= g.rows &&
        (reinterpret_cast<uintptr_t>(y) & 7) == 0) {
      const __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y);
      const __nv_bfloat162 high = __floats2bfloat162_rn(v.z, v.w);
      *reinterpret_cast<uint2*>(y) = make_uint2(*reinterpret_cast<const uint32_t*>(&low),
                                                *reinterpret_cast<const uint32_t*>(&high));
    } else {
      const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (row + j >= 0 && row + j < g.rows) StoreOne(g, token, row + j, values[j]);
    }
  }
}

template <int n, int kPieces>
__device__ __forceinline__ void Consume(const TileArguments& a, const Work& w, int wg) {
  Stage stage;
  bool first = true;
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += a.plan.clusters) {
    const Place p = PlaceOf(a, w, tile);
    float sum[kPieces][n / 2] = {};
    if (a.segments[p.segment].scale != nullptr) {
      const Range boxes = BoxesOf(a, w, false);
      float* scales = reinterpret_cast<float*>(w.memory + a.plan.w_scales) +
                      wg * ((a.blocks + w.slices - 1) / w.slices);
      // Half of a 256-row tile may lie past the last row, and past the last row of scales.
      const bool any = p.row + PieceRow<kPieces>(wg, 0) < a.segments[p.segment].rows;
      const int row = kPieces == 2 ? 2 * p.row_tile + wg : p.row_tile;
      LoadScales(a, p, boxes, any ? row : 0, wg, scales);
      if constexpr (kPieces == 2) {
        MultiplyFp8Wide<n>(a, w, boxes, wg, scales, &stage, sum);
      } else {
        MultiplyFp8<n>(a, w, boxes, wg, scales, &stage, sum[0]);
      }
    } else {
      MultiplyBf16<n, kPieces>(a, w, wg, &stage, sum);
    }
    if (first) WaitForEarlier();  // y may be what an earlier kernel still reads
    first = false;
    if (kPieces == 2 || w.slices == 1) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i)
        StorePiece<n>(a, w, p, wg, p.row + PieceRow<kPieces>(wg, i), sum[i]);
      continue;
    }
    StageSums<n>(a, w, wg, sum[0]);
    __syncwarp();
    ClusterArrive();
    ClusterWait();
    SumAndStore(a, w, p);
    __syncwarp();
    ClusterArrive();  // nobody's memory goes before it was read
    ClusterWait();
  }
}

template <int n, int kPieces>
__global__ void __launch_bounds__(kThreads<n>, n >= 64 ? 1 : 2)
    TileLinear(const __grid_constant__ TileArguments a) {
  static_assert(kPieces == 1 || n == 128, "256 rows are for many tokens");
  extern __shared__ char raw[];
  const Work w = MakeWork(a, raw);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // known to be uniform
  if (threadIdx.x == kConsumers) {
    const uint32_t full = w.base + a.plan.barriers;
    for (int i = 0; i < a.plan.stages; ++i) {
      BarrierInit(full + 8 * i, 1);
      BarrierInit(full + 8 * (a.plan.stages + i), kConsumers / 32 * a.plan.share * kTelling);
    }
    BarrierInitFence();
  }
  __syncthreads();
  if (w.share > 1) {  // nobody sends before all can receive
    ClusterArrive();
    ClusterWait();
  }
  if (warp >= kConsumers / 32) {
    if constexpr (n == 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (warp == kConsumers / 32 && ElectOne()) Produce(a, w);
    __syncwarp();
    if (w.slices > 1) {
      ClusterArrive();
      ClusterWait();
      ClusterArrive();
      ClusterWait();
    }
  } else {
    if constexpr (n == 128) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    Consume<n, kPieces>(a, w, warp >> 2);
  }
  if (w.share > 1 && w.slices == 1) {  // nobody leaves while others may still release to it
    __syncwarp();
    ClusterArrive();
    ClusterWait();
  }
}

template <int n, int kPieces>
cudaError_t LaunchShape(const TileArguments& a, const LaunchTarget& to) {
  static DeviceFlags ready;
  const auto kernel = TileLinear<n, kPieces>;
  const cudaError_t error = AllowAllShared(kernel, &ready, false);
  if (error != cudaSuccess) return error;
  const auto together = static_cast<unsigned>(a.plan.slices * a.plan.share);
  return LaunchCluster(kernel, static_cast<unsigned>(a.plan.clusters) * together, kThreads<n>,
                       together, a.plan.shared, to, a);
}

}  // namespace

cudaError_t LaunchTile(const TileArguments& a, const LaunchTarget& to) {
  if (a.plan.row_tile == 256) return LaunchShape<128, 2>(a, to);
  switch (a.plan.token_tile) {
    case 16:
      return LaunchShape<16, 1>(a, to);
    case 32:
      return LaunchShape<32, 1>(a, to);
    case 64:
      return LaunchShape<64, 1>(a, to);
    default:
      return LaunchShape<128, 1>(a, to);
  }
}

}  // namespace ferrule
