// SPDX-License-Identifier: Apache-2.0
// Cases for tests/skips_test.py, which asks for some of them and looks at how they are counted.
#include "tests/catch.h"
#include "tests/skip.h"

using ferrule::test::Skip;

TEST_CASE("passes") { CHECK(true); }

TEST_CASE("is skipped") { return Skip("there is no second GPU"); }

TEST_CASE("is skipped, and says so twice") {
  Skip("there is no second GPU");
  Skip("there is no first one either");
}

TEST_CASE("is skipped by one section of two") {
  SECTION("first") { CHECK(true); }
  SECTION("second") { Skip("half of it cannot run"); }
}

TEST_CASE("fails before it is skipped") {
  CHECK(false);
  Skip("too late");
}

TEST_CASE("fails after it is skipped") {
  Skip("too early");
  CHECK(false);
}
