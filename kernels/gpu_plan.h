// SPDX-License-Identifier: Apache-2.0
// Sizes of a group → how the GPU kernels are launched: tiles, slices of K, ring depths, shared
// memory. Plain arithmetic, no CUDA: it is tested where there is no GPU.
//
// Words: a *block* is 128 columns of the whole row (a scale block; the first one may be cut by
// k_phase). A *box* is what one copy brings: so many rows × 128 bytes, a block of E4M3 or half a
// block of BF16. A *slice* is the run of blocks that one CTA of a cluster multiplies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/fast_divide.h"

namespace ferrule {

constexpr int kBlock = 128;            // columns and rows of a scale block
constexpr int kBoxBytes = 128;         // of K in one box
constexpr int kGpuSegments = 4;        // in one launch
constexpr int kMultiprocessors = 132;  // of H100 and H200; other counts run, less evenly

// Clusters of `slices` CTAs that the device holds at one CTA a multiprocessor: its groups of
// multiprocessors have unequal sizes, so 33 / 16 / 8 would be wrong (measured: H100 and H200).
int ClustersThatFit(int slices);

// ---- few tokens, or more of them with few rows: kernels/small_m_linear.cu ----
struct SmallShape {
  int tokens = 1;      // 1 … kSmallTokens · kSmallTokenTiles
  int blocks = 1;      // of K
  int fp8_tiles = 0;   // 64-row tiles of FP8 segments
  int bf16_tiles = 0;  // numbered last
  // A token's x has one scale, which wants the whole row: x comes quantized. No BF16 then.
  bool token_scales = false;
};

// What can be chosen; 0 (and -1 for `ahead`) means: by rule.
struct SmallChoice {
  int slices = 0;  // CTAs of a cluster: 1, 2, 4, 8 or 16
  int halves = 0;  // 1: a tile for each warpgroup, 2: half the slice of every tile
  int clusters = 0;
  int ahead = kByRule;      // the next kernel may start when all but so many boxes are asked for
  int in_flight = 0;        // boxes asked for at once, of each warpgroup
  int quantized = kByRule;  // 1: x comes quantized, by a launch before (FP8 alone); 0: it does not
  static constexpr int kByRule = -1, kAtOnce = 1 << 30, kAfterX = -(1 << 30);
};

struct SmallPlan {
  bool fits = false;       // false: this many tokens and columns do not go into shared memory
  bool quantized = false;  // x comes as codes and scales
  int token_tile = 8;      // 8, 16 or, alone with more than one tile, 32
  int token_tiles = 1;     // the grid's y: each has clusters of its own
  int log_slices = 0, halves = 1;
  int clusters = 1;  // of each tile of tokens
  int ahead = 0, in_flight = 0;
  int ring = 1;   // boxes of each warpgroup's ring
  int slots = 1;  // tiles whose partial sums are under way
  // A tile's sums are added by one warp, tiles in turn by kSmallAdders of them; else by all of the
  // epilogue together.
  bool add_alone = false;
  // The last clusters, which end with a tile of BF16 each: as many as there are of those, or 0.
  int late = 0, first_late = 0;
  int tiles_each = 1, tiles_over = 0;   // rounds; the first so many clusters take one more
  int most_blocks = 1, most_tiles = 1;  // of one CTA
  // Offsets from the 1024-aligned start of shared memory, in bytes.
  int x_fp8 = 0, x_bf16 = 0, sums = 0, x_scales = 0, w_scales = 0, barriers = 0;
  size_t shared = 0;  // bytes to ask for
};
SmallPlan PlanSmall(const SmallShape& shape, const SmallChoice& choice = {});

// The tiles of a cluster, in rising order. They are dealt out in rounds; a tile of BF16 takes two
// of them, the first ones of one of the last clusters, but comes in the end.
struct SmallTiles {
  int count;
  int first, step, less;  // tile t: first + t · step - min(t, 2) · less
  int late, late_tile;    // but tile `late` is this one
};
FERRULE_HOST_DEVICE SmallTiles SmallTilesOf(const SmallPlan& p, int cluster) {
  const int others = p.clusters - p.late;
  const int rounds = p.tiles_each + (cluster < p.tiles_over ? 1 : 0);
  if (cluster < others) return {rounds, cluster, p.clusters, p.late, -1, 0};
  return {rounds - 1, cluster + 2 * others, p.clusters,
          0,          rounds - 2,           p.first_late + cluster - others};
}
FERRULE_HOST_DEVICE int SmallTile(const SmallTiles& s, int t) {
  return t == s.late ? s.late_tile : s.first + t * s.step - (t < 2 ? t : 2) * s.less;
}

constexpr int kSmallTokens = 32;       // of a tile
constexpr int kSmallTokenTiles = 128;  // at most so many
constexpr int kSmallTile = 64;         // rows
constexpr int kSmallEpilogue = 3;      // warps that sum, store and help to quantize
// Of those, where each has tiles of its own. As many as warpgroups, so that a slot, which tiles
// take in turn, is always one warpgroup's and one warp's: neither could tell by a parity how often
// others had used it.
constexpr int kSmallAdders = 2;
constexpr int kSmallThreads = 128 * 2 + 32 + 32 * kSmallEpilogue;
// Floats of a row of partial sums, padded against bank conflicts where rows are copied whole.
template <int token_tile>
constexpr int kSmallPitch = token_tile == 32 ? 36 : token_tile;

// ---- any number of tokens: kernels/tile_linear.cu ----
struct TileShape {
  int64_t tokens = 1;
  int blocks = 1;          // of K
  int64_t row_blocks = 1;  // 128-row tiles of all segments
  int64_t wide_tiles = 1;  // 256-row tiles of all segments
  bool bf16 = false, fp8 = true;
};
struct TileChoice {
  int token_tile = 0;  // 16, 32, 64 or 128
  int row_tile = 0;    // 128 or 256 (256 with 128 tokens only)
  int slices = 0;      // 1, 2, 4 or 8
  int resident = 0;    // CTAs of one multiprocessor: 1 or 2
  int share = 0;       // CTAs of a cluster that read x once for all: 1, 2 or 4
};
struct TilePlan {
  int token_tile = 128, row_tile = 128, slices = 1, share = 1, clusters = 1;
  int64_t token_tiles = 1;
  int stages = 2;
  int x_box = 0, x_scales = 0, w_scales = 0, staging = 0, barriers = 0;  // offsets; W comes first
  int stage_bytes = 0;
  size_t shared = 0;
};
TilePlan PlanTile(const TileShape& shape, const TileChoice& choice = {});

constexpr int kTilePitch = 132;    // floats between tokens in the sums of a cluster
constexpr int kStagingPitch = 72;  // BF16 values between tokens where y is turned

}  // namespace ferrule
