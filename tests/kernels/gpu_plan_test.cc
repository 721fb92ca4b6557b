// SPDX-License-Identifier: Apache-2.0
// Launch plans over many sizes: everything covered once, nothing beyond what the hardware has.
#include "kernels/gpu_plan.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "kernels/cluster_count.h"
#include "kernels/large_plan.h"
#include "tests/catch.h"

using namespace ferrule;

TEST_CASE("a small plan fits shared memory, clusters and tiles") {
  int planned = 0, alone = 0;
  for (const int tokens : {1, 8, 9, 16, 17, 32, 33, 64, 100, 300, 4096})
    for (int blocks = 1; blocks < 260; blocks += blocks < 20 ? 1 : 37)
      for (const int fp8 : {0, 1, 8, 33, 200, 600})
        for (const int bf16 : {0, 1, 8, 192}) {
          if (fp8 + bf16 == 0) continue;
          SmallChoice choice;
          choice.quantized = planned % 3 - 1;  // by rule, no, yes
          const bool token_scales = bf16 == 0 && planned % 2 == 0;
          const SmallPlan p = PlanSmall({tokens, blocks, fp8, bf16, token_scales}, choice);
          INFO(tokens << " tokens, " << blocks << " blocks, " << fp8 << " + " << bf16 << " tiles");
          if (!p.fits) continue;
          ++planned;
          const int slices = 1 << p.log_slices, tiles = fp8 + bf16;
          REQUIRE(p.token_tiles * p.token_tile >= tokens);
          REQUIRE((p.token_tiles - 1) * p.token_tile < tokens);
          REQUIRE((p.token_tiles == 1 || p.token_tile == kSmallTokens));
          REQUIRE(slices <= blocks);  // no CTA without work
          REQUIRE(slices <= 16);
          REQUIRE(p.clusters >= 1);
          REQUIRE(p.clusters <= tiles);
          REQUIRE(p.clusters * p.most_tiles >= tiles);
          REQUIRE(p.most_blocks * slices >= blocks);
          REQUIRE(p.ring >= 1);
          REQUIRE(p.in_flight >= 1);
          REQUIRE(p.in_flight <= p.ring);
          REQUIRE(p.slots >= 1);
          REQUIRE(p.shared <= 227 * 1024);
          // What matrix instructions read begins at a multiple of 1024; barriers of 8.
          REQUIRE(p.x_fp8 % 1024 == 0);
          REQUIRE(p.x_bf16 % 1024 == 0);
          REQUIRE(p.barriers % 8 == 0);
          REQUIRE(p.x_fp8 >= 2 * p.ring * kSmallTile * kBoxBytes);
          REQUIRE_FALSE((p.quantized && bf16 > 0));
          // A slot that is used again is one warp's and, where warpgroups take tiles in turn, one
          // warpgroup's.
          if (p.add_alone && p.most_tiles > p.slots) {
            ++alone;
            REQUIRE(p.slots % kSmallAdders == 0);
          }
          const int barriers = 4 * p.ring + 2 * p.slots + (p.quantized ? p.most_blocks : 0);
          REQUIRE(static_cast<size_t>(p.barriers + 8 * barriers + 1023) <= p.shared);
        }
  CHECK(planned > 2000);
  CHECK(alone > 100);
}

TEST_CASE("every tile is one cluster's, and tiles of BF16 are twice the work of others") {
  int plans = 0;
  for (const int tokens : {1, 16, 32})
    for (const int fp8 : {0, 1, 5, 16, 29, 30, 48, 192, 500})
      for (const int bf16 : {0, 1, 2, 9, 15, 16, 40})
        for (const int slices : {1, 2, 8, 16})
          for (const int clusters : {0, 1, 7}) {
            if (fp8 + bf16 == 0) continue;
            SmallChoice choice;
            choice.slices = slices;
            choice.clusters = clusters;
            const SmallPlan p = PlanSmall({tokens, 16, fp8, bf16}, choice);
            if (!p.fits) continue;
            INFO(fp8 << " + " << bf16 << " tiles, " << p.clusters << " clusters, late " << p.late);
            std::vector<int> owner(static_cast<size_t>(fp8 + bf16), -1);
            int most = 0;
            for (int c = 0; c < p.clusters; ++c) {
              int before = -1, work = 0;
              const SmallTiles dealt = SmallTilesOf(p, c);
              REQUIRE(dealt.count >= 1);
              REQUIRE(dealt.count <= p.most_tiles);
              for (int t = 0; t < dealt.count; ++t) {
                const int tile = SmallTile(dealt, t);
                REQUIRE(tile > before);  // in rising order, or its segment is not found
                REQUIRE(tile < fp8 + bf16);
                REQUIRE(owner[static_cast<size_t>(tile)] == -1);
                owner[static_cast<size_t>(tile)] = c;
                work += tile >= fp8 ? 2 : 1;
                before = tile;
              }
              most = std::max(most, work);
            }
            REQUIRE(std::count(owner.begin(), owner.end(), -1) == 0);
            if (p.late == 0) continue;
            ++plans;
            REQUIRE(p.late == bf16);
            REQUIRE(most == (fp8 + 2 * bf16 + p.clusters - 1) / p.clusters);
          }
  CHECK(plans > 300);
}

TEST_CASE("sixteen slices of K where they were measured to be the fastest") {
  struct {
    SmallShape shape;  // tokens, blocks, tiles in FP8 and BF16
    int slices, halves;
  } const cases[] = {{{1, 32, 32, 2}, 16, 1}, {{16, 32, 32, 2}, 16, 1}, {{8, 56, 33, 4}, 16, 1},
                     {{12, 56, 33, 4}, 8, 1}, {{8, 40, 64, 2}, 8, 1},   {{16, 40, 64, 2}, 8, 2},
                     {{1, 56, 0, 4}, 16, 1},  {{32, 56, 0, 4}, 16, 1},  {{8, 16, 0, 1}, 16, 1},
                     {{8, 16, 0, 8}, 8, 1},   {{1, 32, 0, 8}, 16, 1},   {{4, 16, 192, 1}, 8, 1},
                     {{1, 32, 32, 0}, 16, 1}, {{1, 48, 80, 0}, 8, 1},   {{1, 16, 16, 0}, 8, 1},
                     {{4, 8, 0, 1}, 8, 1},    {{16, 56, 9, 0}, 16, 1},  {{16, 40, 24, 0}, 16, 1},
                     {{128, 56, 0, 1}, 16, 1}};
  for (const auto& c : cases) {
    INFO(c.shape.tokens << " tokens, " << c.shape.blocks << " blocks, " << c.shape.fp8_tiles
                        << " + " << c.shape.bf16_tiles << " tiles");
    const SmallPlan p = PlanSmall(c.shape);
    REQUIRE(p.fits);
    CHECK(1 << p.log_slices == c.slices);
    CHECK(p.halves == c.halves);
  }
}

TEST_CASE("x with one scale a token comes quantized, in slices that were measured to be fast") {
  struct {
    int tokens, blocks, tiles, slices, halves;
  } const cases[] = {{1, 32, 64, 8, 1},   {1, 16, 192, 2, 1},  {1, 32, 16, 8, 1},
                     {1, 32, 448, 8, 1},  {8, 112, 64, 16, 1}, {16, 32, 64, 8, 1},
                     {16, 16, 192, 2, 1}, {16, 32, 448, 2, 2}, {16, 112, 64, 8, 2},
                     {32, 32, 64, 2, 2},  {32, 32, 16, 4, 2},  {32, 32, 448, 4, 1},
                     {32, 112, 64, 8, 1}, {1, 1, 1, 1, 1},     {3, 5, 700, 2, 1}};
  for (const auto& c : cases) {
    INFO(c.tokens << " tokens, " << c.blocks << " blocks, " << c.tiles << " tiles");
    for (const int asked : {SmallChoice::kByRule, 0, 1}) {
      SmallChoice choice;
      choice.quantized = asked;
      const SmallPlan p = PlanSmall({c.tokens, c.blocks, c.tiles, 0, true}, choice);
      REQUIRE(p.fits);
      CHECK(p.quantized);
      CHECK(1 << p.log_slices == c.slices);
      CHECK(p.halves == c.halves);
    }
  }
}

TEST_CASE("a small plan of more than 32 tokens lays tiles of tokens side by side") {
  SmallChoice four;
  four.slices = 4;
  // 2 × 16 clusters of 4 CTAs: each has a tile of rows of its own.
  const SmallPlan two = PlanSmall({40, 16, 16, 0}, four);
  REQUIRE(two.fits);
  CHECK(two.token_tiles == 2);
  CHECK(two.clusters == 16);
  // With one tile of tokens the same clusters, rows and sums.
  const SmallPlan one = PlanSmall({32, 16, 16, 0}, four);
  CHECK(one.token_tiles == 1);
  CHECK(one.clusters == two.clusters);
  CHECK(one.log_slices == two.log_slices);
  CHECK(one.most_blocks == two.most_blocks);
  // Many tiles: clusters of all tiles of tokens together, not of each, fill the GPU.
  const SmallPlan many = PlanSmall({300, 16, 190, 10}, four);
  REQUIRE(many.fits);
  CHECK(many.token_tiles == 10);
  CHECK(many.clusters * many.token_tiles <= 2 * ClustersThatFit(4));
  CHECK(many.clusters >= 1);
  const int most = kSmallTokens * kSmallTokenTiles;
  CHECK(PlanSmall({most, 16, 1, 0}).fits);
  CHECK_FALSE(PlanSmall({most + 1, 16, 1, 0}).fits);
}

TEST_CASE("plans of the shapes that were measured do not fail for want of room") {
  // tokens, blocks of K, tiles: the widest K of the releases that are served.
  CHECK(PlanSmall({32, 18432 / 128, 7168 / 64, 0}).fits);
  CHECK(PlanSmall({32, 16384 / 128, 7168 / 64, 0}).fits);
  CHECK(PlanSmall({1, 2048 / 128, 12288 / 64, 1}).fits);
}

TEST_CASE("huge weights of BF16 share out K alike for few tokens and more") {
  // Of FP8 two slices are faster with up to eight tokens, of BF16 they took half as long again.
  for (const int tiles : {18432 / 64, 36864 / 64})
    for (const int tokens : {1, 8})
      CHECK(PlanSmall({tokens, 56, 0, tiles}).log_slices ==
            PlanSmall({16, 56, 0, tiles}).log_slices);
}

TEST_CASE("a tile plan fits shared memory and shares out all of K") {
  for (const int64_t tokens : {1, 16, 17, 33, 64, 65, 129, 1000, 4096, 100000})
    for (int blocks = 1; blocks < 260; blocks += blocks < 20 ? 1 : 37)
      for (const int64_t rows : {1, 3, 16, 17, 60, 288}) {
        TileShape shape;
        shape.tokens = tokens;
        shape.blocks = blocks;
        shape.row_blocks = rows;
        shape.wide_tiles = (rows + 1) / 2;
        const TilePlan p = PlanTile(shape);
        INFO(tokens << " tokens, " << blocks << " blocks, " << rows << " row blocks");
        REQUIRE(p.token_tiles * p.token_tile >= tokens);
        REQUIRE(p.slices <= blocks);
        REQUIRE((p.slices == 1 || p.row_tile == 128));
        REQUIRE((p.row_tile == 128 || p.token_tile == 128));
        REQUIRE(p.stages >= 2);
        REQUIRE(p.shared <= 227 * 1024);
        REQUIRE(p.x_box % 1024 == 0);
        REQUIRE(p.staging % 16 == 0);
        REQUIRE(p.x_scales % 16 == 0);
        REQUIRE(p.barriers % 8 == 0);
        REQUIRE(p.clusters >= 1);
      }
}

TEST_CASE("where a device holds fewer clusters, its plans do with them, and no other's") {
  CHECK(ClustersThatFit(8) == 15);
  const SmallShape shape{4, 56, 448, 0};
  SmallChoice eight;
  eight.slices = 8;
  GpuRoom less, least;
  less.clusters[8] = 14;
  least.clusters[8] = 13;
  {
    const PlanFor one(&less);
    CHECK(ClustersThatFit(8) == 14);
    CHECK(ClustersThatFit(3) == 39);
    const SmallPlan plan = PlanSmall(shape, eight);
    CHECK(plan.clusters == 14);
    CHECK(plan.clusters * plan.most_tiles >= 448);
    {
      const PlanFor another(&least);
      CHECK(PlanSmall(shape, eight).clusters == 13);
      int elsewhere = 0;
      std::thread([&] { elsewhere = PlanSmall(shape, eight).clusters; }).join();
      CHECK(elsewhere == 15);
    }
    CHECK(PlanSmall(shape, eight).clusters == 14);
  }
  CHECK(PlanSmall(shape, eight).clusters == 15);
}

namespace {

// A GPU of compute capability 9.0 with fewer multiprocessors than an H200; 16 together there are
// only where a group of multiprocessors has as many.
GpuRoom RoomOf(int multiprocessors, int of_16) {
  GpuRoom room;
  room.multiprocessors = multiprocessors;
  for (int slices = 1; slices <= 8; ++slices) room.clusters[slices] = multiprocessors / slices - 1;
  room.clusters[1] = multiprocessors;
  room.clusters[16] = of_16;
  return room;
}

}  // namespace

TEST_CASE("plans for fewer multiprocessors have every tile once, in clusters that there are") {
  for (const GpuRoom& room : {RoomOf(132, 7), RoomOf(114, 5), RoomOf(78, 0), RoomOf(16, 0)}) {
    const PlanFor plan_for(&room);
    INFO(room.multiprocessors << " multiprocessors");
    int fitted = 0;
    for (const int tokens : {1, 8, 9, 16, 32, 64, 300, 4096})
      for (const int blocks : {1, 4, 16, 17, 32, 56, 128})
        for (const int fp8 : {0, 1, 4, 24, 77, 200})
          for (const int bf16 : {0, 1, 16}) {
            const SmallShape shape{tokens, blocks, fp8, bf16};
            for (const int asked : {0, 2, 8, 16}) {
              SmallChoice choice;
              choice.slices = asked;
              const SmallPlan p = PlanSmall(shape, choice);
              if (!p.fits) continue;
              ++fitted;
              INFO(tokens << " tokens, " << blocks << " blocks, " << fp8 << " + " << bf16
                          << " tiles, slices " << asked);
              REQUIRE(ClustersThatFit(1 << p.log_slices) > 0);
              std::vector<int> taken(static_cast<size_t>(fp8 + bf16));
              for (int c = 0; c < p.clusters; ++c) {
                const SmallTiles tiles = SmallTilesOf(p, c);
                for (int t = 0; t < tiles.count; ++t)
                  ++taken[static_cast<size_t>(SmallTile(tiles, t))];
              }
              REQUIRE(std::count(taken.begin(), taken.end(), 1) == fp8 + bf16);
            }
          }
    CHECK(fitted > 1000);
    // A choice of 16 CTAs that was measured elsewhere is 8 where there are no such clusters.
    SmallChoice sixteen;
    sixteen.slices = 16;
    const SmallPlan p = PlanSmall({1, 56, 8, 0}, sixteen);
    CHECK(p.fits);
    CHECK(p.log_slices == (room.clusters[16] > 0 ? 4 : 3));
    for (const int64_t tokens : {33, 64, 129, 1000, 8192})
      for (const int64_t rows : {1, 576, 2112, 12288}) {
        INFO(tokens << " tokens, " << rows << " rows");
        TileShape tile;
        tile.tokens = tokens;
        tile.blocks = 16;
        tile.row_blocks = (rows + 127) / 128;
        tile.wide_tiles = (rows + 255) / 256;
        const TilePlan t = PlanTile(tile);
        REQUIRE(t.token_tiles * t.token_tile >= tokens);
        REQUIRE(t.clusters >= 1);
        if (t.slices > 1) REQUIRE(t.clusters == t.token_tiles * tile.row_blocks);
        LargeShape large;
        large.tokens = tokens;
        large.blocks = 16;
        large.rows_of_tiles[0] = rows;
        large.segments = 1;
        const LargePlan l = PlanLarge(large);
        REQUIRE(l.token_tiles * l.token_tile >= tokens);
        REQUIRE(int64_t{l.row_tiles} * l.row_tile >= rows);
        REQUIRE(l.clusters >= 1);
        REQUIRE(l.slices <= 8);
        const int64_t groups = int64_t{l.token_groups} * l.row_groups;
        REQUIRE(l.clusters <= groups);
        if (l.slices > 1) REQUIRE(l.clusters == groups);
      }
  }
}

TEST_CASE("a plan of many tokens that a thread remembers is not another device's") {
  LargeShape shape;
  shape.tokens = 4096;
  shape.blocks = 16;
  shape.rows_of_tiles[0] = 12288;
  shape.segments = 1;
  const int usual = PlanLarge(shape).clusters;
  const GpuRoom few = RoomOf(78, 0);
  {
    const PlanFor plan_for(&few);
    CHECK(PlanLarge(shape).clusters < usual);
  }
  CHECK(PlanLarge(shape).clusters == usual);
}
