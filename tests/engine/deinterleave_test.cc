// SPDX-License-Identifier: Apache-2.0
// The property of the two formats: rows of Qwen3-Next's interleaved tensors, put in order by the
// plan's groups and slices, are Qwen3.5's plain tensors; for every rank as for the whole.
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

using Rows = std::vector<int64_t>;  // what stands in each row, as a number

// The rows of each slice of an interleaved unit, groups side by side: what the rule says.
std::map<std::string, Rows> Apart(const Unit& unit, const Rows& stored, int64_t groups) {
  std::map<std::string, Rows> slices;
  const int64_t height = static_cast<int64_t>(stored.size()) / groups;
  for (int64_t group = 0; group < groups; ++group) {
    int64_t at = group * height;
    for (const Slice& slice : unit.slices) {
      const int64_t rows = slice.rows / unit.per;
      for (int64_t i = 0; i < rows; ++i)
        slices[slice.name].push_back(stored[static_cast<size_t>(at++)]);
    }
    CHECK(at == (group + 1) * height);
  }
  return slices;
}

Rows Taken(const Rows& stored, const std::vector<Range>& ranges) {
  Rows out;
  for (const Range& range : ranges)
    out.insert(out.end(), stored.begin() + range.begin, stored.begin() + range.end);
  return out;
}

Rows operator+(Rows a, const Rows& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Unit& UnitAt(const Planned& planned, const std::string& path) {
  INFO(path);
  const int32_t id = planned.plan->Find(path);
  REQUIRE(id >= 0);
  return planned.plan->decisions.UnitOf(id);
}

struct Dims {
  int64_t k_heads, ratio, k_dim, v_dim;
};

// Qwen3-Next's or Qwen3.5's tiny config with other sizes, without headers.
Planned Sized(const std::string& fixture, const Dims& dims, int tp) {
  Model model = Model::Of(fixture);
  model.headers = false;
  std::string& text = fixture == "tiny/qwen3_next_fp8" ? model.config["linear_num_key_heads"]
                                                       : model.config["text_config"];
  const std::map<std::string, int64_t> sizes = {
      {"linear_num_key_heads", dims.k_heads},
      {"linear_num_value_heads", dims.k_heads * dims.ratio},
      {"linear_key_head_dim", dims.k_dim},
      {"linear_value_head_dim", dims.v_dim}};
  if (fixture == "tiny/qwen3_next_fp8") {
    for (const auto& [key, value] : sizes) model.config[key] = std::to_string(value);
  } else {
    const JsonValue section = Json(text);
    std::string changed;
    for (const JsonValue value : section) {
      const auto size = sizes.find(std::string(value.name()));
      changed += (changed.empty() ? "{" : ", ") + JsonText(value.name()) + ": " +
                 (size == sizes.end() ? value.ToString() : std::to_string(size->second));
    }
    text = changed + "}";
  }
  return PlanOf(model, tp);
}

}  // namespace

TEST_CASE("the plan's groups and slices give the recorded permutation") {
  std::ifstream in(FixturePath("tiny/qwen3_next_fp8/deinterleave.json"));
  std::stringstream text;
  text << in.rdbuf();
  const JsonValue recorded = Json(text.str());
  const Planned planned = PlanOfFixture("tiny/qwen3_next_fp8");
  const std::string attention = "model.layers.0.linear_attn.";
  std::map<std::string, std::map<std::string, Rows>> slices;
  for (const std::string name : {"in_proj_qkvz", "in_proj_ba"}) {
    const Unit& unit = UnitAt(planned, attention + name);
    CHECK(unit.per == recorded.Find("groups").AsInt());
    Rows stored(static_cast<size_t>(unit.rows));
    for (size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<int64_t>(i);
    slices[name] = Apart(unit, stored, unit.per);
  }
  const auto indices = [&](const char* unified, const char* plain) {
    Rows rows;
    for (const JsonValue index : recorded.Find(unified).Find(plain)) rows.push_back(*index.AsInt());
    REQUIRE_FALSE(rows.empty());
    return rows;
  };
  auto& qkvz = slices["in_proj_qkvz"];
  CHECK(qkvz["q"] + qkvz["k"] + qkvz["v"] == indices("in_proj_qkvz", "in_proj_qkv"));
  CHECK(qkvz["z"] == indices("in_proj_qkvz", "in_proj_z"));
  CHECK(slices["in_proj_ba"]["b"] == indices("in_proj_ba", "in_proj_b"));
  CHECK(slices["in_proj_ba"]["a"] == indices("in_proj_ba", "in_proj_a"));
}

TEST_CASE("a rank's shard of the interleaved tensors holds its shards of the four plain ones") {
  std::mt19937 random(9);
  int cut = 0;
  for (int round = 0; round < 12; ++round) {
    const int64_t key_heads[] = {1, 2, 4, 6, 8, 16};
    const Dims dims{key_heads[random() % 6], static_cast<int64_t>(1 + random() % 4),
                    static_cast<int64_t>(1 + random() % 9), static_cast<int64_t>(1 + random() % 9)};
    for (const int tp : {1, 2, 4, 8}) {
      const Planned next = Sized("tiny/qwen3_next_fp8", dims, tp);
      const Planned plain = Sized("tiny/qwen3_5_fp8", dims, tp);
      const std::string there = "model.layers.1.linear_attn.",
                        here = "model.language_model.layers.1.linear_attn.";
      INFO(dims.k_heads << " key heads, ratio " << dims.ratio << ", tp " << tp);
      const Unit& qkvz = UnitAt(next, there + "in_proj_qkvz");
      const Unit& ba = UnitAt(next, there + "in_proj_ba");
      CHECK(next.plan->CutOf(qkvz)->ranks.empty() == (dims.k_heads % tp != 0));
      if (next.plan->CutOf(qkvz)->ranks.empty()) continue;
      // Every row of the interleaved tensors is a random number; the plain ones are made of them.
      Rows rows_qkvz(static_cast<size_t>(qkvz.rows)), rows_ba(static_cast<size_t>(ba.rows));
      for (int64_t& row : rows_qkvz) row = static_cast<int64_t>(random());
      for (int64_t& row : rows_ba) row = static_cast<int64_t>(random());
      auto whole = Apart(qkvz, rows_qkvz, qkvz.per);
      auto whole_ba = Apart(ba, rows_ba, ba.per);
      std::map<std::string, Rows> stored = {{"in_proj_qkv", whole["q"] + whole["k"] + whole["v"]},
                                            {"in_proj_z", whole["z"]},
                                            {"in_proj_b", whole_ba["b"]},
                                            {"in_proj_a", whole_ba["a"]}};
      for (size_t rank = 0; rank < static_cast<size_t>(tp); ++rank) {
        const auto shard = [&](const Unit& unit, const Rows& rows) {
          const Shard& held = next.plan->CutOf(unit)->ranks[rank];
          CHECK(held.rows.size() == 1);
          return Apart(unit, Taken(rows, held.rows), unit.per / tp);
        };
        const auto expected = [&](const std::string& name) {
          const Unit& unit = UnitAt(plain, here + name);
          REQUIRE(unit.rows == static_cast<int64_t>(stored[name].size()));
          return Taken(stored[name], plain.plan->CutOf(unit)->ranks.at(rank).rows);
        };
        auto mine = shard(qkvz, rows_qkvz), mine_ba = shard(ba, rows_ba);
        CHECK(mine["q"] + mine["k"] + mine["v"] == expected("in_proj_qkv"));
        CHECK(mine["z"] == expected("in_proj_z"));
        CHECK(mine_ba["b"] == expected("in_proj_b"));
        CHECK(mine_ba["a"] == expected("in_proj_a"));
        // The fused names of Qwen3.5 hold the same, part after part.
        const Unit& fused = UnitAt(plain, here + "in_proj_qkvz");
        CHECK(Taken(stored["in_proj_qkv"] + stored["in_proj_z"],
                    plain.plan->CutOf(fused)->ranks.at(rank).rows) ==
              expected("in_proj_qkv") + expected("in_proj_z"));
      }
      ++cut;
    }
  }
  CHECK(cut > 20);
}
