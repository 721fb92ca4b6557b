// SPDX-License-Identifier: Apache-2.0
#include "kernels/plan_agreement.h"

#include "tests/catch.h"

using namespace ferrule;

TEST_CASE("ranks go on with one plan only") {
  const std::string a = "0123456789abcdef0123", b = "fedcba9876543210fedc";
  const std::string effect =
      ": they read other rules, another checkpoint or plan for another tp, and their sums would be "
      "wrong without a sign; give all ranks the same rules and files, and compare `ferrule plan` "
      "on "
      "their machines";
  CHECK(PlansDiffer({a}) == "");
  CHECK(PlansDiffer({a, a, a, a}) == "");
  CHECK(PlansDiffer({a, b}) ==
        "rank 1 of 2 runs plan fedcba987654, rank 0 plan 0123456789ab" + effect);
  CHECK(PlansDiffer({a, a, b, b}) ==
        "rank 2 of 4 runs plan fedcba987654, rank 0 plan 0123456789ab (2 ranks differ)" + effect);
  // Two that begin alike are shown whole.
  CHECK(PlansDiffer({a, a + "4"}) ==
        "rank 1 of 2 runs plan 0123456789abcdef01234, rank 0 plan 0123456789abcdef0123" + effect);
  CHECK(PlansDiffer({a, ""}) == "rank 1 of 2 runs plan none, rank 0 plan 0123456789ab" + effect);
  CHECK(PlansDiffer({"", ""}) != "");  // two that have none do not agree
}
