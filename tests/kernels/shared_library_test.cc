// SPDX-License-Identifier: Apache-2.0
#include "kernels/shared_library.h"

#include <cmath>

#include "tests/catch.h"

using ferrule::FindFunctions;

TEST_CASE("functions of a library are found by their names and can be called") {
  double (*cosine)(double) = nullptr;
  double (*power)(double, double) = nullptr;
  REQUIRE(FindFunctions("libm.so.6", {{"cos", &cosine}, {"pow", &power}}));
  CHECK(cosine(0.0) == 1.0);
  CHECK(power(2.0, 10.0) == 1024.0);
}

TEST_CASE("a library that is not there, or lacks a function, is not found") {
  double (*cosine)(double) = nullptr;
  double (*missing)(double) = nullptr;
  CHECK_FALSE(FindFunctions("libferrule_of_no_machine.so.1", {{"cos", &cosine}}));
  CHECK(cosine == nullptr);
  CHECK_FALSE(FindFunctions("libm.so.6", {{"ferrule_cos", &missing}, {"cos", &cosine}}));
  CHECK_FALSE(FindFunctions("libm.so.6", {{"cos", &cosine}, {"ferrule_cos", &missing}}));
  CHECK(missing == nullptr);
}
