// SPDX-License-Identifier: Apache-2.0
// Sizes of a group with few rows → how kernels/few_rows_linear.cu is launched, and whether that is
// faster than tiles of 64 rows. Plain arithmetic, no CUDA. Words: see kernels/gpu_plan.h.
#pragma once

#include <cstdint>

namespace ferrule {

constexpr int kFewRowsTile = 8;           // rows
constexpr int kFewRowsTokens = 32;        // of a tile, at most
constexpr int kFewRowsWarps = 16;         // of a CTA, at most
constexpr int kFewRowsEach = 2;           // blocks of a warp, at most
constexpr int kFewRowsSlices = 8;         // at most
constexpr int64_t kFewRowsTiles = 65535;  // of rows, and of tokens, at most

struct FewRowsShape {
  int64_t tokens = 1;
  int blocks = 1;     // of K, with k_phase
  int64_t tiles = 1;  // of 8 rows, of all segments
};
struct FewRowsChoice {  // 0: by rule
  int slices = 0;       // CTAs of a cluster: 1, 2, 4 or 8
  int each = 0;         // blocks that a warp multiplies, at most: 1 or 2
};
struct FewRowsPlan {
  bool fits = false;   // false: K is too long, or there are too many tiles
  int token_tile = 8;  // 8, 16 or 32
  int token_tiles = 1;
  int slices = 1, each = 1, warps = 1;
};
FewRowsPlan PlanFewRows(const FewRowsShape& shape, const FewRowsChoice& choice = {});

// Whether it was measured to be the faster one, of segments that are all BF16 or all FP8.
bool FewRowsPay(const FewRowsShape& shape, bool bf16);

}  // namespace ferrule
