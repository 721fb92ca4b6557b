// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_plan.h"

#include <algorithm>

#include "kernels/cluster_count.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

constexpr int kTileBytes = kSmallTile * kBoxBytes;
constexpr GpuRoom kUsual;
thread_local const GpuRoom* room = &kUsual;
// Two CTAs of a multiprocessor, so that the next launch fills its ring while this one works.
constexpr int64_t kHalfShared = 112 * 1024;  // two, and a CTA of the quantizer
constexpr int64_t kAllShared = 227 * 1024;
constexpr int64_t kSmallShared = 200 * 1024;
constexpr int64_t kAlign = 1024;  // shared memory begins anywhere; boxes need 1024

int Log2(int power) {
  int log = 0;
  while (1 << log < power) ++log;
  return log;
}

// A tile of BF16 takes as long as two in FP8: where there are enough of those to make it good, the
// last clusters end with one each.
bool DealsEvenly(const SmallShape& shape, int64_t among) {
  return shape.fp8_tiles > 0 && shape.bf16_tiles <= among &&
         shape.fp8_tiles >= 2 * (among - shape.bf16_tiles) &&
         2 * (shape.fp8_tiles + shape.bf16_tiles) >= 5 * among;
}

struct SmallRule {
  int slices, halves, ahead, in_flight;
  bool quantized;
};

// Rounds of tiles that the slowest cluster takes: BF16 counts twice, and is dealt out last.
int64_t RoundsOf(const SmallShape& shape, int slices) {
  const int64_t fit = ClustersThatFit(slices), tiles = shape.fp8_tiles + shape.bf16_tiles;
  if (DealsEvenly(shape, fit)) return DivideUp(tiles + shape.bf16_tiles, fit);
  return DivideUp(tiles, fit) + (shape.fp8_tiles > 0 && shape.bf16_tiles > 0 ? 1 : 0);
}

// Work of the slowest CTA in blocks, with what each tile takes beside them.
double WorkOf(const SmallShape& shape, int slices) {
  return static_cast<double>(RoundsOf(shape, slices)) *
         (static_cast<double>(DivideUp(shape.blocks, slices)) + 0.5);
}

// Of 16 slices few clusters fit: they pay where K is long and tiles are few or dealt badly else.
// Measured on H200: 4096 -> 2048 at 1 token 3.5 us against 3.7, at 16 3.9 against 4.7; 7168 -> 576
// 2.6 and 3.2 at 1.
bool Wants16(const SmallShape& shape) {
  return shape.blocks >= 32 && ClustersThatFit(16) > 0 &&
         (shape.fp8_tiles + shape.bf16_tiles <= 24 || WorkOf(shape, 16) < 0.95 * WorkOf(shape, 8));
}

// BF16 beside FP8, up to 16 tokens. Measured on H200 for 12 groups: 2048 -> 12288 beside 64 took
// 8.0 us at 8 tokens, 8.2 with four slices; 8.8 at 16, 9.3 with two; 4096 -> 2048 beside 128 4.1
// with sixteen, 5.1 with eight; 7168 -> 2112 beside 256 8.3 and 7.5 at 12 tokens.
SmallRule RuleOfBoth(const SmallShape& shape, int64_t work) {
  const bool deep = shape.blocks >= 24, few = shape.tokens <= 8;
  // Boxes in flight: 2048 -> 12288 beside 64 7.5 us with three, 7.9 with four; K long the same.
  SmallRule rule{8, 1, 9, deep ? 4 : 3, false};
  if ((few || shape.blocks <= 40) && Wants16(shape)) rule.slices = 16;
  while (rule.slices > shape.blocks) rule.slices /= 2;
  if (few) return rule;
  const int64_t rounds = RoundsOf(shape, rule.slices);
  // Else one warpgroup would have a tile more than the other.
  if (deep && rule.slices == 8 && rounds % 2 == 1 && rounds <= 5) rule.halves = 2;
  if (!deep && work > 1280 && work <= 2500) rule.ahead = SmallChoice::kAfterX;
  return rule;
}

// BF16 alone, few rows. Measured on H200, 1 to 512 rows: 7168 -> 256 took 3.3 us at 1 token, 4.5
// with eight slices, 2048 -> 64 1.9 and 2.0, at 64 tokens 2.7 and 2.9.
SmallRule RuleOfBf16(const SmallShape& shape) {
  const int tiles = shape.bf16_tiles;
  const bool once = shape.tokens <= 8 || (shape.tokens <= 16 && tiles <= 2);
  SmallRule rule{shape.blocks >= 32 || tiles <= 4 ? 16 : 8, 1,
                 once ? SmallChoice::kAtOnce : SmallChoice::kAfterX, 4, false};
  while (rule.slices > shape.blocks) rule.slices /= 2;
  return rule;
}

// BF16 alone, many rows and K short. Measured on H200, 2048 columns: 12288 rows took 14.2 us at 1
// token and 14.3 at 16, 15.5 with four or eight slices; at 32 tokens 15.6, 16.2 with eight.
SmallRule RuleOfWideBf16(const SmallShape& shape) {
  SmallRule rule{shape.tokens <= 16 ? 2 : 4, 2, SmallChoice::kAtOnce, 4, false};
  while (rule.slices > shape.blocks) rule.slices /= 2;
  return rule;
}

// x with one scale a token, which a launch before has quantized. Measured on H200, 2026-11-30, for
// 4096 -> 4096, 1024 and 28672, 2048 -> 12288 and 14336 -> 4096 at 1, 8, 16 and (but 2048 -> 12288,
// which goes to kLarge) 32 tokens, each within 3 % of the fastest of 60 ways: 2048 -> 12288 8.5 us
// at 1 token, 9.4 with eight slices and the next launch after x; 14336 -> 4096 18.3 with
// sixteen, 20.7 with eight.
SmallRule RuleOfTokenScales(const SmallShape& shape, int tiles, int64_t bytes) {
  const bool deep = shape.blocks >= 64, wide = bytes >= 85000000;
  SmallRule rule{8, 1, 9, 3, true};
  if (shape.tokens <= 16) {
    if (deep) {
      if (shape.tokens > 8) rule.halves = 2;
      // Nearer its end 0.5 us less, but now and then 5 us more.
      if (shape.tokens <= 8) rule.slices = 16, rule.ahead = SmallChoice::kAtOnce;
    } else if (shape.blocks < 24 && int64_t{tiles} * shape.blocks > 1024) {
      rule.slices = 2;
    } else if (wide) {
      rule.ahead = SmallChoice::kAtOnce;
      if (shape.tokens > 8) rule.slices = rule.halves = 2;
    } else {
      rule.ahead = SmallChoice::kAfterX;
    }
  } else if (!deep && wide) {
    rule.slices = 4;
  } else if (!deep) {
    rule.slices = tiles <= 24 ? 4 : 2;
    rule.halves = 2;
    rule.ahead = SmallChoice::kAfterX;
  }
  while (rule.slices > shape.blocks) rule.slices /= 2;
  return rule;
}

// Measured on H200 over 18 shapes. Eight slices of K, two where K is short or, with few tokens, the
// FP8 weight is huge; of BF16 7168 -> 36864 took 186 us with two, 131 with eight. A small launch
// lets the next one in once x is read; a large one near its end; the largest at once: the next
// launch comes late otherwise.
SmallRule RuleOf(const SmallShape& shape, int tiles, int64_t bytes, bool few, int token_tiles) {
  SmallRule rule{8, 1, SmallChoice::kAtOnce, 4, false};
  if (shape.token_scales && token_tiles == 1) return RuleOfTokenScales(shape, tiles, bytes);
  const bool both = shape.fp8_tiles > 0 && shape.bf16_tiles > 0;
  const bool fp8 = shape.bf16_tiles == 0;
  const int64_t work = int64_t{tiles} * shape.blocks;
  if (both && shape.tokens <= 16) return RuleOfBoth(shape, work);
  if (shape.fp8_tiles == 0 && tiles * token_tiles <= 8) return RuleOfBf16(shape);
  const bool many = work > 1024 && shape.blocks < 24;
  if (shape.fp8_tiles == 0 && many && token_tiles == 1) return RuleOfWideBf16(shape);
  // Each cluster would quantize x anew: with more tokens that costs more than a launch does.
  rule.quantized = fp8 && (shape.tokens > 16 ? work >= 256 : !few && bytes >= 70000000);
  if (rule.quantized) {
    rule.slices = shape.blocks >= 100 ? 8 : 2;
  } else if (fp8 && shape.tokens > 16 && shape.blocks >= 8 && shape.blocks < 16) {
    // 1536 -> 512 at 32 tokens 2.7 us with eight slices, 4.9 with two; 1024 -> 2048 3.7 with four.
    rule.slices = shape.blocks < 12 ? 4 : 8;
  } else if (shape.blocks < 16 || (few && bytes > 200000000 && shape.fp8_tiles > 0)) {
    rule.slices = 2;
  } else if (both ? work > 512 && shape.blocks < 24 : many && few) {
    rule.slices = 4;  // 2048 -> 3072 beside 16 at 17 and 24 tokens 5.0 and 5.2 us, with eight 5.4
  } else if (!both && token_tiles == 1 && Wants16(shape)) {
    rule.slices = 16;
  }
  while (rule.slices > shape.blocks) rule.slices /= 2;
  // Clusters of several tiles of tokens run side by side, two CTAs a multiprocessor.
  while (token_tiles > 1 && rule.slices > 1 &&
         int64_t{tiles} * token_tiles * rule.slices > 2 * Multiprocessors())
    rule.slices /= 2;
  // Beside BF16 2048 -> 1024 beside 513 took 4.1 us near its end at 17 tokens, 4.3 after x.
  if (!both && work <= 512 && (rule.slices < 16 || (!few && tiles <= 4))) {
    rule.ahead = SmallChoice::kAfterX;
  } else if (bytes < 85000000) {
    rule.ahead = 9;
  }
  const int64_t each = DivideUp(tiles, ClustersThatFit(rule.slices));
  const bool odd =
      each % 2 == 1 && each <= 5 && (rule.slices < 16 || DivideUp(shape.blocks, 16) > 2);
  if (few && tiles > 16 && (odd || (rule.slices == 2 && shape.blocks > 16))) rule.halves = 2;
  return rule;
}

// Places everything but the ring after a ring of `plan->ring` boxes; returns the bytes it needs.
int64_t LayOut(const SmallShape& shape, SmallPlan* plan) {
  const int64_t n = plan->token_tile, blocks = plan->most_blocks;
  const int pitch = plan->token_tile == 32 ? kSmallPitch<32> : plan->token_tile;
  const int64_t slot = int64_t{kSmallTile} * plan->halves * pitch * 4;
  int64_t at = int64_t{2} * plan->ring * kTileBytes;
  const auto take = [&at](int64_t bytes) {
    const int64_t begin = at;
    at += bytes;
    return static_cast<int>(begin);
  };
  plan->x_fp8 = take(shape.fp8_tiles > 0 ? blocks * n * kBoxBytes : 0);
  plan->x_bf16 = take(shape.bf16_tiles > 0 ? blocks * n * kBoxBytes * 2 : 0);
  plan->sums = take(plan->slots * slot);
  plan->x_scales = take(blocks * n * 4);
  plan->w_scales = take(RoundUp(blocks * plan->most_tiles * 4, 8));
  plan->barriers =
      take(int64_t{8} * (4 * plan->ring + 2 * plan->slots + (plan->quantized ? blocks : 0)));
  return at + kAlign;
}

// Clusters of each tile of tokens. With several of those two CTAs share a multiprocessor; what is
// more than fits at once waits for its turn.
int ClustersOf(int tiles, int slices, int token_tiles) {
  const int fit = ClustersThatFit(slices);
  if (token_tiles == 1) return tiles * slices <= Multiprocessors() || tiles < fit ? tiles : fit;
  if (int64_t{tiles} * slices * token_tiles <= 2 * Multiprocessors()) return tiles;
  return std::clamp(2 * fit / token_tiles, 1, tiles);
}

// The deepest ring that fits with `slices` CTAs of a cluster; false when none does.
bool Fill(const SmallShape& shape, const SmallChoice& choice, SmallPlan* plan) {
  const int slices = 1 << plan->log_slices;
  const int tiles = shape.fp8_tiles + shape.bf16_tiles;
  plan->clusters = ClustersOf(tiles, slices, plan->token_tiles);
  if (choice.clusters > 0) plan->clusters = std::min(choice.clusters, tiles);
  plan->most_blocks = static_cast<int>(DivideUp(shape.blocks, slices));
  plan->late = DealsEvenly(shape, plan->clusters) ? shape.bf16_tiles : 0;
  plan->first_late = shape.fp8_tiles;
  const int rounds = tiles + plan->late;
  plan->most_tiles = static_cast<int>(DivideUp(rounds, plan->clusters));
  plan->tiles_each = rounds / plan->clusters;
  plan->tiles_over = rounds % plan->clusters;
  // Measured on H200, up to two rounds of a warp's lanes with many slices, one with few: 2048 ->
  // 12288 at 1 token 7.5 us against 7.9, 4096 -> 2048 at 16 3.9 against 4.5.
  const int pairs = std::min(shape.tokens, plan->token_tile) << (5 - plan->log_slices);
  plan->slots = std::min(4, plan->most_tiles);
  plan->add_alone = plan->most_tiles > 1 && (pairs <= 32 || (pairs <= 64 && slices >= 8));
  plan->ring = 0;
  const int64_t rest = LayOut(shape, plan) + int64_t{32} * 16;  // barriers of the deepest ring
  const int least = plan->token_tile == 8 ? 4 : 8;  // a ring below that loses more than it gains
  const int64_t limit = rest + least * kTileBytes <= kHalfShared ? kHalfShared : kSmallShared;
  if (rest + int64_t{4} * kTileBytes > limit) return false;
  const int64_t boxes = plan->halves == 2 ? (plan->most_blocks + 1) / 2 * plan->most_tiles
                                          : (plan->most_tiles + 1) / 2 * plan->most_blocks;
  plan->ring = static_cast<int>(std::min(
      {(limit - rest) / (2 * kTileBytes), int64_t{16}, boxes * (shape.bf16_tiles > 0 ? 2 : 1)}));
  plan->shared = static_cast<size_t>(LayOut(shape, plan));
  return true;
}

}  // namespace

PlanFor::PlanFor(const GpuRoom* to) : before_(room) { room = to == nullptr ? &kUsual : to; }
PlanFor::~PlanFor() { room = before_; }

int Multiprocessors() { return room->multiprocessors; }

int ClustersThatFit(int slices) { return slices < 1 || slices > 16 ? 0 : room->clusters[slices]; }

SmallPlan PlanSmall(const SmallShape& shape, const SmallChoice& choice) {
  SmallPlan plan;
  const int tiles = shape.fp8_tiles + shape.bf16_tiles;
  if (shape.tokens < 1 || tiles < 1 || shape.blocks < 1) return plan;
  plan.token_tile = shape.tokens <= 8 ? 8 : shape.tokens <= 16 ? 16 : kSmallTokens;
  plan.token_tiles = static_cast<int>(DivideUp(shape.tokens, plan.token_tile));
  if (plan.token_tiles > kSmallTokenTiles) return plan;
  const int64_t bytes =
      (int64_t{shape.fp8_tiles} + int64_t{2} * shape.bf16_tiles) * shape.blocks * kTileBytes;
  const SmallRule rule = RuleOf(shape, tiles, bytes, plan.token_tile == 8, plan.token_tiles);
  plan.halves = choice.halves > 0 ? choice.halves : rule.halves;
  plan.ahead = choice.ahead != SmallChoice::kByRule ? choice.ahead : rule.ahead;
  plan.quantized =
      shape.bf16_tiles == 0 &&
      (shape.token_scales ||
       (choice.quantized != SmallChoice::kByRule ? choice.quantized == 1 : rule.quantized));
  int first = choice.slices > 0 ? choice.slices : rule.slices;
  while (first > 1 && ClustersThatFit(first) == 0) first /= 2;  // 16 are not for every device
  const int last = choice.slices > 0 ? first : 16;
  for (int slices = first; slices <= last && slices <= shape.blocks && !plan.fits; slices *= 2) {
    if (ClustersThatFit(slices) == 0) break;
    plan.log_slices = Log2(slices);
    plan.fits = Fill(shape, choice, &plan);
  }
  const int in_flight = choice.in_flight > 0 ? choice.in_flight : rule.in_flight;
  plan.in_flight = std::min(in_flight, plan.ring);
  return plan;
}

TilePlan PlanTile(const TileShape& shape, const TileChoice& choice) {
  TilePlan plan;
  const int64_t m = shape.tokens;
  plan.token_tile = m <= 16 ? 16 : m <= 32 ? 32 : m <= 64 ? 64 : 128;
  if (choice.token_tile > 0) plan.token_tile = choice.token_tile;
  plan.token_tiles = DivideUp(m, plan.token_tile);
  const bool wide = plan.token_tile == 128 && plan.token_tiles * shape.wide_tiles >= 120;
  plan.row_tile = choice.row_tile > 0 ? choice.row_tile : wide ? 256 : 128;
  const int64_t row_tiles = plan.row_tile == 256 ? shape.wide_tiles : shape.row_blocks;
  const int64_t tiles = plan.token_tiles * row_tiles;

  // Slices depend on tiles and K alone, so that sums are made in the same order wherever tiles are
  // equal.
  plan.slices = 1;
  const int ctas = plan.token_tile >= 64 ? Multiprocessors() : 2 * Multiprocessors();
  // Of FP8 each has four blocks or more: two took 8.0 us where four took 7.1 (H200, 2048 columns).
  const int most = shape.fp8 ? std::max(1, shape.blocks / 4) : 8;
  if (plan.row_tile == 128)
    for (const int slices : {2, 4, 8})
      if (tiles * slices <= ctas && slices <= most) plan.slices = slices;
  if (choice.slices > 0) plan.slices = choice.slices;
  while (plan.slices > shape.blocks) plan.slices /= 2;

  const int resident = plan.token_tile >= 64 ? 1 : choice.resident > 0 ? choice.resident : 2;
  // x is read by every tile of rows; from L2 it costs as much as W does from DRAM. Neighbouring
  // tiles of one cluster read it once, if they walk through K alike.
  const bool alike = shape.fp8 != shape.bf16;
  plan.share = choice.share > 0 ? choice.share : 1;
  while (plan.share > 1 && (!alike || plan.share * plan.slices > 8 || plan.share > row_tiles ||
                            plan.token_tile / plan.share < 8))
    plan.share /= 2;
  const int64_t groups = plan.token_tiles * DivideUp(row_tiles, plan.share);

  // A cluster that shares out K takes one tile: its barriers include the warp that loads ahead.
  plan.clusters = static_cast<int>(
      plan.slices > 1 ? groups : std::min(groups, int64_t{ClustersThatFit(plan.share)} * resident));
  const int64_t limit = resident == 2 ? kHalfShared : kAllShared;
  const int64_t n = plan.token_tile;
  const int64_t staging = plan.slices > 1
                              ? n * kTilePitch * 4
                              : int64_t{2} * std::min<int64_t>(n, 64) * kStagingPitch * 2;
  plan.stage_bytes = static_cast<int>((plan.row_tile + n) * kBoxBytes);
  const int64_t each = plan.stage_bytes + n * 4 + 16;
  const int64_t scales = RoundUp(8 * DivideUp(shape.blocks, plan.slices), 8);  // two warpgroups'
  plan.stages = static_cast<int>(std::min<int64_t>((limit - kAlign - staging - scales) / each, 12));
  const int64_t stages = plan.stages;
  plan.x_box = static_cast<int>(stages * plan.row_tile * kBoxBytes);
  plan.staging = static_cast<int>(plan.x_box + stages * n * kBoxBytes);
  plan.x_scales = static_cast<int>(plan.staging + staging);
  plan.w_scales = static_cast<int>(plan.x_scales + stages * n * 4);
  plan.barriers = static_cast<int>(plan.w_scales + scales);
  plan.shared = static_cast<size_t>(plan.barriers + stages * 16 + kAlign);
  return plan;
}

}  // namespace ferrule
