// SPDX-License-Identifier: Apache-2.0
// The first half of kernels/small_m_linear.cu: what a CTA is to do, its barriers, W into the rings,
// scales and quantized x into shared memory.
#pragma once

#include "kernels/quantize.cuh"
#include "kernels/racecheck.cuh"
#include "kernels/sm90.cuh"
#include "kernels/small_m_linear.h"

namespace ferrule::small_m {

using namespace sm90;

constexpr int kWarpgroups = 2;
constexpr int kProducer = 4 * kWarpgroups;  // this warp loads; the ones after it sum and store
constexpr int kQuantizers = 4 * kWarpgroups + kSmallEpilogue;  // all warps but the producer
constexpr int kTileBytes = kSmallTile * kBoxBytes;
static_assert(kSmallThreads == 32 * (kQuantizers + 1), "every warp but one quantizes");
static_assert(kTileBytes == 8192, "a box is 8 groups of 8 rows of the 128-byte swizzle");

// What a CTA of the grid is to do; the same in all its warps.
struct Share {
  int rank, slices, log_slices;
  int cluster;              // of those that share these tokens
  int first, tokens;        // of the whole: its tile of tokens
  int first_block, blocks;  // its slice of K
  int tiles;                // of its cluster
  SmallTiles dealt;         // with BF16: which ones
  int fp8;                  // of those, which come first
  int rows;                 // of each tile that it sums and stores
  uint32_t base;            // shared memory, 1024-aligned
  char* memory;             // the same, generic
};

template <int n>
__device__ __forceinline__ Share MakeShare(const auto& a, char* raw) {
  Share s;
  // Narrow tiles are for all tokens: there this costs nothing.
  s.first = n == kSmallTokens ? static_cast<int>(blockIdx.y) * n : 0;
  s.tokens = n == kSmallTokens ? min(n, a.tokens - s.first) : a.tokens;
  // By a shuffle, or the compiler would work it out again, slowly, wherever it is used.
  s.base = __shfl_sync(~0u, (SharedAddress(raw) + 1023) & ~1023u, 0);
  s.memory = raw + (s.base - SharedAddress(raw));
  s.rank = static_cast<int>(ClusterRank());
  s.log_slices = a.plan.log_slices;
  s.slices = 1 << s.log_slices;
  s.cluster = blockIdx.x >> s.log_slices;
  s.first_block = a.blocks * s.rank >> s.log_slices;
  s.blocks = (a.blocks * (s.rank + 1) >> s.log_slices) - s.first_block;
  s.tiles = a.plan.tiles_each + (s.cluster < a.plan.tiles_over ? 1 : 0);
  if constexpr (std::decay_t<decltype(a)>::kMode == SmallX::kMixed) {
    s.dealt = SmallTilesOf(a.plan, s.cluster);
    s.tiles = s.fp8 = s.dealt.count;
    while (s.fp8 > 0 && SmallTile(s.dealt, s.fp8 - 1) >= a.plan.first_late) --s.fp8;
    s.fp8 = __shfl_sync(~0u, s.fp8, 0);
  }
  s.rows = kSmallTile >> s.log_slices;
  return s;
}

// The number of the cluster's tile `t`.
__device__ __forceinline__ int TileOf(const auto& a, const Share& s, int t) {
  if constexpr (std::decay_t<decltype(a)>::kMode == SmallX::kMixed)
    return SmallTile(s.dealt, t);
  else
    return s.cluster + t * a.plan.clusters;
}

// The segment of one tile after another, in rising order. What is read of it is kept: an indexed
// parameter takes its time.
struct At {
  int segment = -1, end = 0;  // `end`: tile after its last
};
// The same in all lanes, and worked out here.
__device__ __forceinline__ int Uniform(int v) { return __shfl_sync(~0u, v, 0); }
__device__ __forceinline__ uint64_t Uniform(uint64_t v) { return __shfl_sync(~0u, v, 0); }
__device__ __forceinline__ void KeepHere(GpuSegment* g) {
  g->bias = reinterpret_cast<const float*>(Uniform(reinterpret_cast<uint64_t>(g->bias)));
  g->y = reinterpret_cast<void*>(Uniform(reinterpret_cast<uint64_t>(g->y)));
  g->y_stride = static_cast<int64_t>(Uniform(static_cast<uint64_t>(g->y_stride)));
  g->rows = Uniform(g->rows);
  g->first_row = Uniform(g->first_row);
  g->first_tile = Uniform(g->first_tile);
  g->y_f32 = Uniform(g->y_f32);
}
// Whether the segment is another one than before.
template <int kSegments, SmallX kX>
__device__ __forceinline__ bool MoveTo(const SmallArgumentsOf<kSegments, kX>& a, int tile, At* at) {
  if constexpr (kSegments == 1) {
    const bool first = at->segment < 0;
    at->segment = 0;
    return first;
  } else {
    if (tile < at->end) return false;
    do {
      at->end = a.segments[++at->segment].tiles_end;
    } while (tile >= at->end);
    return true;
  }
}

__device__ __forceinline__ uint32_t Full(const auto& a, const Share& s) {
  return s.base + a.plan.barriers;
}
__device__ __forceinline__ uint32_t Empty(const auto& a, const Share& s) {
  return Full(a, s) + 16 * a.plan.ring;
}
__device__ __forceinline__ uint32_t SumsFull(const auto& a, const Share& s) {
  return Full(a, s) + 32 * a.plan.ring;
}
__device__ __forceinline__ uint32_t SumsEmpty(const auto& a, const Share& s) {
  return SumsFull(a, s) + 8 * a.plan.slots;
}

// One for each block of a quantized x.
__device__ __forceinline__ uint32_t XFull(const auto& a, const Share& s) {
  return SumsEmpty(a, s) + 8 * a.plan.slots;
}

__device__ __forceinline__ bool IsBf16(const auto& a, int segment) {
  if constexpr (std::decay_t<decltype(a)>::kMode != SmallX::kMixed)
    return false;
  else
    return a.segments[segment].scale == nullptr;
}

// Bytes that the other CTAs send into one slot: four tokens of a row at a time.
__device__ __forceinline__ uint32_t SentBytes(const auto& a, const Share& s) {
  return (s.slices - 1) * a.plan.halves * s.rows * ((s.tokens + 3) / 4) * 16;
}

template <int n>
__device__ __forceinline__ void InitBarriers(const auto& a, const Share& s) {
#pragma unroll(n == 8 ? 1 : 4)
  for (int i = 0; i < 2 * a.plan.ring; ++i) {
    BarrierInit(Full(a, s) + 8 * i, 1);
    BarrierInit(Empty(a, s) + 8 * i, 4);  // warps of a warpgroup
  }
#pragma unroll(n == 8 ? 1 : 4)
  for (int i = 0; i < a.plan.slots; ++i) {
    BarrierInit(SumsFull(a, s) + 8 * i, 1 + 128 * a.plan.halves);  // own lanes, and who expects
    BarrierInit(SumsEmpty(a, s) + 8 * i,
                s.slices * (a.plan.add_alone ? 1 : kSmallEpilogue) * kTelling);
  }
  if (a.plan.quantized)
#pragma unroll(n == 8 ? 1 : 4)
    for (int i = 0; i < s.blocks; ++i) BarrierInit(XFull(a, s) + 8 * i, 1);
#pragma unroll(n == 8 ? 1 : 4)
  for (int i = 0; i < a.plan.slots; ++i) BarrierExpect(SumsFull(a, s) + 8 * i, SentBytes(a, s));
  BarrierInitFence();
}

// One thread: asks for the boxes of both warpgroups in turn, each into its own ring. (Two
// warpgroups must not share one: a parity wait would pass two phases early.)
template <int n>
__device__ __forceinline__ void Produce(const auto& a, const Share& s) {
  struct Ring {
    int stage = 0, round = 0;
  } rings[2];
  // Where other tiles of tokens read W too, it stays in the L2.
  const uint64_t policy = n == kSmallTokens && gridDim.y > 1 ? EvictNormal() : EvictFirst();
  const int half = s.blocks / 2, halves = a.plan.halves, depth = a.plan.ring;
  int left = s.tiles * s.blocks - a.plan.ahead;
  if (left <= 0) LaunchDependents();
  struct Source {
    const CUtensorMap* map;
    int row, column, step;
  };
  struct Segment {
    const CUtensorMap* map;
    int row;    // of tile 0, if it were one of this segment
    int boxes;  // of a block
  } g;
  At at;
  const auto move_to = [&](int tile) {
    if (!MoveTo(a, tile, &at)) return;
    const GpuSegment& p = a.segments[at.segment];
    g = {&a.weights[at.segment], p.first_row - p.first_tile * kSmallTile,
         IsBf16(a, at.segment) ? 2 : 1};
  };
  const auto source = [&](int tile, int blocks_before) {
    const int step = kBoxBytes / g.boxes;
    return Source{g.map, g.row + tile * kSmallTile,
                  (s.first_block + blocks_before) * kBlock - a.k_phase, step};
  };
  const uint32_t full = Full(a, s), empty = Empty(a, s);
  const int in_flight = a.plan.in_flight;
  const auto load = [&](int w, Source& from) {
    Ring& r = rings[w];
    const int i = w * depth + r.stage;
    if (r.round > 0) BarrierWait(empty + 8 * i, (r.round - 1) & 1);
    const int old = r.stage - in_flight;  // this one must have come by now
    if (r.round > 0 || old >= 0)
      BarrierWait(full + 8 * (w * depth + (old < 0 ? old + depth : old)),
                  (old < 0 ? r.round - 1 : r.round) & 1);
    BarrierExpect(full + 8 * i, kTileBytes);
    CopyBox(s.base + i * kTileBytes, from.map, from.column, from.row, full + 8 * i, policy);
    from.column += from.step;
    if (++r.stage == depth) {
      r.stage = 0;
      ++r.round;
    }
    if (--left == 0) LaunchDependents();
  };
#pragma unroll 1
  for (int t = 0; t < s.tiles; t += 3 - halves) {
    const int tile = TileOf(a, s, t);
    move_to(tile);
    const int count0 = (halves == 2 ? half : s.blocks) * g.boxes;
    Source source0 = source(tile, 0), source1 = source0;
    int count1 = 0;
    if (halves == 2) {
      count1 = (s.blocks - half) * g.boxes;
      source1 = source(tile, half);
    } else if (t + 1 < s.tiles) {
      const int next = TileOf(a, s, t + 1);
      move_to(next);
      count1 = s.blocks * g.boxes;
      source1 = source(next, 0);
    }
#pragma unroll 1
    for (int k = 0; k < max(count0, count1); ++k) {
      if (k < count0) load(0, source0);
      if (k < count1) load(1, source1);
    }
  }
}

// Scales of W for all tiles of this CTA: constant, so read before the wait.
template <int n>
__device__ __forceinline__ void LoadScales(const auto& a, const Share& s, int warp, int lane) {
  float* to = reinterpret_cast<float*>(s.memory + a.plan.w_scales);
  At at;
#pragma unroll(n == 8 ? 1 : 4)
  for (int t = warp; t < s.tiles; t += kQuantizers) {
    const int tile = TileOf(a, s, t);
    MoveTo(a, tile, &at);
    const GpuSegment& g = a.segments[at.segment];
    if (IsBf16(a, at.segment)) continue;
    constexpr bool kAnyScales = std::decay_t<decltype(a)>::kMode == SmallX::kQuantized;
    if (kAnyScales && g.scale_blocks == 0) {  // sums are multiplied with them later
      for (int k = lane; k < s.blocks; k += 32) to[t * s.blocks + k] = 1;
      continue;
    }
    const int row = (g.scale_half + tile - g.first_tile) / 2;  // two tiles a scale block
    const float* from = g.scale + static_cast<int64_t>(row) * g.scale_stride;
    const auto at_k = [&](int k) { return kAnyScales ? min(k, g.scale_blocks - 1) : k; };
#pragma unroll(n == 8 ? 1 : 4)
    for (int k = lane; k < s.blocks; k += 32)
      to[t * s.blocks + k] = __ldg(from + at_k(s.first_block + k));
  }
}

// One thread: brings a quantized x of this slice; block k has come when its barrier says so.
template <int n>
__device__ __forceinline__ void LoadX(const auto& a, const Share& s) {
  const uint64_t policy = EvictLast();  // every cluster reads it
  const uint32_t x = s.base + a.plan.x_fp8, scales = s.base + a.plan.x_scales, full = XFull(a, s);
  const int bytes = ((s.tokens + 3) & ~3) * 4;  // of scales: what the quantizer wrote
  PrefetchMap(&a.quantized.codes);
  WaitForEarlier();
  const float* from =
      a.quantized.scales + static_cast<int64_t>(s.first_block) * a.quantized.scale_stride + s.first;
#pragma unroll 1
  for (int k = 0; k < s.blocks; ++k) {
    BarrierExpect(full + 8 * k, n * kBoxBytes + bytes);
    CopyBox(x + k * n * kBoxBytes, &a.quantized.codes, (s.first_block + k) * kBlock, s.first,
            full + 8 * k, policy);
    CopyBytes(scales + k * n * 4, from, bytes, full + 8 * k);
    from += a.quantized.scale_stride;
  }
  if (a.plan.ahead == SmallChoice::kAfterX) {
    for (int k = 0; k < s.blocks; ++k) BarrierWait(full + 8 * k, 0);
    LaunchDependents();
  }
}

// How a warp that quantizes goes through the groups of this slice, all tokens of a block and then
// of the next one: kTogether at once, and kAtOnce times so many on their way. A group has 8 lanes
// where tokens are few; else 4, whose instructions are fewer: many are the same for 16 columns of a
// lane and for 32.
template <int n>
struct Groups {
  static constexpr int kLanes = n < 32 ? 8 : 4, kPieces = 16 / kLanes, kTogether = 32 / kLanes;
  static constexpr int kAtOnce = n == 8 ? 2 : n == 16 ? 4 : 3;
  static constexpr int kStep = kTogether * kQuantizers;
  static_assert(n != 8 || kAtOnce == 2, "Quantize moves one to the other's place");
};

// Where a lane reads x of a group; `columns`: of the row, 0 of no group.
struct XPlace {
  const uint4* from;
  int column, columns;
};

// What of a warp's walk is the same for all of x, and where it begins. Worked out while x is
// awaited: divisions and parameters take their time.
template <int n>
struct XWalk {
  uint32_t by_tokens;  // groups are divided by tokens with it
  XPlace first[Groups<n>::kAtOnce];

  __device__ __forceinline__ int BlockOf(const Share& s, int g) const {
    return s.tokens == 1 ? g : static_cast<int>(__umulhi(g, by_tokens));
  }
  __device__ __forceinline__ XPlace PlaceOf(const auto& a, const Share& s, int lane, int g) const {
    const int k = BlockOf(s, g), m = g - k * s.tokens;
    const int column = (s.first_block + k) * kBlock - a.k_phase + lane % Groups<n>::kLanes * 8;
    const char* row = reinterpret_cast<const char*>(a.x + s.first * a.x_stride);
    return {reinterpret_cast<const uint4*>(row + Far(m, a.x_stride * 2) + int64_t{column} * 2),
            column, g < s.tokens * s.blocks ? a.columns : 0};
  }
};
template <int n>
__device__ __forceinline__ XWalk<n> BeginX(const auto& a, const Share& s, int warp, int lane) {
  using G = Groups<n>;
  XWalk<n> x;
  x.by_tokens = 0xFFFFFFFFu / static_cast<uint32_t>(s.tokens) + 1;
#pragma unroll
  for (int u = 0; u < G::kAtOnce; ++u) {
    XPlace& p = x.first[u];
    p = x.PlaceOf(a, s, lane, warp * G::kTogether + lane / G::kLanes + u * G::kStep);
    // Here and not where it is used.
    asm volatile("" : "+l"(p.from), "+r"(p.column), "+r"(p.columns));
  }
  return x;
}

// x of this slice into shared memory. Lanes have 8 columns of each piece of a block, so that
// neighbours read whole sectors.
template <int n>
__device__ __forceinline__ void Quantize(const auto& a, const Share& s, const XWalk<n>& walk,
                                         int warp, int lane) {
  using G = Groups<n>;
  constexpr int kLanes = G::kLanes, kPieces = G::kPieces, kAtOnce = G::kAtOnce, kStep = G::kStep;
  constexpr bool kMixed = std::decay_t<decltype(a)>::kMode == SmallX::kMixed;
  const bool fp8 = !kMixed || a.plan.x_bf16 > a.plan.x_fp8;  // has room
  const bool bf16 = kMixed && a.plan.sums > a.plan.x_bf16;
  char* codes = s.memory + a.plan.x_fp8;
  char* plain = s.memory + a.plan.x_bf16;
  float* scales = reinterpret_cast<float*>(s.memory + a.plan.x_scales);
  const int part = lane % kLanes, sub = lane / kLanes, groups = s.tokens * s.blocks;
  XPlace at[kAtOnce];
#pragma unroll
  for (int u = 0; u < kAtOnce; ++u) at[u] = walk.first[u];
#pragma unroll 1
  for (int g0 = warp * G::kTogether; g0 < groups;) {
    uint4 v[kAtOnce][kPieces];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      if (g0 + u * kStep >= groups) break;  // the whole warp
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        v[u][i] = make_uint4(0, 0, 0, 0);
        if (Inside(at[u].column + i * kLanes * 8, at[u].columns))
          v[u][i] = __ldcg(at[u].from + i * kLanes);
      }
    }
    const auto encode = [&](int u, const uint4(&x)[kPieces]) {
      const int g = g0 + sub + u * kStep, k = walk.BlockOf(s, g), m = g - k * s.tokens;
      uint32_t pair = 0;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) pair = Amax(pair, x[i]);
#pragma unroll
      for (int o = kLanes / 2; o > 0; o >>= 1) pair = __vmaxu2(pair, __shfl_xor_sync(~0u, pair, o));
      const float scale = ScaleOf(max(pair & 0xFFFF, pair >> 16), a.ue8m0 != 0);
      if (g < groups && fp8) {
        const ScaleInverse inverse = InverseOf(scale);
        char* row = codes + (k * n + m) * kBoxBytes + (part & 1) * 8;
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
          const int chunk = ((part >> 1) + i * kLanes / 2) ^ (m & 7);
          *reinterpret_cast<uint2*>(row + (chunk << 4)) = Encode(x[i], inverse);
        }
        if (part == 0) scales[k * n + m] = scale;
      }
      if (g < groups && bf16)
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
          const int piece = part + i * kLanes, box = 2 * k + piece / 8;
          char* row = plain + (box * n + m) * kBoxBytes;
          *reinterpret_cast<uint4*>(row + (((piece % 8) ^ (m & 7)) << 4)) = x[i];
        }
    };
    if constexpr (n == 8) {  // rolled: short code is there sooner
#pragma unroll 1
      for (int u = 0; u < kAtOnce && g0 + u * kStep < groups; ++u) {
        encode(u, v[0]);
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[0][i] = v[1][i];
      }
    } else {
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        if (g0 + u * kStep >= groups) break;
        encode(u, v[u]);
      }
    }
    g0 += kStep * kAtOnce;
    if (g0 >= groups) break;
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) at[u] = walk.PlaceOf(a, s, lane, g0 + sub + u * kStep);
  }
}

}  // namespace ferrule::small_m
