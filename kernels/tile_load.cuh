// SPDX-License-Identifier: Apache-2.0
// The first half of kernels/tile_linear.cu: what a CTA is to do, and the thread that fills its
// ring.
#pragma once

#include "kernels/gpu_segment.cuh"
#include "kernels/racecheck.cuh"
#include "kernels/sm90.cuh"
#include "kernels/tile_linear.h"

namespace ferrule::tile {

using namespace sm90;

constexpr int kConsumers = 256;
constexpr int kTokenGroup = 16;  // token tiles that are walked before the next row tile

template <int n>
constexpr int kThreads = n == 128 ? 384 : 288;  // 128: a producer warpgroup that gives registers

struct Place {                        // of a tile
  int segment, row, row_tile, token;  // row: of W, <= 0 for the first tile of a shard
};

struct Work {
  uint32_t base;
  char* memory;
  int slice, slices;    // of K; slices follow one another in the cluster's ranks
  int member, share;    // of the neighbouring row tiles that read x together
  int cluster, groups;  // `share` row tiles each
  int64_t tiles;        // groups × token tiles
};

__device__ __forceinline__ Work MakeWork(const TileArguments& a, char* raw) {
  Work w;
  // By a shuffle, or the compiler would work it out again, slowly, wherever it is used.
  w.base = __shfl_sync(~0u, (SharedAddress(raw) + 1023) & ~1023u, 0);
  w.memory = raw + (w.base - SharedAddress(raw));
  w.slices = a.plan.slices;
  w.share = a.plan.share;
  const int rank = static_cast<int>(ClusterRank());
  w.slice = rank / w.share;
  w.member = rank % w.share;
  w.cluster = blockIdx.x / (w.slices * w.share);
  w.groups = (a.row_tiles + w.share - 1) / w.share;
  w.tiles = a.plan.token_tiles * w.groups;
  return w;
}

__device__ __forceinline__ Place PlaceOf(const TileArguments& a, const Work& w, int64_t tile) {
  const int64_t chunk = tile / (int64_t{kTokenGroup} * w.groups);
  const int rest = static_cast<int>(tile - chunk * kTokenGroup * w.groups);
  const int width =
      static_cast<int>(min(int64_t{kTokenGroup}, a.plan.token_tiles - chunk * kTokenGroup));
  Place p;
  const int row_tile = rest / width * w.share + w.member;
  p.token = static_cast<int>(chunk * kTokenGroup + rest % width) * a.plan.token_tile;
  p.segment = 0;
  if (row_tile >= a.row_tiles) {  // beyond the last: it only brings its part of x
    p.row_tile = 0;
    p.row = 0x7FFF0000;
    return p;
  }
  while (row_tile >= a.segments[p.segment].tiles_end) ++p.segment;
  const GpuSegment& g = a.segments[p.segment];
  p.row_tile = row_tile - g.first_tile;
  p.row = g.first_row + p.row_tile * a.plan.row_tile;
  return p;
}

struct Range {
  int begin, end;
};
// Boxes of K of this CTA.
__device__ __forceinline__ Range BoxesOf(const TileArguments& a, const Work& w, bool bf16) {
  const int boxes = bf16 ? a.bf16_boxes : a.blocks;
  return {boxes * w.slice / w.slices, boxes * (w.slice + 1) / w.slices};
}

// One thread. What does not change is read out of the parameters before the loops.
__device__ __forceinline__ void Produce(const TileArguments& a, const Work& w) {
  const uint64_t keep = EvictNormal(), once = a.plan.token_tiles == 1 ? EvictFirst() : keep;
  const int depth = a.plan.stages, n = a.plan.token_tile, part = n / w.share;
  const int w_bytes = a.plan.row_tile * kBoxBytes, all_bytes = a.plan.stage_bytes;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * depth;
  const uint32_t x_to = w.base + a.plan.x_box + w.member * part * kBoxBytes;
  const uint32_t scales_to = w.base + a.plan.x_scales;
  const auto mask = static_cast<uint16_t>(((1 << w.share) - 1) << w.slice * w.share);
  Stage stage{0, 1};  // an empty ring: the phase before the first is over
  bool first = true;
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += a.plan.clusters) {
    const Place p = PlaceOf(a, w, tile);
    const bool bf16 = a.segments[p.segment].scale == nullptr;
    const Range boxes = BoxesOf(a, w, bf16);
    const int width = bf16 ? kBoxBytes / 2 : kBlock, shift = bf16 ? 0 : a.k_phase;
    const CUtensorMap* w_map = &a.weights[p.segment];
    const CUtensorMap* x_map = bf16 ? &a.x_bf16 : &a.x_fp8;
    const float* scales = a.x_scales + p.token;
    const auto copy_w = [&](int box, int i) {
      BarrierExpect(full + 8 * i, all_bytes + (bf16 ? 0 : n * 4));
      CopyBox(w.base + i * w_bytes, w_map, box * width - shift, p.row, full + 8 * i, once);
    };
    const auto copy_x = [&](int box, int i) {
      const uint32_t to = x_to + i * n * kBoxBytes;
      const int row = p.token + w.member * part;
      if (w.share == 1) {
        CopyBox(to, x_map, box * width, row, full + 8 * i, keep);
      } else {
        CopyBoxToMany(to, x_map, box * width, row, full + 8 * i, mask, keep);
      }
      if (!bf16)
        CopyBytes(scales_to + i * n * 4, scales + static_cast<int64_t>(box) * a.x_scale_stride,
                  n * 4, full + 8 * i);
    };
    int begin = boxes.begin;
    if (first) {
      const int early = min(depth, boxes.end - boxes.begin);
      for (int i = 0; i < early; ++i) copy_w(begin + i, i);
      WaitForEarlier();
      for (int i = 0; i < early; ++i) {
        copy_x(begin + i, i);
        stage.Next(depth);
      }
      begin += early;
      first = false;
    }
    const bool last = tile + a.plan.clusters >= w.tiles;
    if (last && begin == boxes.end) LaunchDependents();
#pragma unroll 1
    for (int k = begin; k < boxes.end; ++k) {
      BarrierWait(empty + 8 * stage.index, stage.phase);
      copy_w(k, stage.index);
      copy_x(k, stage.index);
      stage.Next(depth);
      if (last && k + 1 == boxes.end) LaunchDependents();
    }
  }
}

__device__ __forceinline__ void WarpgroupBarrier(int wg) {
  if (wg == 0) {
    NamedBarrier<128>(1);
  } else {
    NamedBarrier<128>(2);
  }
}

// One warp: a stage may be filled again, by all who fill it.
__device__ __forceinline__ void Release(const Work& w, uint32_t empty) {
  const int lane = threadIdx.x & 31;
  if constexpr (kRacecheck) {
    for (int i = 0; i < w.share; ++i) BarrierArriveRemote(MapShared(empty, w.slice * w.share + i));
  } else if (w.share == 1) {
    if (lane == 0) BarrierArrive(empty);
  } else if (lane < w.share) {
    BarrierArriveRemote(MapShared(empty, w.slice * w.share + lane));
  }
}

// Row of the tile where 64-row piece `i` of warpgroup `wg` begins.
template <int kPieces>
__device__ __forceinline__ int PieceRow(int wg, int i) {
  return (wg * kPieces + i) * 64;
}

}  // namespace ferrule::tile
