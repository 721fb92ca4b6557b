// SPDX-License-Identifier: Apache-2.0
// How linears of many tokens are cut up: every tile is covered once, memory suffices.
#include "kernels/large_plan.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace ferrule;

namespace {

LargeShape ShapeOf(int64_t tokens, int64_t rows, int blocks) {
  LargeShape shape;
  shape.tokens = tokens;
  shape.blocks = blocks;
  shape.rows_of_tiles[0] = rows;
  shape.segments = 1;
  return shape;
}

}  // namespace

TEST_CASE("BF16 beside FP8, or alone, is cut into tiles whose boxes fit their stages") {
  int pairs = 0;
  for (const int64_t tokens : {1, 33, 64, 65, 200, 1000, 8192})
    for (const int64_t fp8_rows : {0, 8, 200, 1024, 12288})
      for (const int64_t bf16_rows : {1, 64, 513, 4096})
        for (const int blocks : {1, 4, 16, 56})
          for (const int tile : {0, 32, 64, 96, 128, 192})
            for (const int bf16_tile : {0, 16, 32, 64})
              for (const int slices : {0, 1, 3, 8}) {
                LargeShape shape = ShapeOf(tokens, bf16_rows, blocks);
                shape.bf16[0] = true;
                if (fp8_rows > 0) shape.rows_of_tiles[shape.segments++] = fp8_rows;
                const LargePlan p = PlanLarge(shape, {0, tile, slices, 4, 2, bf16_tile});
                INFO(tokens << " tokens, " << fp8_rows << " and " << bf16_rows << " rows, "
                            << blocks << " blocks, tile of " << p.token_tile << " x " << p.row_tile
                            << " and " << p.bf16_tile);
                REQUIRE(LargeTileExists(p.token_tile, p.row_tile));
                REQUIRE(p.bf16_tile <= p.row_tile);
                REQUIRE((p.bf16_tile == 16 || p.bf16_tile == 32 || p.bf16_tile == 64));
                const int64_t fp8_tiles = (fp8_rows + p.row_tile - 1) / p.row_tile;
                const int64_t bf16_tiles = (bf16_rows + p.bf16_tile - 1) / p.bf16_tile;
                REQUIRE(p.row_tiles == fp8_tiles + bf16_tiles);
                // Both boxes of W, and the second of x, where a stage has W of FP8.
                if (p.bf16_boxes == 2) {
                  ++pairs;
                  REQUIRE(p.token_tile + 2 * p.bf16_tile <= p.row_tile);
                } else {
                  REQUIRE(p.bf16_boxes == 1);
                }
                // Those who share must walk through K alike.
                REQUIRE(p.share_x == 1);
                REQUIRE(p.share_w == 1);
                REQUIRE(p.slices <= blocks);
                REQUIRE(p.in_flight <= p.stages - 2);
                REQUIRE(p.shared <= static_cast<size_t>(p.resident == 2 ? 113 : 227) * 1024);
                if (p.slices > 1) REQUIRE(p.clusters == p.token_tiles * p.row_tiles);
              }
  CHECK(pairs > 0);
}

TEST_CASE("by rule and by choice plans fit the device and cover their tiles") {
  std::map<LargeWork, int> works;
  for (const int64_t tokens : {33, 64, 129, 512, 1000, 4096, 100000})
    for (const int64_t rows : {8, 64, 200, 2112, 12288, 36864})
      for (const int blocks : {1, 4, 16, 56, 144})
        for (const int tile : {0, 32, 64, 80, 112, 128, 160, 192})
          for (const int slices : {0, 1, 2, 3, 4, 8})
            for (const int share : {0, 1, 2, -2, 4}) {
              const LargeShape shape = ShapeOf(tokens, rows, blocks);
              const LargePlan p = PlanLarge(shape, {0, tile, slices, share});
              INFO(tokens << " tokens, " << rows << " rows, " << blocks << " blocks, tile of "
                          << p.token_tile << " x " << p.row_tile);
              REQUIRE(LargeTileExists(p.token_tile, p.row_tile));
              REQUIRE(p.token_tiles * p.token_tile >= tokens);
              REQUIRE((p.token_tiles - 1) * p.token_tile < tokens);
              REQUIRE(int64_t{p.row_tiles} * p.row_tile >= rows);
              REQUIRE(p.stages >= 3);
              REQUIRE(p.shared <= static_cast<size_t>(p.resident == 2 ? 113 : 227) * 1024);
              const int ring_end = p.barriers + 24 * p.stages;
              const int shared = static_cast<int>(p.shared) - 1023;
              REQUIRE(ring_end <= shared);
              REQUIRE(p.in_flight >= 1);
              // Else those who read and who fills wait for one another.
              REQUIRE(p.in_flight <= p.stages - (p.token_tile == 256 ? 1 : 2));
              // y on its way out, where no ring is or was; boxes lie where their swizzle begins
              // anew, and a warp sends an eighth of a tile.
              const int64_t groups = (p.token_tiles + p.share_w - 1) / p.share_w *
                                     ((p.row_tiles + p.share_x - 1) / p.share_x);
              const bool again = groups > p.clusters;
              REQUIRE(p.sends == (again && p.token_tile > 64));
              if (p.sends) {
                REQUIRE(p.staging % 1024 == 0);
                REQUIRE(p.y_bytes % (8 * LargeBox(p.row_tile)) == 0);
                REQUIRE(p.y_bytes * 8 == p.token_tile * p.row_tile * 2);
              } else {
                REQUIRE(p.staging % 16 == 0);
                REQUIRE(p.y_bytes == kLargeStaging);
              }
              const int end = p.staging + 8 * p.y_bytes;
              if (again) {
                REQUIRE(p.staging >= ring_end);
                REQUIRE(end <= shared);
              } else {
                REQUIRE(end <= p.barriers);
              }
              ++works[p.work];
              if (p.work != LargeWork::kTiles) {
                REQUIRE(LargeWorks(p.token_tile, p.row_tile, p.work));
                REQUIRE(p.resident == 1);
                REQUIRE(p.share_x * p.share_w == 1);
                REQUIRE(p.slices == PeersOf(p.work));
                REQUIRE_FALSE(again);
              }
              // Each warpgroup has stages of its own; sums change hands in the ring, before y.
              if (p.work == LargeWork::kTurns) {
                REQUIRE(p.stages % 2 == 0);
                REQUIRE(p.staging == 64 * p.row_tile * 4);
              }
              // A barrier for each warp, and its part of a tile's sums from each of the others.
              if (PeersOf(p.work) > 1) {
                REQUIRE(p.exchange % 128 == 0);
                REQUIRE(p.exchange >= ring_end);
                const int parts = p.token_tile * p.row_tile * 4 / PeersOf(p.work);
                REQUIRE(p.exchange + 128 + parts * (PeersOf(p.work) - 1) <= shared);
              }
              REQUIRE(p.slices <= blocks);
              REQUIRE(p.slices * p.share_x * p.share_w <= 8);
              // A cluster that shares out K takes one tile, and has room for its sums.
              if (p.slices > 1) REQUIRE(p.clusters == p.token_tiles * p.row_tiles);
              if (p.slices > 1 && p.work == LargeWork::kTiles) {
                REQUIRE(4 * p.token_tile * (p.row_tile + 8) <= p.x_scales);
              }
              if (p.slices == 1) REQUIRE(p.clusters * p.share_x * p.share_w <= 132 * p.resident);
            }
  CHECK(works.size() == 5);
}

TEST_CASE("a plan that is remembered is the one that is made anew") {
  using Fields = std::array<int64_t, 25>;
  const auto plans = [](bool backwards) {
    std::vector<Fields> all;
    for (int at = 0; at < 900; ++at) {  // many more than are remembered
      const int i = backwards ? 899 - at : at;
      LargeShape shape = ShapeOf(1 + i % 30 * 97, 64 + i % 7 * 1000, 1 + i % 5 * 15);
      shape.rows_of_tiles[1] = 8 + i % 3 * 64;
      shape.segments = 1 + i % 2;
      shape.bf16[1] = i % 4 == 1;
      LargeChoice choice;
      if (i % 6 == 0) choice = {128, 96, 1 + i % 4, 1, 1};
      if (i % 6 == 1) choice.bf16_tile = 32;
      for (int twice = 0; twice < 2; ++twice) {
        const LargePlan p = PlanLarge(shape, choice);
        all.push_back({p.token_tile,
                       p.row_tile,
                       p.bf16_tile,
                       p.bf16_boxes,
                       p.slices,
                       p.share_x,
                       p.share_w,
                       p.clusters,
                       p.row_tiles,
                       p.token_tiles,
                       p.row_groups,
                       p.token_groups,
                       p.token_group,
                       p.in_flight,
                       p.stages,
                       p.resident,
                       p.x_box,
                       p.x_scales,
                       p.barriers,
                       p.sends ? 1 : 0,
                       static_cast<int64_t>(p.work),
                       p.exchange,
                       p.staging,
                       p.y_bytes,
                       static_cast<int64_t>(p.shared)});
      }
    }
    if (backwards) std::reverse(all.begin(), all.end());
    return all;
  };
  std::vector<Fields> here, there;
  plans(true);
  here = plans(false);
  std::thread([&] { there = plans(true); }).join();  // it remembers none of these
  CHECK(here == there);
  CHECK(std::set<Fields>(here.begin(), here.end()).size() > 200);
}

TEST_CASE("the walk over tiles meets every one once, a few token tiles at a time") {
  for (const int64_t tokens : {1, 65, 300, 1000, 1111, 4096, 20000})
    for (const int64_t rows : {8, 64, 200, 2112, 12288})
      for (const int token_tile : {64, 128, 256})
        for (const int share : {1, 2, -2, 4}) {
          const LargePlan p = PlanLarge(ShapeOf(tokens, rows, 16), {token_tile, 128, 1, share});
          INFO(tokens << " tokens, " << rows << " rows, " << p.token_groups << " x " << p.row_groups
                      << " groups, share " << share);
          std::vector<int> met(static_cast<size_t>(p.token_groups * p.row_groups), 0);
          for (int tile = 0; tile < p.token_groups * p.row_groups; ++tile) {
            const LargeGroups g = GroupsOf(p, tile);
            REQUIRE((g.row >= 0 && g.row < p.row_groups));
            REQUIRE((g.token >= 0 && g.token < p.token_groups));
            REQUIRE(g.token / p.token_group == tile / (p.token_group * p.row_groups));
            ++met[static_cast<size_t>(g.token * p.row_groups + g.row)];
          }
          REQUIRE(std::count(met.begin(), met.end(), 1) == static_cast<int64_t>(met.size()));
        }
}

TEST_CASE("a choice is heard, one that no kernel has is not") {
  const LargeShape shape = ShapeOf(512, 4096, 56);
  const LargePlan p = PlanLarge(shape, {128, 96, 2, 1, 1});
  CHECK(p.token_tile == 128);
  CHECK(p.row_tile == 96);
  CHECK(p.slices == 2);
  CHECK_FALSE(LargeTileExists(256, 192));
  CHECK(LargeTileExists(PlanLarge(shape, {256, 192}).token_tile,
                        PlanLarge(shape, {256, 192}).row_tile));
}

TEST_CASE("by rule two CTAs with 64 tokens each share W where K is long") {
  const LargeChoice tile = {64, 128, 1};
  CHECK(PlanLarge(ShapeOf(96, 7168, 128), tile).share_w == 2);
  CHECK(PlanLarge(ShapeOf(128, 7168, 128), tile).share_w == 2);
  CHECK(PlanLarge(ShapeOf(64, 7168, 128), tile).share_w == 1);   // alone
  CHECK(PlanLarge(ShapeOf(192, 7168, 128), tile).share_w == 1);  // three: one would be alone
  CHECK(PlanLarge(ShapeOf(96, 7168, 32), tile).share_w == 1);    // K is short
  CHECK(PlanLarge(ShapeOf(192, 7168, 128), {128, 128, 1}).share_w == 1);
  CHECK(PlanLarge(ShapeOf(96, 7168, 128), {64, 128, 1, 1}).share_w == 1);  // asked otherwise
  CHECK(PlanLarge(ShapeOf(96, 7168, 128), {64, 64, 2}).share_w == 1);      // K is shared out
}

TEST_CASE("where nothing was measured the rule takes what would have been among the fastest") {
  std::ifstream file(FERRULE_TEST_DATA "/kernels/large_ways_h200.tsv");
  struct Cell {
    double fastest = 0, rule = 0;
  };
  std::map<std::array<int64_t, 3>, Cell> cells;  // tokens, rows, columns
  for (std::string line; std::getline(file, line);) {
    if (!std::isdigit(static_cast<unsigned char>(line[0]))) continue;
    std::istringstream fields(line);
    int64_t tokens = 0, rows = 0, columns = 0;
    int token_tile = 0, row_tile = 0, slices = 0, share = 0;
    double us = 0;
    REQUIRE(fields >> tokens >> rows >> columns >> token_tile >> row_tile >> slices >> share >> us);
    const LargePlan p = PlanLarge(ShapeOf(tokens, rows, static_cast<int>((columns + 127) / 128)));
    Cell& cell = cells[{tokens, rows, columns}];
    if (cell.fastest == 0 || us < cell.fastest) cell.fastest = us;
    const int shares = p.share_x == 2 ? 2 : p.share_w == 2 ? -2 : 1;
    if (token_tile == p.token_tile && row_tile == p.row_tile && slices == p.slices &&
        share == shares)
      cell.rule = us;
  }
  REQUIRE(cells.size() == 252);
  std::map<int64_t, std::pair<double, int>> logs;  // of tokens: a sum, how many
  for (const auto& [key, cell] : cells) {
    INFO(key[1] << " x " << key[2] << ", " << key[0] << " tokens");
    CHECK((cell.rule > 0 || key[1] == 64));  // all else was within half as long again
    if (cell.rule == 0) continue;
    logs[key[0]].first += std::log(cell.fastest / cell.rule);
    ++logs[key[0]].second;
  }
  for (const auto& [tokens, log] : logs) {
    INFO(tokens << " tokens");
    CHECK(std::exp(log.first / log.second) > 0.95);
  }
}

TEST_CASE("beside BF16 the rule takes what was among the fastest") {
  std::ifstream file(FERRULE_TEST_DATA "/kernels/bf16_ways_h200.tsv");
  struct Cell {
    double fastest = 0, rule = 0;
  };
  std::map<std::array<int64_t, 5>, Cell> cells;  // tokens, rows of three segments, columns
  for (std::string line; std::getline(file, line);) {
    if (!std::isdigit(static_cast<unsigned char>(line[0]))) continue;
    std::istringstream fields(line);
    std::array<int64_t, 5> key{};
    int token_tile = 0, row_tile = 0, slices = 0, bf16_tile = 0;
    double us = 0;
    for (int64_t& number : key) REQUIRE(fields >> number);
    REQUIRE(fields >> token_tile >> row_tile >> slices >> bf16_tile >> us);
    LargeShape shape = ShapeOf(key[0], key[1], static_cast<int>((key[4] + 127) / 128));
    for (const int64_t rows : {key[2], key[3]}) {
      if (rows == 0) continue;
      shape.bf16[shape.segments] = true;
      shape.rows_of_tiles[shape.segments++] = rows;
    }
    // As gpu_steps.cc asks for it up to 32 tokens.
    const LargePlan p = PlanLarge(shape, key[0] > 32 ? LargeChoice{} : LargeChoice{64, 128});
    Cell& cell = cells[key];
    if (cell.fastest == 0 || us < cell.fastest) cell.fastest = us;
    if (token_tile == p.token_tile && row_tile == p.row_tile && slices == p.slices &&
        bf16_tile == p.bf16_tile)
      cell.rule = us;
  }
  REQUIRE(cells.size() == 36);
  double sum = 0;
  for (const auto& [key, cell] : cells) {
    INFO(key[1] << " beside " << key[2] << " and " << key[3] << " x " << key[4] << ", " << key[0]
                << " tokens");
    REQUIRE(cell.rule > 0);  // all else was within half as long again
    CHECK(cell.rule <= 1.25 * cell.fastest);
    sum += std::log(cell.fastest / cell.rule);
  }
  CHECK(std::exp(sum / static_cast<double>(cells.size())) > 0.96);
}

TEST_CASE("tiles follow the shape") {
  // Work for all without slices.
  CHECK(PlanLarge(ShapeOf(4096, 12288, 16)).token_tile >= 128);
  CHECK(PlanLarge(ShapeOf(4096, 12288, 16)).slices == 1);
  // 132 multiprocessors cannot be filled by tiles of 64 rows: K is shared out.
  CHECK(PlanLarge(ShapeOf(150, 64, 16)).slices > 1);
  // All segments count, each with its own last tile.
  LargeShape two = ShapeOf(512, 100, 16);
  two.rows_of_tiles[1] = 100;
  two.segments = 2;
  CHECK(PlanLarge(two, {128, 128}).row_tiles == 2);
}
