// SPDX-License-Identifier: Apache-2.0
#include "kernels/large_rule.h"

#include "kernels/cluster_count.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

// All measured on H200, 2026-11-30, quantization included.
//
// FP8 in blocks alone, 17 to 32 tokens, 25 shapes: from so many boxes of 64 rows x 128 columns on.
// 2048 -> 768 took 3.4 us against 3.0, 2048 -> 1024 3.7 both, 1024 -> 2048 3.4 against 3.7,
// 4096 -> 9216 12.1 against 12.9, 16384 -> 7168 33.0 against 32.1. At 9 to 16 tokens nothing was
// faster than small_m_linear.
constexpr int64_t kManyBoxes = 256;
// One scale of x a token, 17 to 32 tokens, 5 shapes: 4096 -> 1024 5.1 us against 4.6, 4096 -> 4096
// 8.0 against 8.4, 14336 -> 4096 18.1 against 19.5, 2048 -> 12288 9.5 against 10.6, 4096 -> 28672
// 32.2 against 31.7.
constexpr int64_t kBoxesOfTokenScales = 2048;
constexpr int kTilesOfTokenScales = 256;
// BF16 beside FP8, 6 groups, where small_m_linear reads x in each cluster: 4096 -> 2048 beside 128
// 6.4 us against 6.0 at 24 tokens, 6.4 against 6.8 at 32; 2048 -> 1024 beside 513 4.7 against 4.3
// and 4.7. Many tiles of short K go earlier: 2048 -> 12288 beside 64 9.0 against 9.6 at 17 tokens.
constexpr int64_t kManyTokensBesideBf16 = 25, kBytesBesideBf16 = 4 << 20;
constexpr int64_t kBoxesBesideBf16 = 1024;
constexpr int kShortBlocks = 24;

}  // namespace

bool LargePays(const FewTokensWork& work) {
  if (work.fp8_tiles == 0 || work.tokens <= 16) return false;
  const int64_t boxes = int64_t{work.fp8_tiles + work.bf16_tiles} * work.blocks;
  if (work.bf16_tiles > 0)
    return work.bytes >= kBytesBesideBf16 &&
           (work.tokens >= kManyTokensBesideBf16 ||
            (boxes > kBoxesBesideBf16 && work.blocks < kShortBlocks));
  if (work.token_scales)
    return boxes >= kBoxesOfTokenScales && work.fp8_tiles <= kTilesOfTokenScales;
  return boxes >= kManyBoxes;
}

// What PlanLarge takes was the fastest where K is shared out (5 groups at 32 tokens); else
// 2048 -> 12288 beside 64 took 9.2 us at 32 tokens and 9.4 at 64, 9.0 and 9.2 in tiles of 128 rows,
// which nearly fill the GPU once.
LargeChoice LargeBesideBf16(int64_t tokens, int64_t rows) {
  const int64_t tiles = DivideUp(rows, 128);
  if (tokens <= 64 && tiles <= Multiprocessors() && 3 * tiles > 2 * Multiprocessors())
    return {64, 128};
  return {};
}

}  // namespace ferrule
