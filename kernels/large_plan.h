// SPDX-License-Identifier: Apache-2.0
// Sizes of FP8 and BF16 segments → how kernels/large_m_linear.cuh is launched. Plain arithmetic, no
// CUDA. Words as in gpu_plan.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/fast_divide.h"
#include "kernels/gpu_plan.h"

namespace ferrule {

struct LargeShape {
  int64_t tokens = 1;
  int blocks = 1;                            // of K
  int64_t rows_of_tiles[kGpuSegments] = {};  // of each segment, those before row 0 of tile 0 too
  bool bf16[kGpuSegments] = {};              // of which each, else FP8
  int segments = 0;
};

// 0 means: by rule.
struct LargeChoice {
  int token_tile = 0;  // 64, 128 or 256
  int row_tile = 0;    // one that LargeTileExists with it, or the choice is not heard
  int slices = 0;      // of K, CTAs of a cluster: 1 … 8
  int share = 0;       // 1; 2: two row tiles read x together; -2: two token tiles read W together;
                       // 4: both, four CTAs
  int resident = 0;    // CTAs of one multiprocessor: 1, or 2 where LargeResident allows it
  int bf16_tile = 0;   // rows of a tile of BF16: 16, 32 or 64; kApart: BF16 goes by rule
  static constexpr int kApart = -1;
};

constexpr int kLargeStaging = 2048;  // bytes a warp, of eight, that stores y piece by piece

// Which kernel: what a CTA does with its tiles and with K.
enum class LargeWork : uint8_t {
  kTiles,    // tiles in turn; or one, K shared out, sums left in shared memory for the cluster
  kOneTile,  // one tile, all of K
  kTurns,  // the same of 64 tokens: two warpgroups take blocks of K in turns, sums change hands in
           // the ring
  kTwo,    // K shared out over two (four) CTAs that send one another sums
  kFour,
};
constexpr int PeersOf(LargeWork work) {
  return work == LargeWork::kTwo ? 2 : work == LargeWork::kFour ? 4 : 1;
}

// Bytes before the sums that CTAs exchange: a barrier for each warp.
constexpr int kExchangeBarriers = 128;

// Bytes a token of a box in which a warp sends y away, 16 tokens.
FERRULE_HOST_DEVICE constexpr int LargeBox(int row_tile) {
  return row_tile % 64 == 0 ? 128 : row_tile % 32 == 0 ? 64 : 32;
}

struct LargePlan {
  int token_tile = 128, row_tile = 128;
  int bf16_tile = 0;   // rows of a tile of BF16; 0: all segments are FP8
  int bf16_boxes = 1;  // of 64 columns, in a stage: 2 where that has room for those of x too
  int slices = 1;
  int share_x = 1, share_w = 1;  // CTAs of a cluster that read it once for all: 1 or 2
  int clusters = 1;
  int row_tiles = 1;  // of all segments
  int64_t token_tiles = 1;
  int row_groups = 1, token_groups = 1;  // of CTAs that share: what a cluster takes at a time
  int token_group = 8;                   // token groups that are walked before the next row group
  // A chunk: token_group token groups times all row groups; the last one may have fewer.
  FastDivisor by_chunk, by_token_group, by_last_token_group, by_slices;
  int in_flight = 2;  // stages of W that are under way at once in the first round
  int stages = 2;
  int resident = 1;                           // CTAs of one multiprocessor
  int x_box = 0, x_scales = 0, barriers = 0;  // offsets; W comes first
  int exchange = 0;                           // of what CTAs send one another: barriers, then sums
  bool sends = false;  // y leaves in boxes (LargeBox) by TMA while the next tile is multiplied
  LargeWork work = LargeWork::kTiles;
  int staging = 0;  // y of the warps on its way out; in the ring where that is read to its end
  int y_bytes = kLargeStaging;  // of a warp there
  size_t shared = 0;
};

bool LargeTileExists(int token_tile, int row_tile);
int LargeResident(int token_tile, int row_tile);  // at most so many
// Whether there is a kernel for it, one CTA a multiprocessor.
FERRULE_HOST_DEVICE constexpr bool LargeWorks(int token_tile, int row_tile, LargeWork work) {
  switch (work) {
    case LargeWork::kTiles:
      return true;
    case LargeWork::kOneTile:
      return (token_tile == 64 && row_tile == 80) || (token_tile == 128 && row_tile == 96);
    case LargeWork::kTurns:
      return token_tile == 64 && (row_tile == 96 || row_tile == 128);
    case LargeWork::kTwo:  // of 256 tokens it was never the fastest
      return token_tile <= 128;
    case LargeWork::kFour:
      return token_tile <= 128 && row_tile <= 128 && row_tile % 32 == 0;
  }
  return false;
}
// Each thread remembers those it was asked for last.
LargePlan PlanLarge(const LargeShape& shape, const LargeChoice& choice = {});

// The groups of tile `tile`, 0 … row_groups · token_groups - 1: rows change least often, within a
// chunk, so that W is read by the CTAs of a moment and x by all.
struct LargeGroups {
  int row, token;
};
FERRULE_HOST_DEVICE LargeGroups GroupsOf(const LargePlan& plan, int tile) {
  const int chunk = Divide(tile, plan.by_chunk), first = chunk * plan.token_group;
  const int rest = tile - first * plan.row_groups;
  const int left = plan.token_groups - first;
  const bool whole = left >= plan.token_group;
  const int row = Divide(rest, whole ? plan.by_token_group : plan.by_last_token_group);
  return {row, first + rest - row * (whole ? plan.token_group : left)};
}

// Floats between tokens where the CTAs of a cluster leave their partial sums.
template <int row_tile>
constexpr int kLargePitch = row_tile + 8;

}  // namespace ferrule
