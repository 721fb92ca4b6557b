// SPDX-License-Identifier: Apache-2.0
// The first half of kernels/large_m_linear.cuh: which tiles a CTA takes, and the two threads that
// fill its ring.
#pragma once

#include "kernels/gpu_segment.cuh"
#include "kernels/large_m_linear.h"
#include "kernels/sm90.cuh"

namespace ferrule::large_m {

using namespace sm90;

constexpr int kConsumers = 256;

struct Place {  // of a tile
  bool beyond;  // the last: it only brings its part for the other CTA
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
  int row_groups, token_groups;
  int begin, end;  // blocks of K
  int64_t tiles;   // of all clusters
};

__device__ __forceinline__ Work MakeWork(const LargeArguments& a, char* raw) {
  const LargePlan& p = a.plan;
  Work w;
  // By a shuffle, or the compiler would work it out again, slowly, wherever it is used.
  w.base = __shfl_sync(~0u, (SharedAddress(raw) + 1023) & ~1023u, 0);
  w.memory = raw + (w.base - SharedAddress(raw));
  const int size = p.slices * p.share_x * p.share_w;
  w.rank = size == 1 ? 0 : static_cast<int>(ClusterRank());
  w.row_member = p.share_x == 2 ? w.rank % 2 : 0;
  w.token_member = p.share_w == 2 ? w.rank / p.share_x : 0;
  w.cluster = blockIdx.x / size;
  w.row_groups = (p.row_tiles + p.share_x - 1) / p.share_x;
  w.token_groups = static_cast<int>((p.token_tiles + p.share_w - 1) / p.share_w);
  const int slice = p.slices > 1 ? w.rank : 0;
  w.begin = a.blocks * slice / p.slices;
  w.end = a.blocks * (slice + 1) / p.slices;
  w.tiles = int64_t{w.token_groups} * w.row_groups;
  return w;
}

template <int kTokens, int kRows>
__device__ __forceinline__ Place PlaceOf(const LargeArguments& a, const Work& w, int64_t tile) {
  const LargePlan& plan = a.plan;
  const int64_t of_chunk = int64_t{plan.token_group} * w.row_groups;
  const int chunk = static_cast<int>(tile / of_chunk);
  const int rest = static_cast<int>(tile - chunk * of_chunk);
  const int width = min(plan.token_group, w.token_groups - chunk * plan.token_group);
  int row_tile = rest / width, token_tile = chunk * plan.token_group + rest % width;
  row_tile = row_tile * plan.share_x + w.row_member;
  token_tile = token_tile * plan.share_w + w.token_member;
  Place p;
  p.token = token_tile * kTokens;
  p.beyond = row_tile >= plan.row_tiles || token_tile >= plan.token_tiles;
  row_tile = min(row_tile, plan.row_tiles - 1);
  p.segment = 0;
  while (row_tile >= a.segments[p.segment].tiles_end) ++p.segment;
  const GpuSegment& g = a.segments[p.segment];
  const int from = (row_tile - g.first_tile) * kRows;
  p.row = g.first_row + from;
  p.scale_row = from / kBlock;
  p.scale_at = from % kBlock;
  return p;
}

// Calls `copy(place, block, stage, barrier)` for all blocks of all tiles, when their stage is free.
// One thread, which the compiler must know to be one (ElectOne): addresses then stay in uniform
// registers; else each copy costs a hundred instructions.
template <int kTokens, int kRows>
__device__ __forceinline__ void FillRing(const LargeArguments& a, const Work& w, const auto& copy) {
  const int depth = a.plan.stages, step = a.plan.clusters;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * depth;
  Stage stage{0, 1};  // an empty ring: the phase before the first is over
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += step) {
    const Place p = PlaceOf<kTokens, kRows>(a, w, tile);
#pragma unroll 1
    for (int k = w.begin; k < w.end; ++k) {
      BarrierWait(empty + 8 * stage.index, stage.phase);
      copy(p, k, stage.index, full + 8 * stage.index);
      stage.Next(depth);
    }
  }
}

// Does not wait for the kernels before: W is constant.
template <int kTokens, int kRows>
__device__ __forceinline__ void LoadW(const LargeArguments& a, const Work& w) {
  const bool shared = a.plan.share_w == 2;
  const uint64_t policy = a.plan.token_tiles == 1 ? EvictFirst() : EvictNormal();
  const int part = shared ? kRows / 2 * w.token_member : 0, k_phase = a.k_phase;
  const uint32_t to = w.base + part * kBoxBytes;
  const auto mask = static_cast<uint16_t>((1 | 1 << a.plan.share_x) << w.row_member);
  FillRing<kTokens, kRows>(a, w, [&](const Place& p, int k, int stage, uint32_t full) {
    const uint32_t at = to + stage * (kRows * kBoxBytes);
    BarrierExpect(full, kRows * kBoxBytes);
    if (shared) {
      CopyBoxToMany(at, &a.weights[p.segment], k * kBlock - k_phase, p.row + part, full, mask,
                    policy);
    } else {
      CopyBox(at, &a.weights[p.segment], k * kBlock - k_phase, p.row, full, policy);
    }
  });
  LaunchDependents();
}

template <int kTokens, int kRows>
__device__ __forceinline__ void LoadX(const LargeArguments& a, const Work& w) {
  const bool shared = a.plan.share_x == 2;
  const uint64_t policy = EvictLast();  // read again by every tile of rows
  const int part = shared ? kTokens / 2 * w.row_member : 0;
  const uint32_t to = w.base + a.plan.x_box + part * kBoxBytes;
  const uint32_t scales_to = w.base + a.plan.x_scales;
  const auto mask = static_cast<uint16_t>(3 << 2 * w.token_member);
  const int written = (a.tokens + 3) & ~3;  // by the quantizer: copies want 16 bytes
  PrefetchMap(&a.x);
  WaitForEarlier();
  FillRing<kTokens, kRows>(a, w, [&](const Place& p, int k, int stage, uint32_t full) {
    const int scales = max(0, min(kTokens, written - p.token)) * 4;
    const uint32_t at = to + stage * (kTokens * kBoxBytes);
    BarrierExpect(full, kTokens * kBoxBytes + scales);
    if (shared) {
      CopyBoxToMany(at, &a.x, k * kBlock, p.token + part, full, mask, policy);
    } else {
      CopyBox(at, &a.x, k * kBlock, p.token, full, policy);
    }
    if (scales > 0)
      CopyBytes(scales_to + stage * kTokens * 4,
                a.x_scales + static_cast<int64_t>(k) * a.x_scale_stride + p.token, scales, full);
  });
}

// Those who fill a stage of this CTA, itself among them: the one that shares x, the one that shares
// W.
__device__ __forceinline__ int Fillers(const LargePlan& plan) {
  return plan.share_x + plan.share_w - 1;
}
// One warp: a stage may be filled again, by all who fill it.
__device__ __forceinline__ void Release(const LargeArguments& a, const Work& w, uint32_t empty) {
  const int lane = threadIdx.x & 31, fillers = Fillers(a.plan);
  __syncwarp();
  if (fillers == 1) {
    if (lane == 0) BarrierArrive(empty);
  } else if (lane < fillers) {
    int rank = w.rank;  // lane 0: itself
    if (lane == 1 && a.plan.share_x == 2)
      rank ^= 1;
    else if (lane > 0)
      rank ^= a.plan.share_x;
    BarrierArriveRemote(MapShared(empty, rank));
  }
}

}  // namespace ferrule::large_m
