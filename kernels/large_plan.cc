// SPDX-License-Identifier: Apache-2.0
#include "kernels/large_plan.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "kernels/cluster_count.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

constexpr int64_t kHalfShared = 113 * 1024;
constexpr int64_t kAllShared = 225 * 1024;  // two CTAs of the quantizer have room beside
// Of W while x is awaited: enough that DRAM does not idle (measured, H200: 24 to 96 KB).
constexpr int64_t kInFlight = 48 * 1024;
// Blocks of K up to which kernels for one tile are better, and 64 tokens multiplied by two
// warpgroups in turns (measured, H200: 2048 -> 12288 at 64 tokens 8.8 us against 9.0, 2048 -> 9216
// 7.7 against 8.1; 16384 -> 7168 41 against 37).
constexpr int kShortBlocks = 48;
// Blocks of K, more than which two CTAs with 64 tokens each share W, if there are no more of them
// (measured, H200, 2026-11-30: 16384 -> 7168 at 96 tokens 40 us instead of 46, 7168 -> 4096 14.1
// both; of 32 or less sharing costs 1 to 10 %).
constexpr int kSharedBlocks = 32;
constexpr int64_t kAlign = 1024;  // shared memory begins anywhere; boxes need 1024

struct Tile {
  int tokens, rows;
};
// In the order of preference where they cost the same.
constexpr Tile kTiles[] = {{256, 128}, {256, 96}, {128, 192}, {128, 160}, {128, 128}, {128, 112},
                           {128, 96},  {128, 80}, {128, 64},  {64, 192},  {64, 160},  {64, 128},
                           {64, 112},  {64, 96},  {64, 80},   {64, 64},   {64, 32}};

// For one tile of tokens, FP8 alone: of more others were faster, and beside BF16 it was not
// measured.
bool IsOdd(const Tile& tile) { return tile.tokens == 64 && (tile.rows == 80 || tile.rows == 112); }

constexpr int kBf16Tiles[] = {16, 32, 64};

struct Cut {
  Tile tile{0, 0};
  int slices = 1;
  int bf16_tile = 0;
  int64_t fp8_tiles = 0, bf16_tiles = 0;  // of all tokens
};

bool AnyBf16(const LargeShape& shape) {
  return std::find(shape.bf16, shape.bf16 + shape.segments, true) != shape.bf16 + shape.segments;
}

// Of the FP8 segments, or of those in BF16.
int64_t RowTiles(const LargeShape& shape, bool bf16, int row_tile) {
  int64_t tiles = 0;
  for (int i = 0; i < shape.segments; ++i)
    if (shape.bf16[i] == bf16) tiles += DivideUp(shape.rows_of_tiles[i], row_tile);
  return tiles;
}

// Of 64 columns of BF16: the second box of x and those of W lie where W of FP8 would.
int BoxesOfStage(const Cut& cut) {
  return cut.tile.tokens + 2 * cut.bf16_tile <= cut.tile.rows ? 2 : 1;
}

// Clocks for what goes through shared memory for a stage of so many tokens and rows.
double Traffic(int tokens, int rows) {
  const double written = (tokens + rows) * kBoxBytes;
  const double read = tokens == 64    ? written
                      : tokens == 128 ? (128 + 2 * rows) * kBoxBytes
                                      : (256 + 4 * rows) * kBoxBytes;
  return (written + read) * (1.0 / 147);
}
// Of BF16, fitted to 1,700 timings of 12 groups at 9 to 2048 tokens (H200, 2026-11-29): the
// cheapest cut took 1.02 times as long as the fastest, geometric mean.
constexpr double kBf16Traffic = 0.3, kOthers = 0.8;

// How CTAs that share out K add up, one a multiprocessor.
LargeWork WorkOfSlices(const Tile& tile, int slices) {
  for (const LargeWork work : {LargeWork::kTwo, LargeWork::kFour})
    if (slices == PeersOf(work) && LargeWorks(tile.tokens, tile.rows, work)) return work;
  return LargeWork::kTiles;
}

// Clocks, about, of the slowest multiprocessor; the start, which all have, is left out. Constants
// fitted to 12,000 timings of 21 shapes at 64 to 4096 tokens (H200, 2026-11-29), those of sums that
// CTAs send to the ones of tests/kernels/large_ways_h200.tsv, of which the cheapest cut took 1.02
// times as long as the fastest, geometric mean.
//
// What a stage costs is what goes through shared memory: x and W come once; x is read once, W once
// for every 64 tokens. A block of BF16 takes two stages.
//
// `memory`: the least that reading W takes.
double Cost(const LargeShape& shape, const Cut& cut, double memory) {
  const auto [tokens, rows] = cut.tile;
  const int64_t tiles = cut.fp8_tiles + cut.bf16_tiles;
  const double waves = static_cast<double>(DivideUp(tiles, ClustersThatFit(cut.slices)));
  const double blocks = static_cast<double>(DivideUp(shape.blocks, cut.slices));
  const double fp8 = Traffic(tokens, rows) + (tokens == 64 ? 150 : 60);
  double products = waves * blocks * fp8;
  if (cut.bf16_tile > 0) {
    const double half = Traffic(tokens, cut.bf16_tile);
    const double bf16 =
        BoxesOfStage(cut) == 2 ? kBf16Traffic * 2 * half + 350 : 2 * (kBf16Traffic * half + 270);
    const double share = static_cast<double>(cut.bf16_tiles) / static_cast<double>(tiles);
    // The slowest tile, and the others of its multiprocessor: those are of both kinds.
    products =
        blocks * (std::max(fp8, bf16) + kOthers * (waves - 1) * (share * bf16 + (1 - share) * fp8));
  }
  const double size = tokens * rows;
  double sums = 0;
  if (cut.slices > 1)
    sums = WorkOfSlices(cut.tile, cut.slices) == LargeWork::kTiles
               ? 300 * cut.slices + 0.16 * size
               : 200 + 50 * cut.slices + 0.12 * size;
  return std::max(products, memory) + waves * (25 + 0.16 * size) + sums;
}

double MemoryCost(const LargeShape& shape) {
  double boxes = 0;
  for (int i = 0; i < shape.segments; ++i)
    boxes += static_cast<double>(shape.rows_of_tiles[i] * (shape.bf16[i] ? 2 : 1));
  return boxes * shape.blocks * kBoxBytes / Multiprocessors() / 20;
}

// The cheapest of those that were asked for. Slices depend on the shape alone, so that sums are
// made in the same order each time.
Cut BestCut(const LargeShape& shape, const LargeChoice& choice) {
  Cut best;
  double least = 0;
  const bool bf16 = AnyBf16(shape);
  const double memory = MemoryCost(shape);
  int64_t bf16_rows[std::size(kBf16Tiles)] = {};  // tiles of so many
  for (size_t i = 0; i < std::size(kBf16Tiles) && bf16; ++i)
    bf16_rows[i] = RowTiles(shape, true, kBf16Tiles[i]);
  const auto try_slices = [&](Cut cut) {
    const int64_t tiles = cut.fp8_tiles + cut.bf16_tiles;
    for (const int slices : {1, 2, 3, 4, 6, 8}) {
      if (slices > (choice.slices > 0 ? 1 : shape.blocks)) break;
      // Large tiles, or more than fit at once, were never better for slices, nor were many slices
      // with BF16, beside which two of more than 128 rows were not measured.
      if (slices > 1 && (cut.tile.tokens > 128 || tiles * slices > Multiprocessors())) break;
      if (slices > (bf16 ? 1 : 2) && cut.tile.rows > 128) break;
      if (slices > 4 && bf16) break;
      cut.slices = choice.slices > 0 ? choice.slices : slices;
      const double cost = Cost(shape, cut, memory);
      if (best.tile.rows != 0 && cost >= least) continue;
      best = cut;
      least = cost;
    }
  };
  for (const Tile& tile : kTiles) {
    if (choice.token_tile > 0 && tile.tokens != choice.token_tile) continue;
    if (choice.token_tile == 0 && tile.tokens > 64 && shape.tokens <= 64) continue;
    if (choice.row_tile > 0 && tile.rows != choice.row_tile) continue;
    if (choice.row_tile == 0 && IsOdd(tile) && (bf16 || shape.tokens > 64)) continue;
    const int64_t token_tiles = DivideUp(shape.tokens, tile.tokens);
    const int64_t fp8_tiles = token_tiles * RowTiles(shape, false, tile.rows);
    if (!bf16) {
      try_slices({tile, 1, 0, fp8_tiles, 0});
      continue;
    }
    // 64 x 192 beside BF16 took 12.8 us for 2048 -> 12288 at 128 tokens, 128 x 96 11.2.
    if (choice.row_tile == 0 && tile.tokens == 64 && tile.rows > 128) continue;
    for (size_t i = 0; i < std::size(kBf16Tiles); ++i)
      if (kBf16Tiles[i] <= tile.rows &&
          (choice.bf16_tile == 0 || choice.bf16_tile == kBf16Tiles[i]))
        try_slices({tile, 1, kBf16Tiles[i], fp8_tiles, token_tiles * bf16_rows[i]});
  }
  return best;
}

// `again`: CTAs take several tiles.
LargeWork WorkOf(const LargePlan& plan, bool again, int blocks) {
  if (again || plan.resident > 1 || plan.share_x * plan.share_w > 1) return LargeWork::kTiles;
  if (plan.slices > 1) return WorkOfSlices({plan.token_tile, plan.row_tile}, plan.slices);
  for (const LargeWork work : {LargeWork::kTurns, LargeWork::kOneTile})
    if (blocks <= kShortBlocks && LargeWorks(plan.token_tile, plan.row_tile, work)) return work;
  return LargeWork::kTiles;
}

LargePlan MakePlan(const LargeShape& shape, const LargeChoice& choice) {
  LargePlan plan;
  Cut cut = BestCut(shape, choice);
  if (cut.tile.rows == 0) cut = BestCut(shape, {0, 0, choice.slices});
  const Tile tile = cut.tile;
  plan.token_tile = tile.tokens;
  plan.row_tile = tile.rows;
  plan.token_tiles = DivideUp(shape.tokens, tile.tokens);
  plan.row_tiles = static_cast<int>((cut.fp8_tiles + cut.bf16_tiles) / plan.token_tiles);
  plan.bf16_tile = cut.bf16_tile;
  plan.bf16_boxes = BoxesOfStage(cut);
  plan.resident = std::min(LargeResident(tile.tokens, tile.rows), std::max(choice.resident, 1));
  plan.slices = std::min(cut.slices, shape.blocks);
  // Not several CTAs of a multiprocessor with clusters of four or eight: of the kernel of 67e748b
  // sums were seen to differ; of today's not (three runs of the test of every tile, 2026-11-30),
  // but nothing was faster for it either.
  if (plan.slices > 2) plan.resident = 1;

  // Who shares walks through K alike.
  const bool two = tile.tokens == 64 && plan.token_tiles == 2 && shape.blocks > kSharedBlocks;
  const int by_rule = choice.share == 0 && two ? -2 : choice.share;
  const int share = plan.slices > 1 || plan.bf16_tile > 0 ? 1 : by_rule;
  if ((share == 2 || share == 4) && plan.row_tiles > 1) plan.share_x = 2;
  if ((share == -2 || share == 4) && plan.token_tiles > 1) plan.share_w = 2;

  plan.row_groups = static_cast<int>(DivideUp(plan.row_tiles, plan.share_x));
  plan.token_groups = static_cast<int>(DivideUp(plan.token_tiles, plan.share_w));
  const int64_t groups = int64_t{plan.token_groups} * plan.row_groups;
  const int together = plan.share_x * plan.share_w;
  plan.clusters = static_cast<int>(
      plan.slices > 1
          ? groups
          : std::min<int64_t>(groups, int64_t{ClustersThatFit(together)} * plan.resident));
  // About as many tokens as rows under way at a time.
  plan.token_group = std::max(1, (tile.tokens == 256   ? 8
                                  : tile.tokens == 128 ? 12
                                                       : 16) /
                                     plan.share_w);
  plan.by_chunk = FastDivisor(int64_t{plan.token_group} * plan.row_groups);
  plan.by_token_group = FastDivisor(plan.token_group);
  const int last = plan.token_groups % plan.token_group;
  plan.by_last_token_group = FastDivisor(last > 0 ? last : plan.token_group);
  plan.by_slices = FastDivisor(plan.slices);

  const int64_t limit = plan.resident == 2 ? kHalfShared : kAllShared;
  const bool again = groups > plan.clusters;
  const int64_t each = (plan.token_tile + plan.row_tile) * kBoxBytes + plan.token_tile * 4 + 24;
  // A CTA that takes one tile has nothing to do while y is on its way. Of 64 tokens stores by warps
  // are as quick.
  plan.sends = again && tile.tokens > 64;
  if (plan.sends) plan.y_bytes = tile.tokens * tile.rows * 2 / 8;
  plan.work = WorkOf(plan, again, shape.blocks);
  const bool turns = plan.work == LargeWork::kTurns;
  const int64_t in_ring = turns ? int64_t{256} * plan.row_tile : 0;  // sums that change hands
  const int peers = PeersOf(plan.work);
  const int64_t exchange =
      peers > 1 ? kExchangeBarriers + int64_t{4} * (peers - 1) * tile.tokens * tile.rows / peers
                : 0;
  const int64_t room =
      limit - kAlign - (again ? 8 * plan.y_bytes : 0) - (exchange > 0 ? exchange + 128 : 0);
  plan.stages = static_cast<int>(std::min<int64_t>(room / each, 16));
  if (turns) plan.stages &= ~1;  // half of them are each warpgroup's
  const int64_t stages = plan.stages;
  // A warpgroup may wait for two stages before it gives one back, and whoever fills waits for that
  // before it passes on what came: those two must have been passed on by then. Of 256 tokens it
  // waits for one, except in BF16.
  const bool waits_for_one = tile.tokens == 256 && plan.bf16_tile == 0;
  plan.in_flight = static_cast<int>(std::clamp<int64_t>(kInFlight / (plan.row_tile * kBoxBytes), 1,
                                                        stages - (waits_for_one ? 1 : 2)));
  plan.x_box = static_cast<int>(stages * plan.row_tile * kBoxBytes);
  plan.x_scales = static_cast<int>(plan.x_box + stages * plan.token_tile * kBoxBytes);
  plan.barriers = static_cast<int>(plan.x_scales + stages * plan.token_tile * 4);
  int64_t end = plan.barriers + stages * 24;
  if (exchange > 0) {
    plan.exchange = static_cast<int>((end + 127) / 128 * 128);
    end = plan.exchange + exchange;
  }
  if (again) end = (end + kAlign - 1) / kAlign * kAlign;
  plan.staging = static_cast<int>(again ? end : in_ring);  // else where the ring was
  plan.shared = static_cast<size_t>((again ? plan.staging + 8 * plan.y_bytes : end) + kAlign);
  return plan;
}

// All that a plan depends on.
using Key = std::array<int64_t, 10 + kGpuSegments>;
Key KeyOf(const LargeShape& shape, const LargeChoice& choice) {
  Key key{shape.tokens,  shape.blocks, shape.segments,  choice.token_tile, choice.row_tile,
          choice.slices, choice.share, choice.resident, choice.bf16_tile};
  key[9] = Multiprocessors();
  for (const int slices : {2, 3, 4, 6, 8}) key[9] = key[9] * 256 + ClustersThatFit(slices);
  for (int i = 0; i < shape.segments; ++i)
    key[10 + i] = shape.rows_of_tiles[i] * 2 + (shape.bf16[i] ? 1 : 0);
  return key;
}

struct Remembered {
  Key key{};  // of no plan
  LargePlan plan;
};

}  // namespace

bool LargeTileExists(int token_tile, int row_tile) {
  return std::any_of(std::begin(kTiles), std::end(kTiles),
                     [=](const Tile& t) { return t.tokens == token_tile && t.rows == row_tile; });
}

int LargeResident(int token_tile, int row_tile) {
  return row_tile <= 64 && token_tile <= 128 ? 2 : 1;
}

LargePlan PlanLarge(const LargeShape& shape, const LargeChoice& choice) {
  // A model calls with the same shapes again and again, and a plan takes up to a microsecond.
  constexpr size_t kRemembered = 64;
  thread_local Remembered remembered[kRemembered];
  const Key key = KeyOf(shape, choice);
  uint64_t hash = 0;
  for (const int64_t part : key) hash = (hash ^ static_cast<uint64_t>(part)) * 0x9E3779B97F4A7C15u;
  Remembered& r = remembered[hash >> 58];
  static_assert(kRemembered == size_t{1} << (64 - 58));
  if (r.key != key) r = {key, MakePlan(shape, choice)};
  return r.plan;
}

}  // namespace ferrule
