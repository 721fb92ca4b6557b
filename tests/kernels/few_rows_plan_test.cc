// SPDX-License-Identifier: Apache-2.0
// How few rows are shared out, and when they are.
#include "kernels/few_rows_plan.h"

#include <random>

#include "kernels/cluster_count.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

// Every block of K has a warp, every token and tile a CTA, and the device holds the clusters.
void CheckCovers(const FewRowsShape& shape, const FewRowsPlan& p) {
  CHECK(p.warps >= 1);
  CHECK(p.warps <= kFewRowsWarps);
  CHECK((p.each == 1 || p.each == kFewRowsEach));
  CHECK((p.slices == 1 || p.slices == 2 || p.slices == 4 || p.slices == 8));
  CHECK(p.slices <= shape.blocks);
  CHECK(ClustersThatFit(p.slices) > 0);
  for (int slice = 0; slice < p.slices; ++slice) {  // as the kernel shares them out
    const int begin = shape.blocks * slice / p.slices, end = shape.blocks * (slice + 1) / p.slices;
    CHECK(end - begin <= p.warps * p.each);
  }
  CHECK((p.token_tile == 8 || p.token_tile == 16 || p.token_tile == kFewRowsTokens));
  CHECK(int64_t{p.token_tile} * p.token_tiles >= shape.tokens);
  CHECK(int64_t{p.token_tile} * (p.token_tiles - 1) < shape.tokens);
}

}  // namespace

TEST_CASE("few rows are shared out whole, whatever was asked for") {
  std::mt19937 random(3);
  int fit = 0;
  for (int i = 0; i < 4000; ++i) {
    const FewRowsShape shape{1 + static_cast<int64_t>(random() % 200),
                             1 + static_cast<int>(random() % (i % 2 == 0 ? 40 : 300)),
                             1 + static_cast<int64_t>(random() % 500)};
    const FewRowsChoice choice{i % 3 == 0 ? 0 : 1 << random() % 4, static_cast<int>(random() % 3)};
    const FewRowsPlan plan = PlanFewRows(shape, choice);
    INFO(shape.tokens << " tokens, " << shape.blocks << " blocks, slices " << choice.slices
                      << ", each " << choice.each);
    // 8 CTAs of 16 warps with two blocks each are the most there are.
    CHECK(plan.fits == (shape.blocks <= kFewRowsSlices * kFewRowsWarps * kFewRowsEach));
    if (!plan.fits) continue;
    ++fit;
    CheckCovers(shape, plan);
  }
  CHECK(fit > 3000);
}

TEST_CASE("few rows keep to the clusters that a device has") {
  GpuRoom room;
  room.clusters[4] = room.clusters[8] = room.clusters[16] = 0;
  const PlanFor plan_for(&room);
  for (const int blocks : {1, 17, 33, 64, 65}) {
    const FewRowsPlan plan = PlanFewRows({1, blocks, 1}, {8, 0});
    CHECK(plan.fits == (blocks <= 64));
    if (plan.fits) CheckCovers({1, blocks, 1}, plan);
    CHECK(plan.slices <= 2);
  }
}

TEST_CASE("what is nothing or too much does not fit") {
  CHECK(!PlanFewRows({0, 1, 1}).fits);
  CHECK(!PlanFewRows({1, 0, 1}).fits);
  CHECK(!PlanFewRows({1, 1, 0}).fits);
  CHECK(PlanFewRows({1, 1, kFewRowsTiles}).fits);
  CHECK(!PlanFewRows({1, 1, kFewRowsTiles + 1}).fits);
  CHECK(PlanFewRows({kFewRowsTiles * kFewRowsTokens, 1, 1}).fits);
  CHECK(!PlanFewRows({kFewRowsTiles * kFewRowsTokens + 1, 1, 1}).fits);
}

TEST_CASE("few rows are taken where they were measured to be faster, and what is taken fits") {
  CHECK(FewRowsPay({1, 16, 1}, true));    // 2048 -> 8
  CHECK(FewRowsPay({8, 16, 64}, true));   // 2048 -> 512
  CHECK(!FewRowsPay({9, 16, 8}, true));   // more tokens
  CHECK(!FewRowsPay({1, 16, 65}, true));  // more rows
  CHECK(FewRowsPay({32, 40, 6}, true));   // 5120 -> 48
  CHECK(!FewRowsPay({33, 40, 6}, true));
  CHECK(!FewRowsPay({1, 56, 32}, true));  // 7168 -> 256
  CHECK(FewRowsPay({8, 1, 256}, false));  // FP8, 128 -> 2048
  CHECK(!FewRowsPay({8, 2, 256}, false));
  CHECK(!FewRowsPay({1, 16, 8}, false));
  for (int blocks = 1; blocks <= 256; ++blocks)
    for (const int64_t tokens : {1, 8, 9, 32, 33})
      for (const bool bf16 : {false, true})
        if (FewRowsPay({tokens, blocks, 8}, bf16)) CHECK(PlanFewRows({tokens, blocks, 8}).fits);
}
