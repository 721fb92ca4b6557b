// SPDX-License-Identifier: Apache-2.0
#include "kernels/few_rows_plan.h"

#include "kernels/cluster_count.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

// A slice more costs an exchange, and a CTA reads x of its slice alone. Measured on H200
// (2026-11-30), 8 tokens: 2048 -> 8 took 1.5 us with one slice and 1.7 with four, 4096 -> 16 2.2
// and 2.0, 5120 -> 48 2.65, 2.3 and with eight 2.2.
int SlicesByRule(const FewRowsShape& shape) {
  if (shape.blocks <= kFewRowsWarps) return 1;
  return shape.tiles <= 4 ? 4 : kFewRowsSlices;
}

}  // namespace

FewRowsPlan PlanFewRows(const FewRowsShape& shape, const FewRowsChoice& choice) {
  FewRowsPlan plan;
  if (shape.tokens < 1 || shape.blocks < 1 || shape.tiles < 1) return plan;
  plan.token_tile = shape.tokens <= 8 ? 8 : shape.tokens <= 16 ? 16 : kFewRowsTokens;
  const int64_t token_tiles = DivideUp(shape.tokens, plan.token_tile);
  if (shape.tiles > kFewRowsTiles || token_tiles > kFewRowsTiles) return plan;
  plan.token_tiles = static_cast<int>(token_tiles);
  plan.slices = choice.slices > 0 ? choice.slices : SlicesByRule(shape);
  plan.each = choice.each > 0 ? choice.each : 1;
  while (plan.slices > 1 && (plan.slices > shape.blocks || ClustersThatFit(plan.slices) == 0))
    plan.slices /= 2;
  // More blocks than warps: more of each warp, then more slices.
  const auto blocks = [&] { return DivideUp(shape.blocks, plan.slices); };
  while (plan.each < kFewRowsEach && blocks() > kFewRowsWarps * plan.each) plan.each *= 2;
  while (plan.slices < kFewRowsSlices && blocks() > kFewRowsWarps * plan.each &&
         ClustersThatFit(2 * plan.slices) > 0)
    plan.slices *= 2;
  if (blocks() > kFewRowsWarps * plan.each) return plan;
  plan.warps = static_cast<int>(DivideUp(blocks(), plan.each));
  plan.fits = true;
  return plan;
}

// Measured on H200 (2026-11-30) beside kernels/small_m_linear.cu. BF16 at 1 / 8 tokens: 2048 -> 8
// took 1.3 / 1.5 us against 1.9 / 2.0, 64 1.5 / 1.8 against 1.9 / 2.0, 512 2.0 / 2.4 against 2.2 /
// 2.4; at 16 tokens 64 took 2.4 against 2.1. 7168 -> 48 2.2 / 2.4 against 2.9 / 3.0, 256 as long as
// there. 5120 -> 48 at 16 / 32 tokens 2.5 / 3.3 against 2.9 / 4.0. FP8 with one block of K: 128 ->
// 2048 1.6 / 1.8 against 1.9 / 2.2; at 16 tokens 2.8 against 2.6; 192 -> 4096 no faster.
bool FewRowsPay(const FewRowsShape& shape, bool bf16) {
  constexpr int64_t kTokens = 8, kLongTokens = 32, kShort = 16, kLong = 32;
  if (!bf16) return shape.blocks == 1 && shape.tokens <= kTokens && shape.tiles <= 256;
  if (shape.blocks <= kShort) return shape.tokens <= kTokens && shape.tiles <= 64;
  return shape.tokens <= (shape.blocks < kLong ? kTokens : kLongTokens) && shape.tiles <= 8;
}

}  // namespace ferrule
