// SPDX-License-Identifier: Apache-2.0
// Sizes of FP8 segments → how kernels/large_m_linear.cuh is launched. Plain arithmetic, no CUDA.
// Words as in gpu_plan.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gpu_plan.h"

namespace ferrule {

struct LargeShape {
  int64_t tokens = 1;
  int blocks = 1;                            // of K
  int64_t rows_of_tiles[kGpuSegments] = {};  // of each segment, those before row 0 of tile 0 too
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
};

struct LargePlan {
  int token_tile = 128, row_tile = 128;
  int slices = 1;
  int share_x = 1, share_w = 1;  // CTAs of a cluster that read it once for all: 1 or 2
  int clusters = 1;
  int row_tiles = 1;  // of all segments
  int64_t token_tiles = 1;
  int token_group = 8;  // token tiles that are walked before the next row tile
  int in_flight = 2;    // stages of W that are under way at once in the first round
  int stages = 2;
  int resident = 1;                           // CTAs of one multiprocessor
  int x_box = 0, x_scales = 0, barriers = 0;  // offsets; W comes first
  int staging = 0;   // y of a warp on its way out; where `exchange` may be, too
  int exchange = 0;  // of the two warpgroups of 64 tokens; in the ring where it is not needed again
  size_t shared = 0;
};

bool LargeTileExists(int token_tile, int row_tile);
int LargeResident(int token_tile, int row_tile);  // at most so many
LargePlan PlanLarge(const LargeShape& shape, const LargeChoice& choice = {});

constexpr int kLargeStaging = 2048;  // bytes a warp, of eight

// Floats between tokens where the CTAs of a cluster leave their partial sums.
template <int row_tile>
constexpr int kLargePitch = row_tile + 8;

}  // namespace ferrule
