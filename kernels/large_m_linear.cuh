// SPDX-License-Identifier: Apache-2.0
// R1 … R3: y[M, N] = x[M, K] · W[N, K]ᵀ for FP8 segments, x quantized before, and for BF16 ones
// beside those of blocks.
//
// Shapes.  A tile is 64, 128 or 256 tokens × R rows of W. Tokens are the m operand of wgmma: a
//   thread then holds two tokens, so that scales cost two products a block, and y leaves in rows.
//   ring     stages × ([R rows][128 bytes] W, [tokens][128 bytes] x, [tokens] scales of x) by TMA
//   work     a warpgroup for every 64 tokens, of 256 tokens two that take twice 64 each. The sum of
//            128 columns goes into float32 registers times sx·sw: tensor cores add with few bits
//   turns    of 64 tokens, where a plan says so, two warpgroups take every other block of K each
//            and add up half of the rows each in the end
//   share    two CTAs of a cluster, neighbours in rows (tokens), each bring half of x (W) for both:
//            L2 is slower than the tensor cores
//   slices   S CTAs of a cluster share out K and one tile; partial sums go to shared memory, of
//            which CTA `rank` adds tokens [T·rank/S, …) of all CTAs in their order: deterministic.
//            Of two and four each sends the others their parts (large_m_exchange.cuh)
//   y        of 128 and 256 tokens leaves by TMA while the next tile is multiplied; where there is
//            none, and of 64 tokens, warps store it
//   scales   of a whole tensor are those of every block; of rows: blocks have 1, and sums are
//            multiplied on their way to y
//   BF16     a tile of 16, 32 or 64 rows: a stage has 64 columns, or 128 where W is so much larger
//            than x that both boxes of x have room; sums stay in the tensor cores
// A tile may straddle two rows of scales of W: columns up to the border take the first, the others
// the second.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/large_m_store.cuh"
#include "kernels/launch.cuh"
#include "kernels/wgmma.cuh"

namespace ferrule::large_m {

constexpr int kLoading = 40;  // registers of a loading thread

template <int kTokens, int kRows, int kResident_, LargeWork kWork>
struct Shape {
  static constexpr int kResident = kResident_;  // CTAs of a multiprocessor
  static constexpr bool kTurns = kWork == LargeWork::kTurns;
  static constexpr bool kOnce = kWork != LargeWork::kTiles;  // one tile
  static constexpr int kPeers = PeersOf(kWork);              // CTAs that exchange sums
  static constexpr int kPieces = kTokens == 256 ? 2 : 1;     // of 64 tokens, a warpgroup
  static constexpr int kConsumers = kTokens == 64 && !kTurns ? 128 : 256;
  static constexpr bool kAlone = kConsumers == 128;  // one warpgroup
  static constexpr int kBf16Rows = kRows < 64 ? kRows : 64;
  static_assert(kRows % 16 == 0 && kRows <= 192 && kPieces * kRows <= 256);
  static_assert(!kTurns || (kTokens == 64 && kRows % 32 == 0));
  static_assert(kPeers == 1 || kPieces == 1);  // what is exchanged

  // Whether there are registers for two products of a warpgroup, one under way while the other is
  // added up.
  static constexpr bool kAhead =
      kAlone ? kRows <= (kResident == 1 ? 128 : 64)
             : kPieces == 1 && !kTurns && kRows <= (kResident == 1 ? 96 : 32);
  // What a tile does not need is left for CTAs of the next launch's quantizer, 256 threads of 32
  // registers, which else begin when this CTA ends.
  static constexpr int kOfOne =
      kResident == 2 && kRows == 64 ? 136 : std::min(248, (kAhead ? 3 * kRows / 2 : kRows) + 64);
  // Beside two warpgroups that multiply the loading one gives its registers away.
  static constexpr bool kGives = kResident == 1 && !kAlone;
  static constexpr int kSize = kPieces == 1 ? kRows : 256;
  static constexpr int kOfTwo = kResident == 2 ? 96 : kSize <= 64 ? 112 : kSize <= 96 ? 144 : 168;
  static constexpr int kConsuming = kSize <= 64 ? 144 : kSize <= 96 ? 192 : 232;
  static constexpr int kRegisters = kAlone ? kOfOne : kOfTwo;
  static_assert(!kGives || 2 * kConsuming + kLoading <= 3 * kRegisters);

  // Those that do not multiply load; all add up sums of a cluster. Without sums more warps would
  // only take registers from the quantizer.
  static constexpr int kThreads = kGives ? 384 : kConsumers + 64;
  static constexpr int kThreadsOfSlices = kAlone && kResident == 1 && kRows <= 96 ? 256 : kThreads;
  static_assert(kResident * kThreadsOfSlices * kRegisters <= 65536);

  // Rows of W that have one scale whatever the tile; more than one row of scales in a tile.
  static constexpr int kUnit = std::gcd(kRows, kBlock);
  static constexpr bool kStraddles = kBlock % kRows != 0;
};

// sx·sw of a thread's two tokens, by the first scale of W of a tile and by the second.
struct Factors {
  float a0, b0, a1, b1;
};

// sum += d · sx · sw; columns from `border` on by the second scale of W.
template <typename S, int n>
__device__ __forceinline__ void Promote(float (&sum)[n / 2], const float (&d)[n / 2],
                                        const Factors& f, int border) {
  float a[n / S::kUnit], b[n / S::kUnit];
#pragma unroll
  for (int u = 0; u < n / S::kUnit; ++u) {
    const bool second = S::kStraddles && u * S::kUnit >= border;
    a[u] = second ? f.a1 : f.a0;
    b[u] = second ? f.b1 : f.b0;
  }
#pragma unroll
  for (int h = 0; h < n / 8; ++h) {
    const int u = h * 8 / S::kUnit;
    sum[4 * h] += a[u] * d[4 * h];
    sum[4 * h + 1] += a[u] * d[4 * h + 1];
    sum[4 * h + 2] += b[u] * d[4 * h + 2];
    sum[4 * h + 3] += b[u] * d[4 * h + 3];
  }
}

// The scales of W of a tile, 32 blocks of K at a time, one a lane: those in use, and the next ones
// on their way. 1 where rows have them.
template <bool kStraddles, bool kTokenScales>
class TileScales {
 public:
  __device__ __forceinline__ void Start(const auto& a, const Place& p, int begin) {
    const GpuSegment& g = a.segments[p.segment];
    const int last = (g.rows - g.first_row - 1) / kBlock;  // tiles may reach past the last row
    first_ = g.scale + static_cast<int64_t>(min(p.scale_row, last)) * g.scale_stride;
    second_ = g.scale + static_cast<int64_t>(min(p.scale_row + 1, last)) * g.scale_stride;
    last_block_ = (kTokenScales ? g.scale_blocks : a.blocks) - 1;
    from_ = begin;
    lane_ = static_cast<int>(threadIdx.x & 31);
    asm volatile("" : "+r"(lane_));  // or it would be asked for again in every block
    held_ = Load(begin);
    coming_ = Load(begin + 32);
  }
  // Of block `k`, before End().
  __device__ __forceinline__ float2 At(int k) const {
    const float x = __shfl_sync(~0u, held_.x, k - from_);
    return make_float2(x, kStraddles ? __shfl_sync(~0u, held_.y, k - from_) : 0.0f);
  }
  __device__ __forceinline__ int End() const { return from_ + 32; }  // of those in use
  __device__ __forceinline__ void Advance() {
    from_ += 32;
    held_ = coming_;
    coming_ = Load(from_ + 32);
  }

 private:
  __device__ __forceinline__ float2 Load(int from) const {
    const int k = min(from + lane_, last_block_);
    if (kTokenScales && k < 0) return make_float2(1, kStraddles ? 1 : 0);
    return make_float2(__ldg(first_ + k), kStraddles ? __ldg(second_ + k) : 0.0f);
  }
  const float *first_, *second_;
  int last_block_, from_, lane_;
  float2 held_, coming_;
};

template <typename S, int kTokens, int kRows>
__device__ __forceinline__ void Consume(const auto& a, const Work& w, int wg) {
  constexpr int n = kRows, kPieces = S::kPieces, kStep = S::kTurns ? 2 : 1;
  const LargePlan& plan = a.plan;
  WaitForEarlier();  // y may be what an earlier kernel still reads; here, where x is awaited anyway
  if constexpr (S::kPeers > 1) ClusterWait();  // all have begun
  const int depth = plan.stages;
  const uint32_t full = w.base + plan.barriers;
  const Releaser release(a, w);
  const int token_of_wg = S::kTurns ? 0 : wg * 64 * kPieces;
  const uint32_t first_w = DescriptorLow(w.base);
  const uint32_t first_x = DescriptorLow(w.base + plan.x_box + token_of_wg * kBoxBytes);
  uint32_t sx = w.base + plan.x_scales +
                (token_of_wg + (threadIdx.x >> 5 & 3) * 16 + ((threadIdx.x & 31) >> 2)) * 4;
  asm volatile("" : "+r"(sx));  // or it would be worked out again for every block
  // In turns there is one tile, and stages of even numbers are the first warpgroup's, of odd ones
  // the second's.
  Stage stage{S::kTurns ? wg : 0, 0};
  Place p;
  TileScales<S::kStraddles, std::decay_t<decltype(a)>::kTokenScales> scales;
  const auto look_ahead = [&](int tile) {  // what a tile needs first is on its way
    if (tile >= w.tiles) return;
    p = PlaceOf<kTokens, kRows>(a, w, tile);
    if (!p.bf16) scales.Start(a, p, w.begin);
  };
  const auto next = [&](Stage* at) {
    at->index += kStep;
    if (at->index >= depth) {
      at->index -= depth;
      at->phase ^= 1;
    }
  };
  look_ahead(w.cluster);
#pragma unroll 1
  for (int tile = w.cluster; tile < w.tiles; tile += plan.clusters) {
    const int end = EndOf(w, p);
    int k = BeginOf(w, p) + (S::kTurns ? wg : 0);
    if (!S::kOnce && p.beyond) {  // nothing to do but to release what the other CTA reads too
#pragma unroll 1
      for (; k < end; k += kStep) {
        BarrierWait(full + 8 * stage.index, stage.phase);
        release(stage.index);
        next(&stage);
      }
      look_ahead(tile + plan.clusters);
      continue;
    }
    float sum[kPieces][n / 2] = {};
    float d[2][n / 2];
    const int border = kBlock - p.scale_at;
    Stage ahead = stage;  // of products that are asked for; `stage`: of those that are added up
    const auto factors = [&](Factors(&f)[kPieces]) {
      const float2 sw = scales.At(k);
      const uint32_t s = sx + ahead.index * (kTokens * 4);
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const float one = LoadSharedFloat(s + 256 * i), two = LoadSharedFloat(s + 256 * i + 32);
        f[i] = {one * sw.x, two * sw.x, one * sw.y, two * sw.y};
      }
    };
    const auto multiply = [&](float(&to)[n / 2], int piece) {
      const uint32_t w_at = first_w + ahead.index * (kRows * kBoxBytes / 16);
      const uint32_t x_at = first_x + ahead.index * (kTokens * kBoxBytes / 16) + piece * 512;
      WgmmaFence();
#pragma unroll
      for (int q = 0; q < 4; ++q)
        WgmmaE4m3<n>(to, DescriptorOf(x_at + 2 * q), DescriptorOf(w_at + 2 * q), q);
      WgmmaCommit();
    };
    if (p.bf16) {
      constexpr int kBf16 = S::kBf16Rows;
      const uint32_t bf16_w = Bf16Offset<kTokens>(plan.bf16_boxes) / 16;
      const uint32_t second_x = token_of_wg * kBoxBytes / 16;
      const auto multiply_bf16 = [&](uint32_t x_at, uint32_t w_at) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i)
#pragma unroll
          for (int q = 0; q < 4; ++q)
            WgmmaBf16<kBf16>(reinterpret_cast<float(&)[kBf16 / 2]>(sum[i]),
                             DescriptorOf(x_at + 512 * i + 2 * q), DescriptorOf(w_at + 2 * q), 1);
      };
      const auto give_back = [&] {
        release(stage.index);
        next(&stage);
      };
      const auto stages_of = [&](auto pairs) {
        const int first = k;
#pragma unroll 1
        for (; k < end; k += kStep) {  // a stage is given back under the products of the next one
          BarrierWait(full + 8 * ahead.index, ahead.phase);
          const uint32_t w_at = first_w + ahead.index * (kRows * kBoxBytes / 16);
          const uint32_t x_at = first_x + ahead.index * (kTokens * kBoxBytes / 16);
          WgmmaFence();
          multiply_bf16(x_at, w_at + bf16_w);
          if constexpr (decltype(pairs)::value)
            multiply_bf16(w_at + second_x, w_at + bf16_w + plan.bf16_tile * (kBoxBytes / 16));
          WgmmaCommit();
          next(&ahead);
          WgmmaWait<1>();
          if (k > first) give_back();
        }
        WgmmaWait<0>();
        if (k > first) give_back();
      };
      if (kBf16Pairs<kTokens, kRows> && plan.bf16_boxes == 2) {
        stages_of(std::bool_constant<kBf16Pairs<kTokens, kRows>>());
      } else {
        stages_of(std::false_type());
      }
    } else if constexpr (!S::kAhead) {
      bool ready = false;  // asked early: the answer takes its time
      // Blocks whose scales of W are at hand in a loop of their own: fewer instructions between
      // products. Unrolled, so that what a block needs is worked out while the one before is added.
      constexpr int kUnrolled = 2 * kPieces;
#pragma unroll 1
      for (;;) {
        const int stop = min(end, scales.End());
#pragma unroll kUnrolled
        for (; k < stop; k += kStep) {
          if (!ready) BarrierWait(full + 8 * ahead.index, ahead.phase);
          Factors f[kPieces];
#pragma unroll
          for (int i = 0; i < kPieces; ++i) {
            multiply(d[0], i);
            if (i == 0) factors(f);  // under way with the products
            WgmmaWait<0>();
            if (i == kPieces - 1) {
              release(ahead.index);
              next(&ahead);
              ready = BarrierReady(full + 8 * ahead.index, ahead.phase);
            }
            Promote<S, n>(sum[i], d[0], f[i], border);
          }
        }
        if (k >= end) break;
        scales.Advance();
      }
      stage = ahead;
    } else {  // the next block is multiplied while one is added up
      Factors f[2][1];
      const auto multiply_next = [&](int to) {
        BarrierWait(full + 8 * ahead.index, ahead.phase);
        if (k >= scales.End()) scales.Advance();
        factors(f[to]);
        multiply(d[to], 0);
        next(&ahead);
        k += kStep;
      };
      const auto add = [&](int from) {
        release(stage.index);
        Promote<S, n>(sum[0], d[from], f[from][0], border);
        next(&stage);
      };
      if (k < end) {
        multiply_next(0);
#pragma unroll 1
        while (k + kStep < end) {
          multiply_next(1);
          WgmmaWait<1>();
          add(0);
          multiply_next(0);
          WgmmaWait<1>();
          add(1);
        }
        if (k < end) {
          multiply_next(1);
          WgmmaWait<1>();
          add(0);
          WgmmaWait<0>();
          add(1);
        } else {
          WgmmaWait<0>();
          add(0);
        }
      }
    }
    const Place done = p;
    if (!S::kOnce && plan.slices == 1) look_ahead(tile + plan.clusters);
    if constexpr (S::kTurns) {  // each warpgroup goes on with half of the columns
      float half[1][n / 4];
      Combine<n>(w.memory, wg, sum[0], half[0]);
      Finish<kRows, 1, n / 2>(a, w, done, 0, wg * n / 2, half);
    } else if constexpr (S::kPeers > 1) {
      ExchangeAs<S::kPeers, 0, n>(a, w, done, token_of_wg, sum[0]);
    } else {
      // The ring is read to its end by all, where sums or y go there.
      if (plan.slices > 1 || plan.staging == 0) NamedBarrier<S::kConsumers>(1);
      Finish<kRows, kPieces, n>(a, w, done, token_of_wg, 0, sum);
    }
    if constexpr (S::kOnce) return;  // or what lasts from tile to tile would cost registers
  }
}

template <int kTokens, int kRows, int kResident, LargeWork kWork, int kSegments, bool kMixed,
          bool kSends, bool kTokenScales, typename S = Shape<kTokens, kRows, kResident, kWork>>
__global__ void __maxnreg__(S::kRegisters) LargeLinear(
    const __grid_constant__ LargeArgumentsOf<kSegments, kMixed, kSends, kTokenScales> a) {
  extern __shared__ char raw[];
  const Work w = MakeWork(a, raw);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);  // known to be uniform
  const int share = a.plan.share_x * a.plan.share_w;
  if (threadIdx.x == S::kConsumers) {
    const uint32_t full = w.base + a.plan.barriers;
    for (int i = 0; i < a.plan.stages; ++i) {
      BarrierInit(full + 8 * i, 2);  // who loads W, who loads x
      BarrierInit(full + 8 * (a.plan.stages + i),
                  S::kConsumers / 32 / (S::kTurns ? 2 : 1) * Fillers(a.plan) * kTelling);
      BarrierInit(full + 8 * (2 * a.plan.stages + i), 1);  // W of the first round
    }
    if constexpr (S::kPeers > 1) AwaitSums<S::kPeers, kRows, S::kConsumers / 32>(a, w);
    BarrierInitFence();
  }
  __syncthreads();
  if constexpr (S::kPeers > 1) ClusterArriveRelaxed();  // who sends waits for it
  if (share > 1) {                                      // nobody sends before all can receive
    ClusterArrive();
    ClusterWait();
  }
  const auto add_slices = [&] {  // of the one tile that a cluster takes then
    if (!S::kOnce && a.plan.slices > 1) AddSlices<kTokens, kRows>(a, w);
  };
  if (warp >= S::kConsumers / 32) {
    if constexpr (S::kGives) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kLoading));
    if constexpr (kRacecheck && S::kPeers > 1) ClusterWait();  // else who sends alone waits
    if (warp == S::kConsumers / 32) {
      LoadW<kTokens, kRows>(a, w);
    } else if (warp == S::kConsumers / 32 + 1) {
      LoadX<kTokens, kRows>(a, w);
    }
    if constexpr (S::kGives) add_slices();  // here, for those with few registers
  } else {
    if constexpr (S::kGives)
      asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsuming));
    Consume<S, kTokens, kRows>(a, w, warp >> 2);
    if constexpr (S::kGives) add_slices();
    // Shared memory stays until boxes were read. What they write need not be awaited: the next
    // kernel's griddepcontrol.wait, as the end of this one, does that.
    if constexpr (kSends) BulkWaitRead();
  }
  if constexpr (!S::kGives) add_slices();
  if (share > 1) {  // nobody leaves while others may still release to it
    __syncwarp();
    ClusterArrive();
    ClusterWait();
  }
}

template <int kTokens, int kRows, int kResident, LargeWork kWork, int kSegments, bool kMixed,
          bool kSends, bool kTokenScales>
cudaError_t LaunchAs(const LargeArguments& a, const LaunchTarget& to) {
  LargeArgumentsOf<kSegments, kMixed, kSends, kTokenScales> own;
  static_cast<LargeCommon&>(own) = a;
  for (int i = 0; i < kSegments; ++i) {
    own.segments[i] = a.segments[i];
    own.weights[i] = a.weights[i];
    if constexpr (kSends) own.y.of[i] = a.y.of[i];
  }
  own.x = a.x;
  if constexpr (kMixed) own.x_bf16 = a.x_bf16;
  static DeviceFlags ready;
  const auto kernel =
      LargeLinear<kTokens, kRows, kResident, kWork, kSegments, kMixed, kSends, kTokenScales>;
  const cudaError_t error = AllowAllShared(kernel, &ready, false);
  if (error != cudaSuccess) return error;
  const auto together = static_cast<unsigned>(a.plan.slices * a.plan.share_x * a.plan.share_w);
  using S = Shape<kTokens, kRows, kResident, kWork>;
  const int threads = a.plan.slices > 1 && !S::kOnce ? S::kThreadsOfSlices : S::kThreads;
  return LaunchCluster(kernel, static_cast<unsigned>(a.plan.clusters) * together, threads, together,
                       a.plan.shared, to, own);
}

}  // namespace ferrule::large_m
