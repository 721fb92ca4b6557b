// SPDX-License-Identifier: Apache-2.0
// By rule, where nothing was measured for a shape: when large_m_linear takes few tokens, and in
// which tiles it takes BF16 beside FP8.
#pragma once

#include <cstdint>

#include "kernels/large_plan.h"

namespace ferrule {

// What a launch for all segments with scales of one kind has to do.
struct FewTokensWork {
  int64_t tokens = 0;
  int blocks = 0;                     // of 128 columns
  int fp8_tiles = 0, bf16_tiles = 0;  // of 64 rows
  int64_t bytes = 0;                  // of W, all segments
  bool token_scales = false;          // x has one scale a token
};

// Up to 32 tokens: whether large_m_linear, x quantized by a launch before, is faster than
// small_m_linear. Never without FP8.
bool LargePays(const FewTokensWork& work);

// Of so many rows in all, some of them BF16 beside FP8; {}: whatever PlanLarge takes.
LargeChoice LargeBesideBf16(int64_t tokens, int64_t rows);

}  // namespace ferrule
