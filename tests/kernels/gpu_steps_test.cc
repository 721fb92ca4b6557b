// SPDX-License-Identifier: Apache-2.0
// Which kernels a group is given to, in words; no GPU is asked.
#include "kernels/gpu_steps.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "kernels/gpu_segments.h"
#include "kernels/gpu_table.h"
#include "tests/catch.h"
#include "tests/kernels/asked_group.h"

using namespace ferrule;

namespace {

LinearSegment Fp8(int64_t rows) {
  LinearSegment s;
  s.scheme = LinearScheme::kFp8Block;
  s.weight = asked_memory;
  s.rows = s.y_stride = rows;
  s.weight_stride = 2048;
  s.scale = reinterpret_cast<const float*>(asked_memory);
  s.scale_stride = 17;
  s.y = asked_memory;
  return s;
}

LinearSegment Bf16(int64_t rows) {
  LinearSegment s = Fp8(rows);
  s.scheme = LinearScheme::kBf16;
  return s;
}

using Group = AskedGroup;

LinearStatus Collect(const GpuStep& step, void* list) {
  static_cast<std::vector<GpuStep>*>(list)->push_back(step);
  return {};
}

std::vector<GpuStep> StepsOf(const LinearGroup& group, const GpuTarget& target = {},
                             const GpuChoice& choice = {}) {
  std::vector<GpuStep> steps;
  REQUIRE(ForEachStep(group, choice, target, Collect, &steps));
  return steps;
}

}  // namespace

TEST_CASE("FP8 and BF16 segments of few tokens go into one launch") {
  const Group g(4, {Fp8(12288), Bf16(64)});
  const std::vector<GpuStep> steps = StepsOf(g.group);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].kernel == GpuKernel::kSmall);
  CHECK(steps[0].count == 2);
  CHECK(steps[0].tiles == 193);
  // As was measured: eight slices up to 16 tokens; from 17 on x is quantized before where W is
  // large and K short, from 25 on else.
  CHECK(steps[0].small.log_slices == 3);
  CHECK(StepsOf(Group(16, {Fp8(12288), Bf16(64)}).group).back().small.log_slices == 3);
  CHECK(StepsOf(Group(16, {Fp8(8192), Bf16(64)}).group).back().small.log_slices == 3);
  for (const int64_t tokens : {17, 24, 25, 32}) {
    const std::vector<GpuStep> many = StepsOf(Group(tokens, {Fp8(12288), Bf16(64)}).group);
    INFO(tokens << " tokens");
    REQUIRE(many.size() == 2);
    CHECK(many[1].kernel == GpuKernel::kLarge);
    CHECK(many[1].large.row_tile == 128);
    CHECK(many[1].large.bf16_boxes == 2);
    const GpuStep some = StepsOf(Group(tokens, {Fp8(3072), Bf16(16)}).group).back();
    CHECK(some.kernel == (tokens < 25 ? GpuKernel::kSmall : GpuKernel::kLarge));
    if (tokens < 25) CHECK(some.small.log_slices == 2);
    const GpuStep little = StepsOf(Group(tokens, {Fp8(512), Bf16(513)}).group).back();
    CHECK(little.kernel == GpuKernel::kSmall);
    CHECK(little.small.log_slices == 3);
  }
}

TEST_CASE("from 17 tokens on x is quantized before, where clusters would do it many times") {
  for (const int64_t tokens : {17, 32}) {
    const std::vector<GpuStep> steps = StepsOf(Group(tokens, {Fp8(1088), Fp8(200)}).group);
    INFO(tokens << " tokens");
    REQUIRE(steps.size() == 2);
    CHECK(steps[0].kernel == GpuKernel::kQuantize);
    CHECK(steps[1].kernel == GpuKernel::kLarge);
    CHECK(steps[1].large.token_tile == 64);
    CHECK(StepsOf(Group(tokens, {Fp8(960)}).group).size() == 1);  // 15 tiles of 16 blocks
    CHECK(StepsOf(Group(tokens, {Fp8(961)}).group).size() == 2);
  }
  CHECK(StepsOf(Group(16, {Fp8(1088), Fp8(200)}).group).size() == 1);
  CHECK(StepsOf(Group(4, {Fp8(1088)}).group).size() == 1);
  // BF16 segments want x as it is: the launch quantizes beside.
  const std::vector<GpuStep> mixed = StepsOf(Group(32, {Fp8(1088), Bf16(64)}).group);
  REQUIRE(mixed.size() == 1);
  CHECK_FALSE(mixed[0].small.quantized);
}

TEST_CASE("many tokens are quantized once for all segments") {
  const Group g(100, {Fp8(512), Bf16(64), Fp8(256)});
  const std::vector<GpuStep> steps = StepsOf(g.group);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0].kernel == GpuKernel::kQuantize);
  CHECK(steps[1].kernel == GpuKernel::kLarge);
  REQUIRE(steps[1].count == 3);
  CHECK(steps[1].segments[0] == 1);  // BF16 takes longer, and begins
  CHECK(steps[1].segments[1] == 0);
  CHECK(steps[1].segments[2] == 2);
}

TEST_CASE("beyond 128 tokens FP8 segments have a kernel of their own") {
  const Group alone(129, {Fp8(512), Fp8(256)});
  const std::vector<GpuStep> two = StepsOf(alone.group);
  REQUIRE(two.size() == 2);
  CHECK(two[0].kernel == GpuKernel::kQuantize);
  CHECK(two[1].kernel == GpuKernel::kLarge);
  CHECK(two[1].count == 2);
  CHECK(ExplainSteps(alone.group, {}, {}).find("large_m_linear: segments 0 1") !=
        std::string::npos);
}

TEST_CASE("BF16 segments join the FP8 ones unless they are much work") {
  for (const int64_t tokens : {129, 8192}) {
    const Group little(tokens, {Fp8(512), Bf16(64), Fp8(256)});
    const std::vector<GpuStep> together = StepsOf(little.group);
    REQUIRE(together.size() == 2);
    CHECK(together[1].kernel == GpuKernel::kLarge);
    CHECK(together[1].count == 3);
    CHECK(together[1].large.bf16_tile > 0);
  }
  CHECK(StepsOf(Group(1192, {Fp8(512), Bf16(4096)}).group).size() == 2);
  CHECK(StepsOf(Group(1193, {Fp8(512), Bf16(4096)}).group).size() == 3);
  const Group much(8192, {Fp8(512), Bf16(4096), Fp8(256)});
  const std::vector<GpuStep> apart = StepsOf(much.group);
  REQUIRE(apart.size() == 3);
  CHECK(apart[0].kernel == GpuKernel::kQuantize);
  CHECK(apart[1].kernel == GpuKernel::kLarge);
  REQUIRE(apart[1].count == 2);
  CHECK(apart[1].segments[0] == 0);
  CHECK(apart[1].segments[1] == 2);
  CHECK(apart[1].large.bf16_tile == 0);
  CHECK(apart[2].kernel == GpuKernel::kLarge);
  CHECK(apart[2].recipe.kind == XKind::kPlain);
  REQUIRE(apart[2].count == 1);
  CHECK(apart[2].segments[0] == 1);
}

TEST_CASE("BF16 that is to be apart goes by rule") {
  GpuChoice apart;
  apart.kernel = GpuKernel::kLarge;
  apart.large = {64, 96, 1, 1, 1, LargeChoice::kApart};
  for (const auto& [rows, kernel] : {std::pair{64, GpuKernel::kSmall}, {512, GpuKernel::kLarge}}) {
    const std::vector<GpuStep> steps = StepsOf(Group(64, {Fp8(1024), Bf16(rows)}).group, {}, apart);
    const std::vector<GpuStep> alone = StepsOf(Group(64, {Bf16(rows)}).group);
    REQUIRE(steps.size() == 3);
    CHECK(steps[1].kernel == GpuKernel::kLarge);
    CHECK(steps[1].large.row_tile == 96);
    CHECK(steps[1].large.bf16_tile == 0);
    CHECK(steps[2].kernel == kernel);
    CHECK(steps[2].kernel == alone[0].kernel);
    CHECK(steps[2].large.token_tile == alone[0].large.token_tile);
    CHECK(steps[2].small.log_slices == alone[0].small.log_slices);
  }
}

TEST_CASE("a group without FP8 is not quantized") {
  const Group g(100, {Bf16(512)});
  const std::vector<GpuStep> steps = StepsOf(g.group);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].kernel == GpuKernel::kLarge);
  CHECK(steps[0].recipe.kind == XKind::kPlain);
}

TEST_CASE("few rows with BF16 go into one launch up to 128 tokens") {
  const auto steps = [](int64_t tokens, const std::vector<LinearSegment>& list) {
    return StepsOf(Group(tokens, list).group);
  };
  const std::vector<std::vector<LinearSegment>> few = {{Bf16(64)}, {Bf16(40), Bf16(24)}, {Bf16(1)}};
  for (const std::vector<LinearSegment>& list : few)
    for (const int64_t tokens : {33, 64, 100, 128}) {
      const std::vector<GpuStep> one = steps(tokens, list);
      REQUIRE(one.size() == 1);
      CHECK(one[0].kernel == GpuKernel::kSmall);
      CHECK(one[0].count == static_cast<int>(list.size()));
      CHECK(one[0].small.token_tile == 32);
      CHECK(one[0].small.token_tiles == (tokens + 31) / 32);
      CHECK_FALSE(one[0].small.quantized);
    }
  for (const std::vector<LinearSegment>& list : few)
    CHECK(steps(129, list).back().kernel == GpuKernel::kLarge);
  CHECK(steps(64, {Bf16(65)}).back().kernel == GpuKernel::kLarge);
  const std::vector<GpuStep> mixture = steps(64, {Fp8(1024), Bf16(512), Bf16(1)});
  CHECK(mixture.back().kernel == GpuKernel::kLarge);
  CHECK(mixture.back().large.slices == 4);  // 25 clusters: 4.8 us, the fastest of 33 cuts on H200
  CHECK(mixture.back().tiles == 25);
  const Group mixed(64, {Fp8(1024), Bf16(512), Bf16(1)});
  CHECK(ExplainSteps(mixed.group, {}, {})
            .find("segments 1 2 0, 25 tiles of 64 rows x 64 tokens, BF16 in "
                  "tiles of 64 rows") != std::string::npos);
  CHECK(steps(64, {Fp8(65)}).back().kernel == GpuKernel::kLarge);
  const Group two(100, {Bf16(40), Bf16(24)});
  const std::string text = ExplainSteps(two.group, {}, {});
  CHECK(text.find("small_m_linear: segments 0 1, 8 tiles of 64 rows x 32 tokens") !=
        std::string::npos);
  CHECK(text.find("8 clusters") != std::string::npos);
}

TEST_CASE("a row of the table says small_m_linear for many tokens as long as it takes them") {
  int seen = 0;
  for (const int64_t rows : {64, 256, 1024})
    for (const int64_t tokens : {33, 64, 100, 128, 256, 512, 1024, 2048, 4096, 4097, 9000}) {
      GpuChoice choice;
      REQUIRE(LookUpGpu(rows, 2048, tokens, &choice) > 0);
      if (choice.kernel != GpuKernel::kSmall) continue;
      ++seen;
      INFO(rows << " rows, " << tokens << " tokens");
      const std::vector<GpuStep> steps = StepsOf(Group(tokens, {Fp8(rows)}).group);
      const GpuStep& last = steps.back();
      if (tokens > 4096) {
        CHECK(last.kernel == GpuKernel::kLarge);
        continue;
      }
      REQUIRE(last.kernel == GpuKernel::kSmall);
      CHECK(last.small.token_tiles == (tokens + 31) / 32);
      const bool before = choice.small.quantized == 1;
      CHECK(steps.size() == (before ? 2 : 1));
      CHECK(std::string(last.why) ==
            (before ? "measured: x is read where it is multiplied, quantized once before"
                    : "measured: x is read and quantized where it is multiplied"));
    }
  CHECK(seen > 0);
}

TEST_CASE("what was measured for one segment holds for several that are cut up alike") {
  int alike = 0;
  for (const int64_t tokens : {1, 8, 16, 30, 64, 100, 200, 400, 1000, 4000}) {
    const GpuStep one = StepsOf(Group(tokens, {Fp8(1024)}).group).back();
    const GpuStep two = StepsOf(Group(tokens, {Fp8(512), Fp8(512)}).group).back();
    INFO(tokens << " tokens");
    REQUIRE(one.measured_up_to > 0);
    // Its tiles may end between the segments: then the rule says what is done.
    CHECK((two.measured_up_to > 0) == (two.tiles == one.tiles && two.kernel == one.kernel &&
                                       two.large.row_tile == one.large.row_tile));
    if (two.measured_up_to == 0) continue;
    ++alike;
    CHECK(two.measured_up_to == one.measured_up_to);
    CHECK(two.small.log_slices == one.small.log_slices);
    CHECK(two.large.token_tile == one.large.token_tile);
    CHECK(two.large.slices == one.large.slices);
    // 1000 rows end inside tiles of any height; BF16 is another launch.
    CHECK(StepsOf(Group(tokens, {Fp8(1000), Fp8(24)}).group).back().measured_up_to == 0);
    CHECK(StepsOf(Group(tokens, {Fp8(960), Bf16(64)}).group).back().measured_up_to == 0);
  }
  CHECK(alike >= 6);
}

TEST_CASE("few rows of BF16 alone, and FP8 with one block of K, have tiles of 8 rows") {
  for (const int64_t tokens : {1, 8, 9}) {
    INFO(tokens << " tokens");
    const std::vector<GpuStep> steps = StepsOf(Group(tokens, {Bf16(64), Bf16(1)}).group);
    REQUIRE(steps.size() == 1);
    CHECK((steps[0].kernel == GpuKernel::kFewRows) == (tokens <= 8));
    CHECK(steps[0].count == 2);
    if (tokens <= 8) CHECK(steps[0].tiles == 9);
    // Beside FP8 they go in its launch.
    CHECK(StepsOf(Group(tokens, {Fp8(64), Bf16(64)}).group).back().kernel == GpuKernel::kSmall);
    Group narrow(tokens, {Fp8(2048)});
    narrow.group.in = 128;
    const std::vector<GpuStep> one = StepsOf(narrow.group);
    REQUIRE(one.size() == 1);
    CHECK((one[0].kernel == GpuKernel::kFewRows) == (tokens <= 8));
    narrow.segments[0].k_phase = 16;  // two blocks
    CHECK(StepsOf(narrow.group)[0].kernel == GpuKernel::kSmall);
  }
}

TEST_CASE(
    "few rows are left to other kernels where x or K do not fit, or sums must keep an order") {
  GpuChoice few;
  few.kernel = GpuKernel::kFewRows;
  CHECK(StepsOf(Group(4, {Bf16(64)}).group, {}, few)[0].kernel == GpuKernel::kFewRows);
  CHECK(StepsOf(Group(300, {Fp8(640)}).group, {}, few)[0].kernel == GpuKernel::kFewRows);
  CHECK(StepsOf(Group(4, {Fp8(64), Bf16(64)}).group, {}, few)[0].kernel != GpuKernel::kFewRows);
  for (const GpuChoice& choice : {few, GpuChoice()}) {
    Group odd(4, {Bf16(64)});
    odd.group.in = 2040;  // no multiple of 16
    CHECK(StepsOf(odd.group, {}, choice)[0].kernel == GpuKernel::kSmall);
    Group unaligned(4, {Bf16(64)});
    unaligned.group.x = asked_memory + 2;
    CHECK(StepsOf(unaligned.group, {}, choice)[0].kernel != GpuKernel::kFewRows);
    Group wide(4, {Bf16(64)});
    wide.group.in = wide.group.x_stride = 32896;  // 257 blocks
    wide.segments[0].weight_stride = 32896;
    CHECK(StepsOf(wide.group, {}, choice)[0].kernel != GpuKernel::kFewRows);
    Group invariant(4, {Bf16(64)});
    invariant.group.batch_invariant = true;
    CHECK(StepsOf(invariant.group, {}, choice)[0].kernel == GpuKernel::kTile);
  }
}

TEST_CASE("more than 32 tokens run in small_m_linear where that is asked for") {
  GpuChoice small;
  small.kernel = GpuKernel::kSmall;
  small.small.slices = 4;
  small.small.quantized = 0;
  for (const int64_t tokens : {33, 64, 65, 300, 4096}) {
    const Group g(tokens, {Fp8(256)});
    const std::vector<GpuStep> steps = StepsOf(g.group, {}, small);
    REQUIRE(steps.size() == 1);
    CHECK(steps[0].kernel == GpuKernel::kSmall);
    CHECK(steps[0].small.token_tiles == (tokens + 31) / 32);
    CHECK(std::string(steps[0].why) == "asked for");
    GpuChoice before = small;
    before.small.quantized = 1;
    const std::vector<GpuStep> two = StepsOf(g.group, {}, before);
    REQUIRE(two.size() == 2);
    CHECK(two[0].kernel == GpuKernel::kQuantize);
    CHECK(two[1].kernel == GpuKernel::kSmall);
    CHECK(two[1].small.quantized);
  }
  // Too many tiles of tokens, and x that cannot be read in eights.
  CHECK(StepsOf(Group(4097, {Fp8(256)}).group, {}, small).back().kernel == GpuKernel::kTile);
  Group odd(64, {Fp8(256)});
  odd.group.in = 2044;
  CHECK(StepsOf(odd.group, {}, small).back().kernel == GpuKernel::kTile);
}

TEST_CASE("more BF16 rows alone have tiles of 64 rows and tokens, two CTAs a multiprocessor") {
  for (const int64_t tokens : {33, 64, 500})
    for (const int64_t rows : {65, 512, 2048}) {
      const std::vector<GpuStep> steps = StepsOf(Group(tokens, {Bf16(rows), Bf16(7)}).group);
      REQUIRE(steps.size() == 1);
      CHECK(steps[0].kernel == GpuKernel::kLarge);
      CHECK(steps[0].count == 2);
      CHECK(steps[0].recipe.kind == XKind::kPlain);
      CHECK(steps[0].large.token_tile == 64);
      CHECK(steps[0].large.bf16_tile == 64);
      CHECK(steps[0].large.resident == (steps[0].large.slices > 2 ? 1 : 2));
    }
  // The same sums for any number of tokens are another kernel's.
  Group invariant(100, {Fp8(512), Bf16(64)});
  invariant.group.batch_invariant = true;
  CHECK(StepsOf(invariant.group).back().kernel == GpuKernel::kTile);
}

TEST_CASE("every segment is run once, whatever the mixture") {
  for (const int64_t tokens : {1, 32, 33, 500}) {
    Group g(tokens, {});
    for (int i = 0; i < 30; ++i) {
      LinearSegment s = i % 3 == 0 ? Bf16(10 + i) : Fp8(70 + i);
      if (i % 7 == 1) s.weight = asked_memory + 2;  // not aligned: slow
      if (i % 5 == 2) s.ue8m0 = true;
      if (i % 11 == 3) s.rows = 0;
      if (i % 13 == 5) s.k_phase = 64;
      if (s.scheme == LinearScheme::kBf16) s.ue8m0 = false, s.k_phase = 0;
      g.segments.push_back(s);
    }
    g.group.segments = g.segments.data();
    g.group.segment_count = static_cast<int32_t>(g.segments.size());
    std::multiset<int32_t> ran;
    XRecipe quantized;
    for (const GpuStep& step : StepsOf(g.group)) {
      if (step.kernel == GpuKernel::kQuantize) quantized = step.recipe;
      const bool small = step.kernel == GpuKernel::kSmall;
      const bool reads_codes = small ? step.small.quantized : step.kernel != GpuKernel::kQuantize;
      if (reads_codes && step.recipe.kind != XKind::kPlain) CHECK(step.recipe == quantized);
      for (int i = 0; i < step.count; ++i) {
        const LinearSegment& s = g.segments[static_cast<size_t>(step.segments[i])];
        if (s.scheme != LinearScheme::kBf16) CHECK(RecipeOf(s) == step.recipe);
        ran.insert(step.segments[i]);
      }
    }
    for (int32_t i = 0; i < 30; ++i)
      CHECK(ran.count(i) == (g.segments[static_cast<size_t>(i)].rows == 0 ? 0u : 1u));
  }
}

TEST_CASE("batch_invariant adds up in one order whatever the number of tokens") {
  LinearSegment wide = Fp8(30000), shard = Fp8(192), half = Bf16(64);
  shard.n_phase = 64;
  const std::vector<std::vector<LinearSegment>> lists = {
      {Fp8(64)}, {Fp8(1024)}, {wide}, {Fp8(12288), half}, {shard, half, Fp8(576)}, {half}};
  for (const std::vector<LinearSegment>& list : lists) {
    std::vector<GpuStep> first;
    for (const int64_t tokens : {1, 8, 9, 32, 33, 64, 128, 129, 256, 300, 1024, 4096, 40000}) {
      Group g(tokens, list);
      g.group.batch_invariant = true;
      const std::vector<GpuStep> steps = StepsOf(g.group);
      if (first.empty()) first = steps;
      REQUIRE(steps.size() == first.size());
      for (size_t i = 0; i < steps.size(); ++i) {
        CHECK(steps[i].kernel == first[i].kernel);
        CHECK(steps[i].count == first[i].count);
        CHECK(steps[i].blocks == first[i].blocks);
        CHECK(std::equal(std::begin(steps[i].segments), std::end(steps[i].segments),
                         std::begin(first[i].segments)));
        if (steps[i].kernel == GpuKernel::kQuantize) continue;
        CHECK(steps[i].kernel == GpuKernel::kTile);
        CHECK(steps[i].tile.slices == first[i].tile.slices);
        CHECK(steps[i].tile.token_tile == first[i].tile.token_tile);
        CHECK(steps[i].tile.row_tile == first[i].tile.row_tile);
        CHECK(steps[i].tile.share == first[i].tile.share);
      }
    }
  }
  // Without it they are made as is fastest.
  CHECK(StepsOf(Group(1, {Fp8(12288)}).group)[0].kernel == GpuKernel::kSmall);
}

TEST_CASE("the slow path says why") {
  struct Row {
    const char* reason;
    LinearSegment segment;
  };
  std::vector<Row> rows;
  const auto row = [&rows](const char* reason, LinearSegment s) -> LinearSegment& {
    rows.push_back({reason, s});
    return rows.back().segment;
  };
  row("its weight is not aligned to 16", Fp8(8)).weight = asked_memory + 8;
  row("its rows are no multiple of 16 bytes apart", Fp8(8)).weight_stride = 2050;
  row("its rows are no multiple of 16 bytes apart", Bf16(8)).weight_stride = 2052;
  row("its blocks are not 128 × 128", Fp8(8)).block_n = 64;
  row("its k_phase is no multiple of 16", Fp8(8)).k_phase = 8;
  LinearSegment& gaps = row("its scales have gaps", Fp8(8));
  gaps.scheme = LinearScheme::kFp8Channel;
  gaps.scale_stride = 2;
  row("its weight is not BF16", Bf16(8)).weight_type = LinearWeight::kF32;
  for (const Row& r : rows) {
    const Group g(3, {r.segment});
    REQUIRE(SlowReason(g.group, g.segments[0]) != nullptr);
    CHECK(std::string(SlowReason(g.group, g.segments[0])) == r.reason);
    CHECK(ExplainSteps(g.group, {}, {}).find(r.reason) != std::string::npos);
  }
  LinearSegment tensor = Fp8(8);
  tensor.scheme = LinearScheme::kFp8Tensor;
  Group g(3, {tensor});
  CHECK(SlowReason(g.group, g.segments[0]) == nullptr);
  g.group.batch_invariant = true;
  const char* reason = "batch_invariant: only block scales have a fast kernel";
  REQUIRE(SlowReason(g.group, g.segments[0]) != nullptr);
  CHECK(std::string(SlowReason(g.group, g.segments[0])) == reason);
  CHECK(ExplainSteps(g.group, {}, {}).find(reason) != std::string::npos);
}

TEST_CASE("a shard that begins inside a scale block gets a tile that begins where the block does") {
  LinearSegment s = Fp8(192);
  s.n_phase = 64;
  CHECK(FirstRow(s, 64) == 0);
  CHECK(TileCount(s, 64) == 3);
  CHECK(FirstRow(s, 128) == -64);
  CHECK(TileCount(s, 128) == 2);
  s.n_phase = 100;
  CHECK(FirstRow(s, 64) == -36);
  CHECK(TileCount(s, 64) == 4);
}
