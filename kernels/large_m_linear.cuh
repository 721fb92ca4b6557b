// SPDX-License-Identifier: Apache-2.0
// R1 … R3: y[M, N] = x[M, K] · W[N, K]ᵀ for FP8 block segments, x quantized before.
//
// Shapes.  A tile is 64, 128 or 256 tokens × R rows of W. Tokens are the m operand of wgmma: a
//   thread then holds two tokens, so that scales cost two products a block, and y leaves in rows.
//   ring     stages × ([R rows][128 bytes] W, [tokens][128 bytes] x, [tokens] scales of x), by TMA
//   work     two warpgroups. 64 tokens: half of the rows each; 128: 64 tokens each; 256: twice 64
//            tokens each. The sum of 128 columns goes into float32 registers times sx·sw: tensor
//            cores add with few bits
//   share    two CTAs of a cluster, neighbours in rows (tokens), each bring half of x (W) for both:
//            L2 is slower than the tensor cores
//   slices   S CTAs of a cluster share out K and one tile; partial sums go to shared memory, of
//            which CTA `rank` adds tokens [T·rank/S, …) of all CTAs in their order: deterministic
// A tile may straddle two rows of scales of W: columns up to the border take the first, the others
// the second.
#pragma once

#include "kernels/large_m_store.cuh"
#include "kernels/launch.cuh"
#include "kernels/wgmma.cuh"

namespace ferrule::large_m {

constexpr int kLoading = 40;  // registers of a loading thread

template <int kTokens, int kRows, int kResident_>
struct Shape {
  static constexpr int kPieces = kTokens == 256 ? 2 : 1;              // of 64 tokens, a warpgroup
  static constexpr int kColumns = kTokens == 64 ? kRows / 2 : kRows;  // a warpgroup
  static constexpr int kResident = kResident_;                        // CTAs of a multiprocessor
  // With one CTA a multiprocessor the loading warpgroup gives its registers away; what a tile does
  // not need is left for CTAs of the next launch's quantizer, 256 threads of 32 registers, which
  // else begin when this CTA ends.
  static constexpr int kThreads = kResident == 1 ? 384 : 320;
  static constexpr int kSize = kPieces == 1 ? kColumns : 256;
  static constexpr int kAtEntry = kResident == 2 ? 96
                                  : kSize <= 64  ? 112
                                  : kSize <= 112 ? 144
                                                 : 168;
  static constexpr int kConsuming = kSize <= 64 ? 144 : kSize <= 112 ? 192 : 232;
  static_assert(kResident == 2 || 2 * kConsuming + kLoading <= 3 * kAtEntry);
  // Registers for two products of a warpgroup, one under way while the other is added up.
  static constexpr bool kAhead = kPieces == 1 && 3 * kColumns / 2 <= (kResident == 1 ? 192 : 64);
  static constexpr bool kStraddles = kBlock % kColumns != 0;
  static_assert(kColumns % 16 == 0 && kColumns <= 192 && kPieces * kColumns <= 256);
};

// sum += d · sx · sw; columns from `border` on by the second scale of W.
template <bool kStraddles, int n>
__device__ __forceinline__ void Promote(float (&sum)[n / 2], const float (&d)[n / 2], float2 sx,
                                        float2 sw, int border) {
  const float a0 = sx.x * sw.x, b0 = sx.y * sw.x, a1 = sx.x * sw.y, b1 = sx.y * sw.y;
#pragma unroll
  for (int h = 0; h < n / 8; ++h) {
    const bool second = kStraddles && h * 8 >= border;
    const float a = second ? a1 : a0, b = second ? b1 : b0;
    sum[4 * h] += a * d[4 * h];
    sum[4 * h + 1] += a * d[4 * h + 1];
    sum[4 * h + 2] += b * d[4 * h + 2];
    sum[4 * h + 3] += b * d[4 * h + 3];
  }
}

// Where the scales of W for a warpgroup's columns lie.
struct Scales {
  const float *first, *second;
  int border;  // columns that take the first
};
template <int kTokens, int kRows, int kResident>
__device__ __forceinline__ Scales ScalesOf(const LargeArguments& a, const Place& p, int wg) {
  using S = Shape<kTokens, kRows, kResident>;
  const GpuSegment& g = a.segments[p.segment];
  const int at = p.scale_at + (kTokens == 64 ? wg * S::kColumns : 0);
  const int last = (g.rows - g.first_row - 1) / kBlock;  // tiles may reach past the last row
  const int row = p.scale_row + at / kBlock;
  Scales s;
  s.first = g.scale + static_cast<int64_t>(min(row, last)) * g.scale_stride;
  s.second = g.scale + static_cast<int64_t>(min(row + 1, last)) * g.scale_stride;
  s.border = kBlock - at % kBlock;
  return s;
}

template <bool kStraddles>
__device__ __forceinline__ float2 LoadScales(const Scales& s, int block) {
  return make_float2(__ldg(s.first + block), kStraddles ? __ldg(s.second + block) : 0.0f);
}

template <int kTokens, int kRows, int kResident>
__device__ __forceinline__ void Consume(const LargeArguments& a, const Work& w, int wg) {
  using S = Shape<kTokens, kRows, kResident>;
  constexpr int n = S::kColumns, kPieces = S::kPieces;
  const LargePlan& plan = a.plan;
  const int depth = plan.stages;
  const uint32_t full = w.base + plan.barriers, empty = full + 8 * depth;
  const int token_of_wg = kTokens == 64 ? 0 : wg * 64 * kPieces;
  const int column_of_wg = kTokens == 64 ? wg * n : 0;
  // Descriptors: 16 bytes are 1.
  const uint64_t first_w = Descriptor(w.base + column_of_wg * kBoxBytes);
  const uint64_t first_x = Descriptor(w.base + plan.x_box + token_of_wg * kBoxBytes);
  const float* sx = reinterpret_cast<const float*>(w.memory + plan.x_scales) + token_of_wg +
                    (threadIdx.x >> 5 & 3) * 16 + ((threadIdx.x & 31) >> 2);
  Stage stage;
  bool first = true;
  Place p;
  Scales scales;
  float2 next;
  const auto look_ahead = [&](int64_t tile) {  // what a tile needs first is on its way
    if (tile >= w.tiles) return;
    p = PlaceOf<kTokens, kRows>(a, w, tile);
    scales = ScalesOf<kTokens, kRows, kResident>(a, p, wg);
    next = LoadScales<S::kStraddles>(scales, w.begin);
  };
  look_ahead(w.cluster);
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += plan.clusters) {
    if (p.beyond) {  // nothing to do but to release what the other CTA reads too
#pragma unroll 1
      for (int k = w.begin; k < w.end; ++k) {
        BarrierWait(full + 8 * stage.index, stage.phase);
        Release(a, w, empty + 8 * stage.index);
        stage.Next(depth);
      }
      look_ahead(tile + plan.clusters);
      continue;
    }
    float sum[kPieces][n / 2] = {};
    float d[2][n / 2];
    Stage ahead = stage;  // of products that are asked for; `stage`: of those that are added up
    int k = w.begin;
    const auto await = [&] { BarrierWait(full + 8 * ahead.index, ahead.phase); };
    const auto multiply = [&](float(&to)[n / 2], int piece) {
      const uint64_t w_at = first_w + ahead.index * (kRows * kBoxBytes / 16);
      const uint64_t x_at = first_x + ahead.index * (kTokens * kBoxBytes / 16) + piece * 512;
      WgmmaFence();
#pragma unroll
      for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(to, x_at + 2 * q, w_at + 2 * q, q);
      WgmmaCommit();
    };
    const auto scales_of_x = [&](int piece) {
      const float* s = sx + stage.index * kTokens + piece * 64;
      return make_float2(s[0], s[8]);
    };
    const auto add = [&](const float(&from)[n / 2], int piece, float2 scale, float2 sw) {
      if (piece == kPieces - 1) Release(a, w, empty + 8 * stage.index);
      Promote<S::kStraddles, n>(sum[piece], from, scale, sw, scales.border);
      if (piece == kPieces - 1) stage.Next(depth);
    };
    const auto step = [&] {  // the scales of W of this block, and those of the next one asked for
      const float2 sw = next;
      if (++k < w.end) next = LoadScales<S::kStraddles>(scales, k);
      return sw;
    };
    if constexpr (!S::kAhead) {
#pragma unroll 1
      while (k < w.end) {
        const float2 sw = step();
        await();
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
          const float2 scale = scales_of_x(i);
          multiply(d[0], i);
          WgmmaWait<0>();
          add(d[0], i, scale, sw);
        }
        ahead.Next(depth);
      }
    } else {  // the next block is multiplied while one is added up
      const auto multiply_next = [&](float(&to)[n / 2]) {
        await();
        multiply(to, 0);
        ahead.Next(depth);
      };
      multiply_next(d[0]);
#pragma unroll 1
      while (k + 2 < w.end) {
        multiply_next(d[1]);
        WgmmaWait<1>();
        add(d[0], 0, scales_of_x(0), step());
        multiply_next(d[0]);
        WgmmaWait<1>();
        add(d[1], 0, scales_of_x(0), step());
      }
      if (k + 1 < w.end) {
        multiply_next(d[1]);
        WgmmaWait<1>();
        add(d[0], 0, scales_of_x(0), step());
        WgmmaWait<0>();
        add(d[1], 0, scales_of_x(0), step());
      } else {
        WgmmaWait<0>();
        add(d[0], 0, scales_of_x(0), step());
      }
    }
    if (first) WaitForEarlier();  // y may be what an earlier kernel still reads
    first = false;
    if (plan.slices == 1) {
      const Place done = p;
      look_ahead(tile + plan.clusters);
#pragma unroll
      for (int i = 0; i < kPieces; ++i)
        StorePiece<n>(a.segments[done.segment], a.tokens, done.token + token_of_wg + 64 * i,
                      done.row + column_of_wg, sum[i]);
      continue;
    }
    NamedBarrier<kConsumers>(1);  // the ring is read to its end by both
#pragma unroll
    for (int i = 0; i < kPieces; ++i)
      StageSums<kRows, n>(w, token_of_wg + 64 * i, column_of_wg, sum[i]);
    __syncwarp();
    ClusterArrive();
    ClusterWait();
    SumAndStore<kTokens, kRows>(a, w, p);
    __syncwarp();
    ClusterArriveRelaxed();  // nobody's memory goes before it was read
    ClusterWait();
  }
}

template <typename S>
constexpr int kRegisters = S::kAtEntry;

template <int kTokens, int kRows, int kResident, typename S = Shape<kTokens, kRows, kResident>>
__global__ void __maxnreg__(kRegisters<S>) LargeLinear(const __grid_constant__ LargeArguments a) {
  extern __shared__ char raw[];
  const Work w = MakeWork(a, raw);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // known to be uniform
  const int share = a.plan.share_x * a.plan.share_w;
  if (threadIdx.x == kConsumers) {
    const uint32_t full = w.base + a.plan.barriers;
    for (int i = 0; i < a.plan.stages; ++i) {
      BarrierInit(full + 8 * i, 2);  // who loads W, who loads x
      BarrierInit(full + 8 * (a.plan.stages + i), kConsumers / 32 * Fillers(a.plan));
    }
    BarrierInitFence();
  }
  __syncthreads();
  if (share > 1) {  // nobody sends before all can receive
    ClusterArrive();
    ClusterWait();
  }
  if (warp >= kConsumers / 32) {
    if constexpr (S::kResident == 1)
      asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kLoading));
    if (warp == kConsumers / 32) {
      if (ElectOne()) LoadW<kTokens, kRows>(a, w);
    } else if (warp == kConsumers / 32 + 1) {
      if (ElectOne()) LoadX<kTokens, kRows>(a, w);
    }
    __syncwarp();
    if (a.plan.slices > 1) {
      ClusterArriveRelaxed();
      ClusterWait();
      ClusterArriveRelaxed();
      ClusterWait();
    }
  } else {
    if constexpr (S::kResident == 1)
      asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsuming));
    Consume<kTokens, kRows, kResident>(a, w, warp >> 2);
  }
  if (share > 1) {  // nobody leaves while others may still release to it
    __syncwarp();
    ClusterArrive();
    ClusterWait();
  }
}

template <int kTokens, int kRows, int kResident>
cudaError_t LaunchTile(const LargeArguments& a, cudaStream_t stream) {
  static DeviceFlags ready;
  const auto kernel = LargeLinear<kTokens, kRows, kResident>;
  const cudaError_t error = AllowAllShared(kernel, &ready, false);
  if (error != cudaSuccess) return error;
  const auto together = static_cast<unsigned>(a.plan.slices * a.plan.share_x * a.plan.share_w);
  return LaunchCluster(kernel, static_cast<unsigned>(a.plan.clusters) * together,
                       Shape<kTokens, kRows, kResident>::kThreads, together, a.plan.shared, stream,
                       a);
}

}  // namespace ferrule::large_m
