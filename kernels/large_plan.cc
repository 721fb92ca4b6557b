// SPDX-License-Identifier: Apache-2.0
#include "kernels/large_plan.h"

#include <algorithm>
#include <iterator>

namespace ferrule {
namespace {

constexpr int64_t kHalfShared = 113 * 1024;
constexpr int64_t kAllShared = 225 * 1024;  // two CTAs of the quantizer have room beside
// Of W while x is awaited: enough that DRAM does not idle (measured, H200: 24 to 96 KB).
constexpr int64_t kInFlight = 48 * 1024;
constexpr int64_t kAlign = 1024;  // shared memory begins anywhere; boxes need 1024

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Tile {
  int tokens, rows;
};
// In the order of preference where they cost the same.
constexpr Tile kTiles[] = {{256, 128}, {256, 96}, {128, 192}, {128, 160}, {128, 128},
                           {128, 112}, {128, 96}, {128, 80},  {128, 64},  {64, 192},
                           {64, 160},  {64, 128}, {64, 96},   {64, 64},   {64, 32}};

int64_t RowTiles(const LargeShape& shape, int row_tile) {
  int64_t tiles = 0;
  for (int i = 0; i < shape.segments; ++i) tiles += DivideUp(shape.rows_of_tiles[i], row_tile);
  return tiles;
}

// Clocks, about: the tensor cores need 1/32 for each value of a block, what comes through L2 goes
// at 24 bytes a clock and multiprocessor, a tile begins and ends in 2000.
double Cost(const LargeShape& shape, Tile tile) {
  const int64_t tiles = DivideUp(shape.tokens, tile.tokens) * RowTiles(shape, tile.rows);
  const double block =
      std::max(tile.tokens * tile.rows / 32.0, (tile.tokens + tile.rows) * kBoxBytes / 36.0);
  return static_cast<double>(DivideUp(tiles, kMultiprocessors)) * (shape.blocks * block + 2000);
}

// The cheapest of those that were asked for.
Tile BestTile(const LargeShape& shape, const LargeChoice& choice) {
  Tile best{0, 0};
  double least = 0;
  for (const Tile& tile : kTiles) {
    if (choice.token_tile > 0 && tile.tokens != choice.token_tile) continue;
    if (choice.row_tile > 0 && tile.rows != choice.row_tile) continue;
    const double cost = Cost(shape, tile);
    if (best.rows != 0 && cost >= least) continue;
    best = tile;
    least = cost;
  }
  return best;
}

}  // namespace

bool LargeTileExists(int token_tile, int row_tile) {
  return std::any_of(std::begin(kTiles), std::end(kTiles),
                     [=](const Tile& t) { return t.tokens == token_tile && t.rows == row_tile; });
}

int LargeResident(int token_tile, int row_tile) {
  return row_tile <= 64 && token_tile <= 128 ? 2 : 1;
}

LargePlan PlanLarge(const LargeShape& shape, const LargeChoice& choice) {
  LargePlan plan;
  Tile tile = BestTile(shape, choice);
  if (tile.rows == 0) tile = BestTile(shape, {});
  plan.token_tile = tile.tokens;
  plan.row_tile = tile.rows;
  plan.token_tiles = DivideUp(shape.tokens, tile.tokens);
  plan.row_tiles = static_cast<int>(RowTiles(shape, tile.rows));
  plan.resident = std::min(LargeResident(tile.tokens, tile.rows), std::max(choice.resident, 1));
  const int64_t tiles = plan.token_tiles * plan.row_tiles;

  // Slices depend on tiles alone, so that sums are made in the same order wherever tiles are equal.
  for (const int slices : {2, 4, 8})
    if (tiles * slices <= kMultiprocessors) plan.slices = slices;
  if (choice.slices > 0) plan.slices = choice.slices;
  plan.slices = std::min(plan.slices, shape.blocks);
  // Not several CTAs of a multiprocessor with clusters of four or eight: sums were seen to differ.
  if (plan.slices > 2) plan.resident = 1;

  int share = choice.share;
  if (share == 0) share = plan.slices > 1 || tiles < kMultiprocessors ? 1 : 2;
  if (plan.slices > 1) share = 1;
  if ((share == 2 || share == 4) && plan.row_tiles > 1) plan.share_x = 2;
  if ((share == -2 || share == 4) && plan.token_tiles > 1) plan.share_w = 2;

  const int64_t groups =
      DivideUp(plan.token_tiles, plan.share_w) * DivideUp(plan.row_tiles, plan.share_x);
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

  int64_t limit = plan.resident == 2 ? kHalfShared : kAllShared;
  // The sums of 64 tokens that warpgroups give one another.
  const int64_t exchange = plan.token_tile == 64 ? int64_t{256} * plan.row_tile : 0;
  constexpr int64_t kStaging = 8 * kLargeStaging;
  const bool again = groups > plan.clusters;
  if (again) limit -= exchange + kStaging;
  const int64_t each = (plan.token_tile + plan.row_tile) * kBoxBytes + plan.token_tile * 4 + 24;
  plan.stages = static_cast<int>(std::min<int64_t>((limit - kAlign) / each, 16));
  if (plan.token_tile == 64) plan.stages &= ~1;  // half of them are each warpgroup's
  const int64_t stages = plan.stages;
  // A warpgroup may wait for two stages before it gives one back, and whoever fills waits for that
  // before it passes on what came: those two must have been passed on by then.
  plan.in_flight =
      static_cast<int>(std::clamp<int64_t>(kInFlight / (plan.row_tile * kBoxBytes), 1, stages - 2));
  plan.x_box = static_cast<int>(stages * plan.row_tile * kBoxBytes);
  plan.x_scales = static_cast<int>(plan.x_box + stages * plan.token_tile * kBoxBytes);
  plan.barriers = static_cast<int>(plan.x_scales + stages * plan.token_tile * 4);
  int64_t end = plan.barriers + stages * 24;
  if (again) end = (end + 127) / 128 * 128;
  // A CTA that takes one tile puts both where its ring was, after the sums of a cluster.
  plan.exchange = static_cast<int>(again             ? end
                                   : plan.slices > 1 ? int64_t{64} * (plan.row_tile + 8) * 4
                                                     : 0);
  plan.staging = static_cast<int>(plan.exchange + exchange);
  plan.shared = static_cast<size_t>((again ? plan.staging + kStaging : end) + kAlign);
  return plan;
}

}  // namespace ferrule
