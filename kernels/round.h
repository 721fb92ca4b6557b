// SPDX-License-Identifier: Apache-2.0
// Sizes → how many parts of so many they have, and the next multiple.
#pragma once

#include <cstdint>

namespace ferrule {

// For a >= 0 and b > 0.
constexpr int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return DivideUp(a, b) * b; }

}  // namespace ferrule
