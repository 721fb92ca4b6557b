// SPDX-License-Identifier: Apache-2.0
// R0: y[M, N] = x[M, K] · W[N, K]ᵀ for few tokens and several segments, FP8 or BF16, one launch.
//
// Shapes.  n = 8, 16 or 32 >= M tokens; more are cut into tiles of 32, one for each y of the grid,
//   which know nothing of each other. W is cut into tiles of 64 rows. A cluster of S CTAs takes
//   tiles c, c + clusters, … (with BF16: see SmallTilesOf); CTA `rank` multiplies blocks
//   [G·rank/S, G·(rank+1)/S) of K of each.
//   ring     2 warpgroups × `ring` × [64 rows][128 bytes] W, by TMA, filled BEFORE the wait for the
//            kernels before: weights are constant, and DRAM must not idle
//   x_fp8    blocks × [n][128 bytes]  x of this slice in E4M3, swizzled like W: quantized here,
//            once, or brought by TMA as the quantizer before left it
//   x_bf16   2·blocks × [n][128 bytes]  the same x as it is, when there are BF16 segments
//   x_scales blocks × [n];  w_scales tiles × blocks
//   wgmma    64 rows of W (the m operand) × n tokens × 32 bytes of K, four a box. FP8: the sum of a
//            block goes into float32 registers times sx·sw (tensor cores add with few bits); BF16:
//            sums stay in the tensor core
//   halves 1: a warpgroup takes every other tile; halves 2: both take each tile, half the slice
//   sums     slots × [S·halves sources][64/S rows][n]: each source sends rows [64/S·d, …) to CTA d,
//            which adds them in the order of the sources: deterministic. A CTA's own rows are
//            stored plainly. The warps of the epilogue share each tile or, where that is little
//            work, two of them take tiles in turn. Where rows have scales, here they come in.
//
// A row of tiles outside the tensor (before row 0 of a shard that begins inside a scale block,
// after the last) and columns outside K are zeros that TMA makes up; they are not stored.
#include "kernels/gpu_segment.cuh"
#include "kernels/launch.cuh"
#include "kernels/racecheck.cuh"
#include "kernels/sm90.cuh"
#include "kernels/small_m_linear.h"
#include "kernels/small_m_load.cuh"
#include "kernels/wgmma.cuh"

namespace ferrule {
namespace {

using namespace sm90;
using namespace small_m;

// Blocks [begin, end) of one FP8 tile. Two blocks are in flight; a missing second one repeats the
// first with scale 0. `x_full`: barriers of blocks of x that may not have come yet, or 0.
template <int n>
__device__ __forceinline__ void MultiplyFp8(const auto& a, const Share& s, uint32_t ring,
                                            uint32_t full, uint32_t empty, uint32_t x_full,
                                            int begin, int end, const float* sw, Stage* at,
                                            float (&sum)[n / 2]) {
  const int lane = threadIdx.x & 31;
  const uint32_t x = s.base + a.plan.x_fp8;
  const float* sx = reinterpret_cast<const float*>(s.memory + a.plan.x_scales) + (lane & 3) * 2;
#pragma unroll 1
  for (int k = begin; k < end; k += 2) {
    const bool two = k + 1 < end;
    const int k1 = two ? k + 1 : k;
    Stage next = *at;
    if (two) next.Next(a.plan.ring);
    float d0[n / 2], d1[n / 2];
    if (x_full != 0) {
      BarrierWait(x_full + 8 * k, 0);
      BarrierWait(x_full + 8 * k1, 0);
    }
    BarrierWait(full + 8 * at->index, at->phase);
    BarrierWait(full + 8 * next.index, next.phase);
    const uint64_t w0 = Descriptor(ring + at->index * kTileBytes);
    const uint64_t w1 = Descriptor(ring + next.index * kTileBytes);
    const uint64_t x0 = Descriptor(x + k * n * kBoxBytes);
    const uint64_t x1 = Descriptor(x + k1 * n * kBoxBytes);
    WgmmaFence();
#pragma unroll
    for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d0, w0 + 2 * q, x0 + 2 * q, q);
    WgmmaCommit();
#pragma unroll
    for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d1, w1 + 2 * q, x1 + 2 * q, q);
    WgmmaCommit();
    const float sw0 = sw[k], sw1 = two ? sw[k1] : 0.0f;
    WgmmaWait<1>();
    if (lane == 0 && two) BarrierArrive(empty + 8 * at->index);
    Promote<n>(sum, d0, sw0, sx + k * n);
    WgmmaWait<0>();
    if (lane == 0) BarrierArrive(empty + 8 * next.index);
    Promote<n>(sum, d1, sw1, sx + k1 * n);
    *at = next;
    at->Next(a.plan.ring);
  }
}

// Boxes [begin, end) of one BF16 tile, two in flight.
template <int n>
__device__ __forceinline__ void MultiplyBf16(const auto& a, const Share& s, uint32_t ring,
                                             uint32_t full, uint32_t empty, int begin, int end,
                                             Stage* at, float (&sum)[n / 2]) {
  const int lane = threadIdx.x & 31;
  int before = 0;
#pragma unroll 1
  for (int k = begin; k < end; ++k) {
    BarrierWait(full + 8 * at->index, at->phase);
    const uint64_t w = Descriptor(ring + at->index * kTileBytes);
    const uint64_t x = Descriptor(s.base + a.plan.x_bf16 + k * n * kBoxBytes);
    WgmmaFence();
#pragma unroll
    for (int q = 0; q < 4; ++q) WgmmaBf16<n>(sum, w + 2 * q, x + 2 * q, 1);
    WgmmaCommit();
    WgmmaWait<1>();
    if (lane == 0 && k > begin) BarrierArrive(empty + 8 * before);
    before = at->index;
    at->Next(a.plan.ring);
  }
  WgmmaWait<0>();
  KeepBehind(sum);
  if (lane == 0 && end > begin) BarrierArrive(empty + 8 * before);
}

// The sums of one warpgroup to the CTAs that own the rows. Lanes in pairs exchange halves, so that
// each has four tokens of one row.
template <int n>
__device__ __forceinline__ void Send(const auto& a, const Share& s, int warp, int slot,
                                     const float (&sum)[n / 2]) {
  constexpr int kPitch = kSmallPitch<n>;
  const int lane = threadIdx.x & 31, token = (lane & 2) * 2;
  const bool odd = lane & 1;
  const int half = a.plan.halves == 2 ? warp >> 2 : 0;
  const int row = (warp & 3) * 16 + (odd ? 8 : 0) + (lane >> 2);
  const int owner = row >> (6 - s.log_slices), source = s.rank * a.plan.halves + half;
  const int at = slot * kSmallTile * a.plan.halves * kPitch +
                 (source * s.rows + (row & (s.rows - 1))) * kPitch + token;
  float* own = reinterpret_cast<float*>(s.memory + a.plan.sums) + at;
  const uint32_t there = MapShared(s.base + a.plan.sums + at * 4, owner);
  const uint32_t barrier = SumsFull(a, s) + 8 * slot, signal = MapShared(barrier, owner);
#pragma unroll
  for (int i = 0; i < n / 8; ++i) {
    const float u = __shfl_xor_sync(~0u, odd ? sum[4 * i] : sum[4 * i + 2], 1);
    const float v = __shfl_xor_sync(~0u, odd ? sum[4 * i + 1] : sum[4 * i + 3], 1);
    const float4 four = odd ? make_float4(u, v, sum[4 * i + 2], sum[4 * i + 3])
                            : make_float4(sum[4 * i], sum[4 * i + 1], u, v);
    if (owner == s.rank) {
      *reinterpret_cast<float4*>(own + i * 8) = four;
    } else if (i * 8 + token < s.tokens) {
      StoreAsync(there + i * 32, four, signal);
    }
  }
  BarrierArrive(barrier);  // every lane for its own rows, as racecheck wants it: no slower than one
}

template <int n>
__device__ __forceinline__ void Consume(const auto& a, const Share& s, int warp) {
  const int wg = warp >> 2, halves = a.plan.halves;
  const uint32_t ring = s.base + wg * a.plan.ring * kTileBytes;
  const uint32_t full = Full(a, s) + 8 * wg * a.plan.ring;
  const uint32_t empty = Empty(a, s) + 8 * wg * a.plan.ring;
  const float* scales = reinterpret_cast<const float*>(s.memory + a.plan.w_scales);
  const int half = s.blocks / 2;
  const int begin = halves == 2 && wg == 1 ? half : 0;
  const int end = halves == 2 && wg == 0 ? half : s.blocks;
  Stage stage;
  uint32_t x_full = std::decay_t<decltype(a)>::kMode == SmallX::kQuantized ? XFull(a, s) : 0;
  int slot = halves == 2 ? 0 : wg, round = 0;
  if (slot >= a.plan.slots) {
    slot -= a.plan.slots;
    ++round;
  }
#pragma unroll 1
  for (int t = halves == 2 ? 0 : wg; t < s.tiles; t += 3 - halves) {
    float sum[n / 2] = {};
    if (std::decay_t<decltype(a)>::kMode != SmallX::kMixed || t < s.fp8) {
      MultiplyFp8<n>(a, s, ring, full, empty, x_full, begin, end, scales + t * s.blocks, &stage,
                     sum);
      x_full = 0;
    } else if constexpr (std::decay_t<decltype(a)>::kMode == SmallX::kMixed) {
      MultiplyBf16<n>(a, s, ring, full, empty, 2 * begin, 2 * end, &stage, sum);
    }
    if (round > 0) BarrierWait(SumsEmpty(a, s) + 8 * slot, (round - 1) & 1);
    Send<n>(a, s, warp, slot, sum);
    slot += 3 - halves;
    while (slot >= a.plan.slots) {
      slot -= a.plan.slots;
      ++round;
    }
  }
}

// y is BF16, without a bias or scales of rows, and pairs of rows are whole and aligned.
__host__ __device__ inline bool IsPlain(const GpuSegment& g) {
  return g.y_f32 == 0 && g.bias == nullptr && g.scale_blocks > 0 && g.first_row == 0 &&
         g.rows % kSmallTile == 0 && g.y_stride % 2 == 0 &&
         reinterpret_cast<uintptr_t>(g.y) % 4 == 0;
}

// Adds the sources of each row in their order and stores y, two rows a thread. `kPlain`: all
// segments are. `at`, `g`: of its first tile.
template <int n, bool kPlain, bool kAlone>
__device__ __forceinline__ void SumAndStore(const auto& a, const Share& s, int e, At at,
                                            GpuSegment g) {
  constexpr int kPitch = kSmallPitch<n>;
  constexpr int kWarps = kAlone ? 1 : kSmallEpilogue, kStep = kAlone ? kSmallAdders : 1;
  if (kAlone && e >= kSmallAdders) return;
  const int lane = threadIdx.x & 31, own = kAlone ? lane : e * 32 + lane;
  const int sources = s.slices * a.plan.halves, slot_floats = kSmallTile * a.plan.halves * kPitch;
  const int log_pairs = 5 - s.log_slices;
  constexpr bool kScaled = !kPlain && std::decay_t<decltype(a)>::kMode == SmallX::kQuantized;
  int slot = kAlone ? e : 0, phase = 0;
  bool plain = kPlain || IsPlain(g);
#pragma unroll 1
  for (int t = slot; t < s.tiles; t += kStep) {
    const int tile = TileOf(a, s, t);
    if (MoveTo(a, tile, &at)) {
      g = a.segments[at.segment];
      plain = kPlain || IsPlain(g);
    }
    const int row0 = g.first_row + (tile - g.first_tile) * kSmallTile + s.rank * s.rows;
    // Asked for while sums are awaited: a thread's two rows are the same of every token.
    float2 scales = make_float2(1, 1);
    if constexpr (kScaled) {
      const int row = row0 + (own & ((1 << log_pairs) - 1)) * 2;
      if (RowsHaveScales(g)) scales = make_float2(ScaleOfRow(g, row), ScaleOfRow(g, row + 1));
    }
    BarrierWait(SumsFull(a, s) + 8 * slot, phase);
    const float* sums = reinterpret_cast<const float*>(s.memory + a.plan.sums) + slot * slot_floats;
#pragma unroll 1
    for (int i = own; i < s.tokens << log_pairs; i += kWarps * 32) {
      const int m = i >> log_pairs, r = (i & ((1 << log_pairs) - 1)) * 2, row = row0 + r;
      const float* from = sums + r * kPitch + m;
      float u = 0, v = 0;
#pragma unroll 4
      for (int q = 0; q < sources; ++q) {
        u += from[q * s.rows * kPitch];
        v += from[q * s.rows * kPitch + kPitch];
      }
      if constexpr (kScaled) u *= scales.x, v *= scales.y;
      const int token = s.first + m;
      __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row;
      if (plain || (g.y_f32 == 0 && g.bias == nullptr && row >= 0 && row + 1 < g.rows &&
                    (reinterpret_cast<uintptr_t>(y) & 3) == 0)) {
        *reinterpret_cast<__nv_bfloat162*>(y) = __floats2bfloat162_rn(u, v);
      } else {
        if (row >= 0 && row < g.rows) StoreOne(g, token, row, u);
        if (row + 1 >= 0 && row + 1 < g.rows) StoreOne(g, token, row + 1, v);
      }
    }
    __syncwarp();
    if (t + a.plan.slots < s.tiles) {
      if ((kAlone || e == 0) && lane == 0)
        BarrierExpect(SumsFull(a, s) + 8 * slot, SentBytes(a, s));
      __syncwarp();
      if constexpr (kRacecheck) {
        for (int to = 0; to < s.slices; ++to)
          BarrierArriveRemote(MapShared(SumsEmpty(a, s) + 8 * slot, to));
      } else if (lane < s.slices) {
        BarrierArriveRemote(MapShared(SumsEmpty(a, s) + 8 * slot, lane));
      }
    }
    slot += kStep;
    if (slot >= a.plan.slots) {
      slot -= a.plan.slots;
      phase ^= 1;
    }
  }
}

// Two CTAs fit a multiprocessor, this launch's and the next one's; beside a quantizer's CTA, 256
// threads of 32 registers, so that neither waits for the other's end.
constexpr int RegistersOf(SmallX x) { return x == SmallX::kQuantized ? 72 : 80; }

template <int n, int kSegments, SmallX kX, bool kPlain>
__global__ void __maxnreg__(RegistersOf(kX))
    SmallLinear(const __grid_constant__ SmallArgumentsOf<kSegments, kX> a) {
  extern __shared__ char raw[];
  const Share s = MakeShare<n>(a, raw);
  // Known to be the same in all lanes, so that what follows from it lives in uniform registers,
  // where matrix instructions want their descriptors.
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  if (warp == kProducer) {
    if (lane == 0) InitBarriers<n>(a, s);
    __syncwarp();
    ClusterArriveRelaxed();
    if constexpr (kRacecheck) ClusterWait();
    if (ElectOne()) Produce<n>(a, s);
    __syncwarp();
    if constexpr (!kRacecheck) ClusterWait();
    return;
  }
  const int quantizer = warp < kProducer ? warp : warp - 1;
  ClusterArriveRelaxed();
  LoadScales<n>(a, s, quantizer, lane);
  // Asked for while x is awaited: indexed parameters take their time.
  At at;
  GpuSegment g = a.segments[0];
  if constexpr (kSegments > 1 && (n == 8 || kX == SmallX::kMixed)) {
    const int t = a.plan.add_alone ? warp - kProducer - 1 : 0;
    if (warp > kProducer && t < min(s.tiles, kSmallAdders)) {
      MoveTo(a, TileOf(a, s, t), &at);
      at.segment = Uniform(at.segment);
      at.end = Uniform(at.end);
      g = a.segments[at.segment];
      KeepHere(&g);
    }
  }
  XWalk<n> walk;
  if constexpr (kX != SmallX::kQuantized) walk = BeginX<n>(a, s, quantizer, lane);
  ClusterWait();
  if constexpr (kX == SmallX::kQuantized) {
    if (warp < kProducer) {
      NamedBarrier<32 * kQuantizers>(1);  // scales of W were brought by all
    } else {
      NamedBarrierArrive<32 * kQuantizers>(1);
      if (warp == kProducer + 1 && ElectOne()) LoadX<n>(a, s);
      __syncwarp();
      WaitForEarlier();  // y may be what an earlier kernel still reads
    }
  } else {
    WaitForEarlier();
    Quantize<n>(a, s, walk, quantizer, lane);
    FenceAsync();
    // The epilogue only brings its part of x; the warpgroups need all of it.
    if (warp > kProducer) {
      NamedBarrierArrive<32 * kQuantizers>(1);
    } else {
      NamedBarrier<32 * kQuantizers>(1);
    }
    if (a.plan.ahead == SmallChoice::kAfterX && threadIdx.x == 0) LaunchDependents();
  }
  if (warp < kProducer) {
    Consume<n>(a, s, warp);
  } else {
    const int e = warp - kProducer - 1;
    if (a.plan.add_alone) {
      SumAndStore<n, kPlain, true>(a, s, e, at, g);
    } else {
      SumAndStore<n, kPlain, false>(a, s, e, at, g);
    }
  }
}

template <int n, int kSegments, SmallX kX, bool kPlain>
cudaError_t LaunchShape(const SmallArguments& a, const LaunchTarget& to) {
  SmallArgumentsOf<kSegments, kX> own;
  static_cast<SmallCommon&>(own) = a;
  for (int i = 0; i < kSegments; ++i) {
    own.segments[i] = a.segments[i];
    own.weights[i] = a.weights[i];
  }
  if constexpr (kX == SmallX::kQuantized) own.quantized = a.quantized;
  static DeviceFlags ready;
  const auto kernel = SmallLinear<n, kSegments, kX, kPlain>;
  const cudaError_t error = AllowAllShared(kernel, &ready, true);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(a.plan.clusters) << a.plan.log_slices,
                  static_cast<unsigned>(a.plan.token_tiles));
  return LaunchCluster(kernel, grid, kSmallThreads, 1u << a.plan.log_slices, a.plan.shared, to,
                       own);
}

template <int n, int kSegments, SmallX kX>
cudaError_t LaunchAs(const SmallArguments& a, const LaunchTarget& to) {
  if constexpr (kSegments == 1 && kX != SmallX::kMixed)
    if (IsPlain(a.segments[0])) return LaunchShape<n, kSegments, kX, true>(a, to);
  return LaunchShape<n, kSegments, kX, false>(a, to);
}

template <int n, int kSegments>
cudaError_t LaunchWidth(const SmallArguments& a, const LaunchTarget& to) {
  if (a.plan.quantized) return LaunchAs<n, kSegments, SmallX::kQuantized>(a, to);
  return a.plan.sums > a.plan.x_bf16 ? LaunchAs<n, kSegments, SmallX::kMixed>(a, to)
                                     : LaunchAs<n, kSegments, SmallX::kFp8>(a, to);
}

template <int kSegments>
cudaError_t LaunchFor(const SmallArguments& a, const LaunchTarget& to) {
  switch (a.plan.token_tile) {
    case 8:
      return LaunchWidth<8, kSegments>(a, to);
    case 16:
      return LaunchWidth<16, kSegments>(a, to);
    default:
      return LaunchWidth<32, kSegments>(a, to);
  }
}

}  // namespace

cudaError_t LaunchSmall(const SmallArguments& a, const LaunchTarget& to) {
  return a.segment_count > 1 ? LaunchFor<kGpuSegments>(a, to) : LaunchFor<1>(a, to);
}

cudaError_t CountClusters(int slices, int* count) {
  static DeviceFlags ready;
  const auto kernel = SmallLinear<8, 1, SmallX::kFp8, true>;
  const cudaError_t error = AllowAllShared(kernel, &ready, true);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(slices), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(slices));
  config.blockDim = dim3(kSmallThreads);
  config.dynamicSmemBytes = 200 * 1024;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(count, kernel, &config);
}

}  // namespace ferrule
