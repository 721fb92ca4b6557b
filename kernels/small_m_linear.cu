// SPDX-License-Identifier: Apache-2.0
// R0: y[M, N] = x[M, K] · W[N, K]ᵀ for M <= 32 and several segments, FP8 block or BF16, one launch.
//
// Shapes.  n = 8, 16 or 32 >= M tokens. W is cut into tiles of 64 rows. A cluster of S CTAs takes
//   tiles c, c + clusters, …; CTA `rank` multiplies blocks [G·rank/S, G·(rank+1)/S) of K of each.
//   ring     2 warpgroups × `ring` × [64 rows][128 bytes] W, by TMA, filled BEFORE the wait for the
//            kernels before: weights are constant, and DRAM must not idle
//   x_fp8    blocks × [n][128 bytes]  x of this slice in E4M3, quantized here once, swizzled like W
//   x_bf16   2·blocks × [n][128 bytes]  the same x as it is, when there are BF16 segments
//   x_scales blocks × [n];  w_scales tiles × blocks
//   wgmma    64 rows of W (the m operand) × n tokens × 32 bytes of K, four a box. FP8: the sum of a
//            block goes into float32 registers times sx·sw (tensor cores add with few bits); BF16:
//            sums stay in the tensor core
//   halves 1: a warpgroup takes every other tile; halves 2: both take each tile, half the slice
//   each sums     slots × [S·halves sources][64/S rows][n]: each source sends rows [64/S·d, …) to
//   CTA d,
//            which adds them in the order of the sources: deterministic. n <= 16: stored from
//            registers; n = 32: staged, one copy for each CTA. A CTA's own rows are stored plainly.
//
// A row of tiles outside the tensor (before row 0 of a shard that begins inside a scale block,
// after the last) and columns outside K are zeros that TMA makes up; they are not stored.
#include "kernels/gpu_segment.cuh"
#include "kernels/sm90.cuh"
#include "kernels/small_m_linear.h"
#include "kernels/small_m_load.cuh"
#include "kernels/wgmma.cuh"

namespace ferrule {
namespace {

using namespace sm90;
using namespace small_m;

// Blocks [begin, end) of one FP8 tile. Two blocks are in flight; a missing second one repeats the
// first with scale 0.
template <int n>
__device__ __forceinline__ void MultiplyFp8(const auto& a, const Share& s, uint32_t ring,
                                            uint32_t full, uint32_t empty, int begin, int end,
                                            const float* sw, Stage* at, float (&sum)[n / 2]) {
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
  if (lane == 0 && end > begin) BarrierArrive(empty + 8 * before);
}

// The sums of one warpgroup to the CTAs that own the rows.
template <int n>
__device__ __forceinline__ void Send(const auto& a, const Share& s, int warp, int slot,
                                     const float (&sum)[n / 2]) {
  constexpr int kPitch = kSmallPitch<n>;
  const int lane = threadIdx.x & 31, c = (lane & 3) * 2;
  const int wg = warp >> 2, half = a.plan.halves == 2 ? wg : 0;
  const int slot_floats = kSmallTile * a.plan.halves * kPitch;
  const int source = s.rank * a.plan.halves + half;
  float* own = reinterpret_cast<float*>(s.memory + a.plan.sums) + slot * slot_floats +
               source * s.rows * kPitch;
  const uint32_t sums = s.base + a.plan.sums + (slot * slot_floats + source * s.rows * kPitch) * 4;
  const uint32_t barrier = SumsFull(a, s) + 8 * slot;
  const int staged = (slot * a.plan.halves + half) * kSmallTile * kPitch;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = (warp & 3) * 16 + h * 8 + (lane >> 2);
    const int owner = row >> (6 - s.log_slices), r = row & (s.rows - 1);
    float* to = own + r * kPitch + c;
    if (n == 32 && owner != s.rank)
      to = reinterpret_cast<float*>(s.memory + a.plan.staging) + staged + row * kPitch + c;
    if (n == 32 || owner == s.rank) {
#pragma unroll
      for (int i = 0; i < n / 8; ++i)
        *reinterpret_cast<float2*>(to + i * 8) =
            make_float2(sum[4 * i + 2 * h], sum[4 * i + 2 * h + 1]);
    } else {
      const uint32_t there = MapShared(sums + (r * kPitch + c) * 4, owner);
      const uint32_t signal = MapShared(barrier, owner);
#pragma unroll
      for (int i = 0; i < n / 8; ++i)
        if (i * 8 + c < a.tokens)
          StoreAsync(there + i * 32, sum[4 * i + 2 * h], sum[4 * i + 2 * h + 1], signal);
    }
  }
  if (n == 32) {
    FenceAsync();
    if (wg == 0) {
      NamedBarrier<128>(2);
    } else {
      NamedBarrier<128>(3);
    }
    const uint32_t bytes = s.rows * kPitch * 4;
    if ((warp & 3) == 0 && lane < s.slices && lane != s.rank)
      CopyToCluster(MapShared(sums, lane), s.base + a.plan.staging + staged * 4 + lane * bytes,
                    bytes, MapShared(barrier, lane));
  }
  BarrierArrive(barrier);  // every lane for its own rows
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
  int slot = halves == 2 ? 0 : wg, round = 0, segment = 0;
  if (slot >= a.plan.slots) {
    slot -= a.plan.slots;
    ++round;
  }
#pragma unroll 1
  for (int t = halves == 2 ? 0 : wg; t < s.tiles; t += 3 - halves) {
    segment = SegmentOf(a, s.cluster + t * a.plan.clusters, segment);
    float sum[n / 2] = {};
    if (a.segments[segment].scale != nullptr) {
      MultiplyFp8<n>(a, s, ring, full, empty, begin, end, scales + t * s.blocks, &stage, sum);
    } else {
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

// Adds the sources of each row in their order and stores y, two rows a thread.
template <int n>
__device__ __forceinline__ void SumAndStore(const auto& a, const Share& s, int warp) {
  constexpr int kPitch = kSmallPitch<n>;
  const int lane = threadIdx.x & 31, e = warp - kProducer - 1;
  const int sources = s.slices * a.plan.halves, slot_floats = kSmallTile * a.plan.halves * kPitch;
  const int log_pairs = 5 - s.log_slices;
  int slot = 0, phase = 0, segment = 0;
#pragma unroll 1
  for (int t = 0; t < s.tiles; ++t) {
    const int tile = s.cluster + t * a.plan.clusters;
    segment = SegmentOf(a, tile, segment);
    const GpuSegment g = a.segments[segment];
    const int row0 = g.first_row + (tile - g.first_tile) * kSmallTile + s.rank * s.rows;
    BarrierWait(SumsFull(a, s) + 8 * slot, phase);
    if (n == 32 && t + 1 == s.tiles) {
      __syncwarp();
      ClusterArriveRelaxed();  // every copy into this CTA is here
    }
    const float* sums = reinterpret_cast<const float*>(s.memory + a.plan.sums) + slot * slot_floats;
#pragma unroll 1
    for (int i = e * 32 + lane; i < a.tokens << log_pairs; i += kSmallEpilogue * 32) {
      const int m = i >> log_pairs, r = (i & ((1 << log_pairs) - 1)) * 2, row = row0 + r;
      const float* from = sums + r * kPitch + m;
      float u = 0, v = 0;
#pragma unroll 4
      for (int q = 0; q < sources; ++q) {
        u += from[q * s.rows * kPitch];
        v += from[q * s.rows * kPitch + kPitch];
      }
      __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + m * g.y_stride + row;
      if (g.y_f32 == 0 && g.bias == nullptr && row >= 0 && row + 1 < g.rows &&
          (reinterpret_cast<uintptr_t>(y) & 3) == 0) {
        *reinterpret_cast<__nv_bfloat162*>(y) = __floats2bfloat162_rn(u, v);
      } else {
        if (row >= 0 && row < g.rows) StoreOne(g, m, row, u);
        if (row + 1 >= 0 && row + 1 < g.rows) StoreOne(g, m, row + 1, v);
      }
    }
    __syncwarp();
    if (t + a.plan.slots < s.tiles) {
      if (e == 0 && lane == 0) BarrierExpect(SumsFull(a, s) + 8 * slot, SentBytes<n>(a, s));
      __syncwarp();
      if (lane < s.slices) BarrierArriveRemote(MapShared(SumsEmpty(a, s) + 8 * slot, lane));
    }
    if (++slot == a.plan.slots) {
      slot = 0;
      phase ^= 1;
    }
  }
}

template <int n, int kSegments>
__global__ void __launch_bounds__(kSmallThreads, 2)
    SmallLinear(const __grid_constant__ SmallArgumentsOf<kSegments> a) {
  extern __shared__ char raw[];
  const Share s = MakeShare(a, raw);
  // Known to be the same in all lanes, so that what follows from it lives in uniform registers,
  // where matrix instructions want their descriptors.
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  if (warp == kProducer) {
    if (lane == 0) InitBarriers<n>(a, s);
    __syncwarp();
    ClusterArriveRelaxed();
    if (ElectOne()) Produce(a, s);
    __syncwarp();
    ClusterWait();
    if (n == 32) {
      ClusterArriveRelaxed();
      ClusterWait();
    }
    return;
  }
  const int quantizer = warp < kProducer ? warp : warp - 1;
  ClusterArriveRelaxed();
  LoadScales(a, s, quantizer, lane);
  ClusterWait();
  WaitForEarlier();
  Quantize<n>(a, s, quantizer, lane);
  FenceAsync();
  // The epilogue only brings its part of x; the warpgroups need all of it.
  if (warp > kProducer) {
    NamedBarrierArrive<32 * kQuantizers>(1);
  } else {
    NamedBarrier<32 * kQuantizers>(1);
  }
  if (a.plan.ahead == SmallChoice::kAfterX && threadIdx.x == 0) LaunchDependents();
  if (warp < kProducer) {
    Consume<n>(a, s, warp);
    if (n == 32) ClusterArriveRelaxed();
  } else {
    SumAndStore<n>(a, s, warp);
  }
  if (n == 32) ClusterWait();  // every copy out of this CTA has arrived: its memory may go
}

template <int n, int kSegments>
cudaError_t LaunchShape(const SmallArgumentsOf<kSegments>& a, cudaStream_t stream) {
  // Attributes belong to a device; asking again for each of the first launches does no harm.
  static bool ready[64] = {};
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  if (device >= 64 || !ready[device]) {
    const auto set = [&error](cudaFuncAttribute attribute, int value) {
      if (error == cudaSuccess)
        error = cudaFuncSetAttribute(SmallLinear<n, kSegments>, attribute, value);
    };
    set(cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024);
    set(cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    // Else the next launch may have to wait for another split of shared memory and cache.
    set(cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    if (error != cudaSuccess) return error;
    if (device < 64) ready[device] = true;
  }
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {1u << a.plan.log_slices, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.gridDim = dim3(static_cast<unsigned>(a.plan.clusters) << a.plan.log_slices);
  config.blockDim = dim3(kSmallThreads);
  config.dynamicSmemBytes = a.plan.shared;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, SmallLinear<n, kSegments>, a);
}

template <int n>
cudaError_t LaunchWidth(const SmallArguments& a, cudaStream_t stream) {
  if (a.segment_count > 1) return LaunchShape<n>(a, stream);
  SmallArgumentsOf<1> one;
  static_cast<SmallCommon&>(one) = a;
  one.segments[0] = a.segments[0];
  one.weights[0] = a.weights[0];
  return LaunchShape<n>(one, stream);
}

}  // namespace

cudaError_t LaunchSmall(const SmallArguments& a, cudaStream_t stream) {
  switch (a.plan.token_tile) {
    case 8:
      return LaunchWidth<8>(a, stream);
    case 16:
      return LaunchWidth<16>(a, stream);
    default:
      return LaunchWidth<32>(a, stream);
  }
}

}  // namespace ferrule
