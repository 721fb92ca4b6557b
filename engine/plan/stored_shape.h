// SPDX-License-Identifier: Apache-2.0
// What a dialect stores for a linear of a given size: the shapes that each of its tensors may have.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/lists/quant_config.h"
#include "engine/rules/units.h"

namespace ferrule {

struct ExpectedShape {
  std::vector<std::vector<int64_t>> any_of;  // the first is the one to show
  bool unknown = false;                      // every shape is fine
  std::string why;  // why there is none: "`in / 2`: 3 is not divisible by 2"

  bool Fits(std::span<const int64_t> shape) const;
};

// The tensor of `rule` for `unit` in `scheme`. Experts in one tensor have one dimension more.
ExpectedShape ShapeOf(const Unit& unit, const Scheme& scheme, const StorageRule& rule);

// The plain weight: rows x columns, or turned as the rule file says.
ExpectedShape PlainShape(const Unit& unit);

// "one for each 128 x 128 block".
std::string ShapeWords(const Scheme& scheme, const StorageRule& rule);

}  // namespace ferrule
