// SPDX-License-Identifier: Apache-2.0
#include "engine/rules/partition.h"

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <sstream>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr int kTps[] = {1, 2, 3, 4, 6, 8, 16};

struct Linear {
  RuleNode node;
  Unit unit;

  Linear(Split split, int64_t rows, int64_t in) {
    node.split = split;
    unit.rows = rows;
    unit.in = in;
  }
  Cut At(int tp) {
    unit.node = &node;
    return Partition(unit, tp);
  }
};

std::vector<int64_t> Rows(const Shard& shard) {
  std::vector<int64_t> rows;
  for (const Range& range : shard.rows)
    for (int64_t row = range.begin; row < range.end; ++row) rows.push_back(row);
  return rows;
}

// How often each row is held by a rank.
std::vector<int> Held(const Cut& cut, int64_t rows) {
  std::vector<int> held(static_cast<size_t>(rows), 0);
  for (const Shard& shard : cut.ranks)
    for (const int64_t row : Rows(shard)) ++held.at(static_cast<size_t>(row));
  return held;
}

std::string Refusal(Linear linear, int tp) {
  const Cut cut = linear.At(tp);
  CHECK(cut.ranks.empty());
  return cut.why;
}

JsonValue FixtureJson(const std::string& name) {
  std::ifstream in(FixturePath(name));
  REQUIRE(in);
  std::stringstream text;
  text << in.rdbuf();
  return Json(text.str());
}

}  // namespace

TEST_CASE("plain rows are cut evenly or not at all") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = 1 + static_cast<int64_t>(random() % 400);
    Linear linear(Split::kColumn, rows, 7);
    for (const int tp : kTps) {
      const Cut cut = linear.At(tp);
      CHECK(cut.ranks.empty() == (rows % tp != 0));
      if (cut.ranks.empty()) continue;
      REQUIRE(cut.ranks.size() == static_cast<size_t>(tp));
      CHECK(Held(cut, rows) == std::vector<int>(static_cast<size_t>(rows), 1));
      for (const Shard& shard : cut.ranks) {
        CHECK(shard.row_count() == rows / tp);
        CHECK(shard.rows.size() == 1);
        CHECK(shard.cols == Range{0, 7});
      }
    }
  }
}

TEST_CASE("columns are cut evenly, and every rank has all rows") {
  for (const int tp : kTps) {
    Linear linear(Split::kRow, 10, 48);
    const Cut cut = linear.At(tp);
    REQUIRE(cut.ranks.size() == static_cast<size_t>(tp));
    int64_t at = 0;
    for (const Shard& shard : cut.ranks) {
      CHECK(shard.cols.begin == at);
      at = shard.cols.end;
      CHECK(shard.cols.size() == 48 / tp);
      CHECK(shard.rows == std::vector<Range>{{0, 10}});
    }
    CHECK(at == 48);
  }
  CHECK(Refusal(Linear(Split::kRow, 10, 50), 4) == "50 columns do not divide by 4");
  CHECK(Refusal(Linear(Split::kColumn, 50, 10), 4) == "50 rows do not divide by 4");
}

TEST_CASE("what is not split is held whole by every rank") {
  Linear linear(Split::kNone, 5, 3);
  const Cut cut = linear.At(16);
  CHECK(Held(cut, 5) == std::vector<int>(5, 16));
}

TEST_CASE("head groups are never cut, and are replicated only where the rule says so") {
  std::mt19937 random(2);
  int refused = 0, repeated = 0;
  for (int round = 0; round < 400; ++round) {
    const int64_t groups = 1 + static_cast<int64_t>(random() % 16);
    const int64_t height = 1 + static_cast<int64_t>(random() % 9);
    Linear linear(Split::kColumn, groups * height, 4);
    linear.unit.per = groups;
    linear.node.replicate = random() % 2 == 0;
    for (const int tp : kTps) {
      const Cut cut = linear.At(tp);
      const bool shares = groups % tp == 0;
      const bool repeats = !shares && linear.node.replicate && tp % groups == 0;
      REQUIRE(cut.ranks.empty() == !(shares || repeats));
      if (cut.ranks.empty()) {
        CHECK(cut.why ==
              (tp > groups && !linear.node.replicate
                   ? fmt::format("{} head groups are fewer than {} ranks", groups, tp)
                   : fmt::format("{} head groups cannot be shared by {} ranks", groups, tp)));
        ++refused;
        continue;
      }
      const int times = repeats ? static_cast<int>(tp / groups) : 1;
      repeated += times > 1 ? 1 : 0;
      CHECK(Held(cut, groups * height) ==
            std::vector<int>(static_cast<size_t>(groups * height), times));
      int64_t last = -1;
      for (const Shard& shard : cut.ranks) {
        REQUIRE(shard.rows.size() == 1);  // contiguous, so an interleaved group stays whole
        CHECK(shard.rows[0].begin % height == 0);
        CHECK(shard.rows[0].end % height == 0);
        CHECK(shard.rows[0].begin >= last);  // neighbours hold the same group
        last = shard.rows[0].begin;
      }
    }
  }
  CHECK(refused > 100);
  CHECK(repeated > 50);
}

TEST_CASE("slices are cut one by one, each between its own groups") {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    Linear linear(Split::kColumn, 0, 4);
    const char* names[] = {"q", "k", "v"};
    for (int s = 0; s < 3; ++s) {
      Slice slice;
      slice.name = names[s];
      slice.groups = random() % 4 == 0 ? 0 : static_cast<int64_t>(1 + random() % 12);
      slice.rows = (slice.groups > 0 ? slice.groups : 4) * static_cast<int64_t>(1 + random() % 5);
      slice.replicate = s > 0 && random() % 2 == 0;
      linear.unit.rows += slice.rows;
      linear.unit.slices.push_back(slice);
    }
    for (const int tp : kTps) {
      const Cut cut = linear.At(tp);
      // The same three as linears of their own: their shards side by side are this one's.
      std::vector<std::vector<int64_t>> expected(static_cast<size_t>(tp));
      std::string why;
      int64_t begin = 0;
      for (const Slice& slice : linear.unit.slices) {
        Linear alone(Split::kColumn, slice.rows, 4);
        alone.unit.per = slice.groups;
        alone.node.replicate = slice.replicate;
        const Cut own = alone.At(tp);
        if (own.ranks.empty() && why.empty()) why = "slice `" + slice.name + "`: " + own.why;
        for (size_t rank = 0; rank < own.ranks.size(); ++rank)
          for (const int64_t row : Rows(own.ranks[rank])) expected[rank].push_back(begin + row);
        begin += slice.rows;
      }
      CHECK(cut.why == why);
      if (!why.empty()) continue;
      for (size_t rank = 0; rank < expected.size(); ++rank)
        CHECK(Rows(cut.ranks[rank]) == expected[rank]);
    }
  }
}

TEST_CASE("stored row groups: MiMo's four groups of 3,392 rows") {
  // 64 query heads of 192, 4 KV heads of 192 and 128: [16 q | 1 k | 1 v] in each of 4 groups.
  Linear linear(Split::kColumn, 4 * 3392, 4096);
  linear.unit.groups = 4;
  linear.unit.slices = {
      {"q", 64 * 192, 64, false}, {"k", 4 * 192, 4, true}, {"v", 4 * 128, 4, true}};
  for (const int tp : {1, 2, 4}) {
    const Cut cut = linear.At(tp);
    REQUIRE(cut.ranks.size() == static_cast<size_t>(tp));
    for (int rank = 0; rank < tp; ++rank)
      CHECK(cut.ranks[static_cast<size_t>(rank)].rows ==
            std::vector<Range>{{3392 * 4 / tp * rank, 3392 * 4 / tp * (rank + 1)}});
  }
  const Cut eight = linear.At(8);
  REQUIRE(eight.ranks.size() == 8);
  CHECK(eight.ranks[0].rows == std::vector<Range>{{0, 1536}, {3072, 3392}});  // 8 q, then k and v
  CHECK(eight.ranks[1].rows == std::vector<Range>{{1536, 3392}});
  CHECK(eight.ranks[6].rows == std::vector<Range>{{10176, 11712}, {13248, 13568}});
  std::vector<int> held(13568, 1);
  for (int group = 0; group < 4; ++group)
    for (int row = 3072; row < 3392; ++row) held[static_cast<size_t>(group * 3392 + row)] = 2;
  CHECK(Held(eight, 13568) == held);
  CHECK(Refusal(linear, 3) == "4 stored row groups cannot be shared by 3 ranks");
  CHECK(Refusal(linear, 128) == "slice `q`: 16 head groups are fewer than 32 ranks");
  linear.unit.slices[1].groups = 6;
  CHECK(Refusal(linear, 8) == "the 6 heads of `k` do not divide by 4 stored groups");
}

TEST_CASE("every linear of every fixture is tiled by its ranks, or refused with a reason") {
  int64_t tiled = 0, refused = 0;
  for (const char* name : {"tiny/qwen3_next_fp8", "tiny/qwen3_5_fp8", "qwen3_8b_fp8", "qwen3_5_27b",
                           "qwen3_5_35b_a3b", "glm_4_5_fp8", "deepseek_v3"}) {
    for (const int tp : kTps) {
      const Planned planned = PlanOfFixture(name, tp);
      std::map<const Cut*, const Unit*> seen;
      for (const Unit& unit : planned.plan->decisions.units.units) {
        if (!IsLinear(unit.kind)) continue;
        const Cut* cut = planned.plan->CutOf(unit);
        if (!seen.emplace(cut, &unit).second) continue;
        INFO(name << " tp " << tp << " " << unit.Display());
        if (cut->ranks.empty()) {
          CHECK_FALSE(cut->why.empty());
          ++refused;
          continue;
        }
        ++tiled;
        int64_t cells = 0, columns = 0;
        std::vector<int> held(static_cast<size_t>(unit.rows), 0);
        for (const Shard& shard : cut->ranks) {
          columns += shard.cols.size();
          for (const Range& range : shard.rows) {
            REQUIRE(range.begin >= 0);
            REQUIRE(range.end <= unit.rows);
            for (int64_t row = range.begin; row < range.end; ++row)
              ++held[static_cast<size_t>(row)];
          }
          cells += shard.row_count() * shard.cols.size();
        }
        if (unit.node->split == Split::kRow) {
          CHECK(columns == unit.in);
          CHECK(cells == unit.rows * unit.in);
          continue;
        }
        bool replicated = unit.node->replicate || unit.node->split == Split::kNone;
        for (const Slice& slice : unit.slices) replicated = replicated || slice.replicate;
        const auto [least, most] = std::minmax_element(held.begin(), held.end());
        CHECK(*least >= 1);
        CHECK((*most == 1 || replicated));
        if (unit.node->split == Split::kNone) CHECK(*least == tp);
      }
    }
  }
  CHECK(tiled > 300);
  CHECK(refused > 50);
}

TEST_CASE("the tiny checkpoints are cut as recorded") {
  for (const std::string name : {"tiny/qwen3_next_fp8", "tiny/qwen3_5_fp8"}) {
    const JsonValue expect = FixtureJson(name + "/expect.json");
    for (const int tp : {1, 2}) {
      const Planned planned = PlanOfFixture(name, tp);
      size_t compared = 0;
      for (const JsonValue module : expect.Find("modules")) {
        const std::string path(module.name());
        INFO(path << " tp " << tp);
        const int32_t id = planned.plan->Find(path);
        REQUIRE(id >= 0);
        const Unit& unit = planned.plan->decisions.UnitOf(id);
        CHECK(unit.rows == module.Find("rows").AsInt());
        CHECK(unit.in == module.Find("cols").AsInt());
        CHECK(SplitName(unit.node->split) == module.Find("split").Text());
        CHECK(planned.Scheme(path) == module.Find("stored").Text());
        const Cut* cut = planned.plan->CutOf(unit);
        REQUIRE(cut->ranks.size() == static_cast<size_t>(tp));
        ++compared;
        const JsonValue ranks = module.Find("ranks").Find("tp" + std::to_string(tp));
        for (size_t rank = 0; rank < cut->ranks.size(); ++rank) {
          std::vector<Range> rows = {{0, unit.rows}};
          Range cols = {0, unit.in};
          if (const JsonValue recorded = ranks[rank].Find("rows")) {
            rows.clear();
            for (const JsonValue range : recorded)
              rows.push_back({*range[0].AsInt(), *range[1].AsInt()});
          }
          if (const JsonValue recorded = ranks[rank].Find("cols"))
            cols = {*recorded[0].AsInt(), *recorded[1].AsInt()};
          CHECK(cut->ranks[rank].rows == rows);
          CHECK(cut->ranks[rank].cols == cols);
        }
      }
      CHECK(compared == expect.Find("modules").size());
      for (const JsonValue fused : expect.Find("fused")) {
        const std::string path(fused.name());
        INFO(path << " tp " << tp);
        CHECK(planned.Scheme(path) == fused.Find("scheme").Text());
        const Unit& unit = planned.plan->decisions.UnitOf(planned.plan->Find(path));
        const Cut* cut = planned.plan->CutOf(unit);
        const JsonValue rows = fused.Find("rows_per_rank").Find("tp" + std::to_string(tp));
        for (size_t rank = 0; rows && rank < cut->ranks.size(); ++rank)
          CHECK(cut->ranks[rank].row_count() == rows[rank].AsInt());
        REQUIRE(unit.parts.size() == fused.Find("parts").size());
        for (size_t p = 0; p < unit.parts.size(); ++p)
          CHECK(planned.plan->decisions.units.units[static_cast<size_t>(unit.parts[p])].PathOf(0) ==
                fused.Find("parts")[p].Text());
      }
    }
  }
}
