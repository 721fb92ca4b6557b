// SPDX-License-Identifier: Apache-2.0
// Division by a product and a shift says what division says.
#include "kernels/fast_divide.h"

#include <algorithm>
#include <random>

#include "tests/catch.h"

using namespace ferrule;

namespace {

constexpr int64_t kMost = 0x7FFFFFFF;

// Numbers of which a quotient that is off by one would be seen, and some others.
void Compare(int64_t divisor, std::mt19937_64* random) {
  const FastDivisor by(divisor);
  const auto compare = [&](int64_t number) {
    if (number < 0 || number > kMost) return;
    if (Divide(static_cast<int>(number), by) != number / divisor) {
      CAPTURE(number, divisor);
      FAIL("not what division says: " << Divide(static_cast<int>(number), by));
    }
  };
  for (const int64_t quotient : {int64_t{0}, int64_t{1}, int64_t{2}, kMost / divisor / 2,
                                 kMost / divisor - 1, kMost / divisor}) {
    for (const int64_t more : {-1, 0, 1}) compare(quotient * divisor + more);
  }
  for (int i = 0; i < 20; ++i) {
    const auto number = static_cast<int64_t>((*random)() % (kMost + 1));
    compare(number);
    compare(number / divisor * divisor);
    compare(number / divisor * divisor - 1);
  }
  compare(kMost);
  SUCCEED();
}

}  // namespace

TEST_CASE("a product and a shift divide exactly") {
  std::mt19937_64 random(20261129);
  for (int64_t divisor = 1; divisor <= 3000; ++divisor) Compare(divisor, &random);
  for (int shift = 1; shift <= 31; ++shift)
    for (const int64_t more : {-1, 0, 1})
      Compare(std::clamp<int64_t>((int64_t{1} << shift) + more, 1, kMost), &random);
  for (int i = 0; i < 2000; ++i) Compare(1 + static_cast<int64_t>(random() % kMost), &random);
}
