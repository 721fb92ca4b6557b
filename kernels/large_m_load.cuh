// SPDX-License-Identifier: Apache-2.0
// The first half of kernels/large_m_linear.cuh: which tiles a CTA takes, and the two threads that
// fill its ring.
#pragma once

#include "kernels/gpu_segment.cuh"
#include "kernels/large_m_linear.h"
#include "kernels/racecheck.cuh"
#include "kernels/sm90.cuh"

namespace ferrule::large_m {

using namespace sm90;

struct Place {  // of a tile
  bool beyond;  // the last: it only brings its part for the other CTA
  bool bf16;
  int segment;
  int row;                  // of W, <= 0 for the first tile of a shard
  int scale_row, scale_at;  // of its first row: which row of scales, and how far inside its block
  int token;
};

struct Work {
  uint32_t base;                 // shared memory, 1024-aligned
  char* memory;                  // the same, generic
  int rank;                      // in the cluster
  int row_member, token_member;  // which of the neighbours that share x (W) it is
  int cluster;
  int begin, end;            // blocks of K
  int bf16_begin, bf16_end;  // stages of a tile of BF16
  int tiles;                 // of all clusters
};

__device__ __forceinline__ Work MakeWork(const auto& a, char* raw) {
  const LargePlan& p = a.plan;
  Work w;
  // By a shuffle, or the compiler would work it out again, slowly, wherever it is used.
  w.base = __shfl_sync(~0u, (SharedAddress(raw) + 1023) & ~1023u, 0);
  w.memory = raw + (w.base - SharedAddress(raw));
  w.rank = static_cast<int>(ClusterRank());
  w.row_member = p.share_x == 2 ? w.rank % 2 : 0;
  w.token_member = p.share_w == 2 ? w.rank >> (p.share_x - 1) : 0;
  w.cluster = static_cast<int>(ClusterId());
  const int slice = p.slices > 1 ? w.rank : 0;
  w.begin = Divide(a.blocks * slice, p.by_slices);
  w.end = Divide(a.blocks * (slice + 1), p.by_slices);
  if constexpr (std::decay_t<decltype(a)>::kTakesBf16) {
    w.bf16_begin = Divide(a.bf16_stages * slice, p.by_slices);
    w.bf16_end = Divide(a.bf16_stages * (slice + 1), p.by_slices);
  }
  w.tiles = p.token_groups * p.row_groups;
  return w;
}

template <int kTokens, int kRows>
__device__ __forceinline__ Place PlaceOf(const auto& a, const Work& w, int tile) {
  const LargePlan& plan = a.plan;
  const LargeGroups groups = GroupsOf(plan, tile);
  int row_tile = groups.row * plan.share_x + w.row_member;
  const int token_tile = groups.token * plan.share_w + w.token_member;
  Place p;
  p.token = token_tile * kTokens;
  p.beyond = row_tile >= plan.row_tiles || token_tile >= plan.token_tiles;
  row_tile = min(row_tile, plan.row_tiles - 1);
  p.segment = 0;
  if constexpr (std::decay_t<decltype(a)>::kSegmentCount > 1)
    while (row_tile >= a.segments[p.segment].tiles_end) ++p.segment;
  const GpuSegment& g = a.segments[p.segment];
  p.bf16 = std::decay_t<decltype(a)>::kTakesBf16 && g.scale == nullptr;
  const int from = (row_tile - g.first_tile) * (p.bf16 ? plan.bf16_tile : kRows);
  p.row = g.first_row + from;
  p.scale_row = from / kBlock;
  p.scale_at = from % kBlock;
  return p;
}

// Of a tile: what this CTA multiplies.
__device__ __forceinline__ int BeginOf(const Work& w, const Place& p) {
  return p.bf16 ? w.bf16_begin : w.begin;
}
__device__ __forceinline__ int EndOf(const Work& w, const Place& p) {
  return p.bf16 ? w.bf16_end : w.end;
}

constexpr int kBf16Box = kBoxBytes / 2;  // columns
// Whether a stage has room for two boxes of x in BF16 beside those of W.
template <int kTokens, int kRows>
constexpr bool kBf16Pairs = kRows >= kTokens + 32;

// Where W of BF16 lies in a stage's part for W: behind the second box of x.
template <int kTokens>
__device__ __forceinline__ int Bf16Offset(int boxes) {
  return boxes == 2 ? kTokens * kBoxBytes : 0;
}

// Calls `copy(place, block, stage, barrier, leader)` for all blocks of all tiles in FP8, when their
// stage is free; `leader` in one lane; `copy_bf16` likewise for the stages of tiles in BF16. A
// whole warp goes through the loop: what it counts then lives in uniform registers, where copies
// want it.
template <int kTokens, int kRows>
__device__ __forceinline__ void FillRing(const auto& a, const Work& w, const auto& copy,
                                         const auto& copy_bf16) {
  const int depth = a.plan.stages, step = a.plan.clusters;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * depth;
  const bool leader = ElectOne();
  Stage stage{0, 1};  // an empty ring: the phase before the first is over
#pragma unroll 1
  for (int tile = w.cluster; tile < w.tiles; tile += step) {
    const Place p = PlaceOf<kTokens, kRows>(a, w, tile);
    const auto fill = [&](int begin, int end, const auto& with) {
#pragma unroll 1
      for (int k = begin; k < end; ++k) {
        BarrierWait(empty + 8 * stage.index, stage.phase);
        with(p, k, stage.index, full + 8 * stage.index, leader);
        __syncwarp();
        stage.Next(depth);
      }
    };
    if constexpr (std::decay_t<decltype(a)>::kTakesBf16)
      if (p.bf16) {
        fill(w.bf16_begin, w.bf16_end, copy_bf16);
        continue;
      }
    fill(w.begin, w.end, copy);
  }
}

// Does not wait for the kernels before: W is constant. While x is not there the whole ring could be
// asked for, but then x and what the quantizer reads would queue behind it: of the first round only
// `in_flight` stages are under way at a time. Their W arrives at barriers of its own, and the one
// lane passes it on.
template <int kTokens, int kRows>
__device__ __forceinline__ void LoadW(const auto& a, const Work& w) {
  const bool shared = a.plan.share_w == 2;
  // Read once, or by a few CTAs at about the same time: it need not push out what is read again.
  const uint64_t policy = a.plan.token_groups <= a.plan.token_group ? EvictFirst() : EvictNormal();
  const int part = shared ? kRows / 2 * w.token_member : 0, k_phase = a.k_phase;
  const uint32_t to = w.base + part * kBoxBytes;
  const auto mask = static_cast<uint16_t>((1 | 1 << a.plan.share_x) << w.row_member);
  const int depth = a.plan.stages, in_flight = a.plan.in_flight;
  const uint32_t first_full = w.base + a.plan.barriers, came = 16 * depth;  // from a full barrier
  int asked = 0, passed = 0;                                                // of the first round
  const auto pass_on = [&] {
    BarrierWait(first_full + came + 8 * passed, 0);
    BarrierArrive(first_full + 8 * passed);
    ++passed;
  };
  const auto barrier_of = [&](uint32_t full) {  // of the next stage
    uint32_t barrier = full;
    if (passed < depth) {
      if (asked - passed >= in_flight) pass_on();
      if (asked < depth) barrier += came;
      ++asked;
    }
    return barrier;
  };
  const auto copy = [&](const Place& p, int k, int stage, uint32_t full, bool leader) {
    if (!leader) return;
    const uint32_t at = to + stage * (kRows * kBoxBytes), barrier = barrier_of(full);
    BarrierExpect(barrier, kRows * kBoxBytes);
    if (shared) {
      CopyBoxToMany(at, &a.weights[p.segment], k * kBlock - k_phase, p.row + part, barrier, mask,
                    policy);
    } else {
      CopyBox(at, &a.weights[p.segment], k * kBlock - k_phase, p.row, barrier, policy);
    }
  };
  const auto copy_bf16 = [&](const Place& p, int k, int stage, uint32_t full, bool leader) {
    if (!leader) return;
    const int boxes = kBf16Pairs<kTokens, kRows> ? a.plan.bf16_boxes : 1;
    const int bytes = a.plan.bf16_tile * kBoxBytes, column = k * boxes * kBf16Box;
    const uint32_t at = w.base + stage * (kRows * kBoxBytes) + Bf16Offset<kTokens>(boxes);
    const uint32_t barrier = barrier_of(full);
    BarrierExpect(barrier, bytes * boxes);
    CopyBox(at, &a.weights[p.segment], column, p.row, barrier, policy);
    if (boxes == 2)
      CopyBox(at + bytes, &a.weights[p.segment], column + kBf16Box, p.row, barrier, policy);
  };
  FillRing<kTokens, kRows>(a, w, copy, copy_bf16);
  WaitForEarlier();  // or where K is short launch after launch would come and wait, W in hand
  LaunchDependents();
#pragma unroll 1
  while (passed < min(asked, depth)) pass_on();  // asked 0 in all lanes but the one
}

template <int kTokens, int kRows>
__device__ __forceinline__ void LoadX(const auto& a, const Work& w) {
  const bool shared = a.plan.share_x == 2;
  const uint64_t policy = EvictLast();  // read again by every tile of rows
  const int part = shared ? kTokens / 2 * w.row_member : 0;
  const uint32_t to = w.base + a.plan.x_box + part * kBoxBytes;
  const auto mask = static_cast<uint16_t>(3 << 2 * w.token_member);
  PrefetchMap(&a.x);
  WaitForEarlier();
  // Scales come as x does. Copies by the lanes, 16 bytes each, and their 32 arrivals at the barrier
  // got in the way of the products (measured, H200: 7168 -> 36864 at 4096 tokens 2 % more clocks).
  // Of tokens after the last that the quantizer wrote there are none; their sums are nobody's.
  const uint32_t scales_to = w.base + a.plan.x_scales;
  const int written = (a.tokens + 3) & ~3;
  const auto copy = [&](const Place& p, int k, int stage, uint32_t full, bool leader) {
    if (!leader) return;
    const uint32_t at = to + stage * (kTokens * kBoxBytes);
    const int scale_bytes = max(min(written - p.token, kTokens), 0) * 4;
    BarrierExpect(full, kTokens * kBoxBytes + scale_bytes);
    if (scale_bytes > 0)
      CopyBytes(scales_to + stage * (kTokens * 4),
                a.x_scales + static_cast<int64_t>(k) * a.x_scale_stride + p.token, scale_bytes,
                full);
    if (shared) {
      CopyBoxToMany(at, &a.x, k * kBlock, p.token + part, full, mask, policy);
    } else {
      CopyBox(at, &a.x, k * kBlock, p.token, full, policy);
    }
  };
  const auto copy_bf16 = [&](const Place& p, int k, int stage, uint32_t full, bool leader) {
    if constexpr (std::decay_t<decltype(a)>::kTakesBf16) {
      if (!leader) return;
      const int boxes = kBf16Pairs<kTokens, kRows> ? a.plan.bf16_boxes : 1;
      const int column = k * boxes * kBf16Box;
      BarrierExpect(full, kTokens * kBoxBytes * boxes);
      CopyBox(to + stage * (kTokens * kBoxBytes), &a.x_bf16, column, p.token, full, policy);
      if (boxes == 2)
        CopyBox(w.base + stage * (kRows * kBoxBytes), &a.x_bf16, column + kBf16Box, p.token, full,
                policy);
    }
  };
  FillRing<kTokens, kRows>(a, w, copy, copy_bf16);
}

// Those who fill a stage of this CTA, itself among them: the one that shares x, the one that shares
// W.
__device__ __forceinline__ int Fillers(const LargePlan& plan) {
  return plan.share_x + plan.share_w - 1;
}

// Tells all who fill a stage that it may be filled again; called by each warp that read it. Made
// once, so that a call is two instructions.
class Releaser {
 public:
  __device__ __forceinline__ Releaser(const auto& a, const Work& w) {
    const int lane = threadIdx.x & 31;
    own_ = w.base + a.plan.barriers + 8 * a.plan.stages;
    first_ = lane < kTelling;
    others_ = lane > 0 && lane < Fillers(a.plan);
    other_ = own_;
    if (others_) other_ = OfOther(a, w, lane);
    if constexpr (kRacecheck) {
      others_ = Fillers(a.plan) > 1;
      third_ = Fillers(a.plan) > 2;
      if (others_) other_ = OfOther(a, w, 1);
      if (third_) last_ = OfOther(a, w, 2);
    }
  }
  __device__ __forceinline__ void operator()(int stage) const {
    __syncwarp();
    BarrierArriveIf(own_ + 8 * stage, first_);
    BarrierArriveRemoteIf(other_ + 8 * stage, others_);
    if constexpr (kRacecheck) BarrierArriveRemoteIf(last_ + 8 * stage, third_);
  }

 private:
  // The barriers of who fills beside this CTA, 1 or 2.
  __device__ __forceinline__ uint32_t OfOther(const auto& a, const Work& w, int i) const {
    return MapShared(own_, i == 1 && a.plan.share_x == 2 ? w.rank ^ 1 : w.rank ^ a.plan.share_x);
  }

  uint32_t own_, other_, last_;
  bool first_, others_, third_;
};

}  // namespace ferrule::large_m
