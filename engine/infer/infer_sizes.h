// SPDX-License-Identifier: Apache-2.0
// A stored weight, packed or not → rows and columns of the linear behind it.
//
//   weight_packed I32 [2048, 896] under 4 bits, `[rows, in * bits / 32]` → [2048, 7168]
//
// The dialect's shapes are solved for `rows` and `in`; where several schemes could have stored the
// weight, what lies beside it decides.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/lists/quant_config.h"

namespace ferrule {

struct LinearSizes {
  std::vector<int64_t> shape;  // [rows, in], or [experts, rows, in]
  int64_t groups = 0;          // row groups whose scales are padded to whole blocks; 0: none
};

// The shape of the tensor that a storage rule calls so; nothing when it is not stored.
using ShapeBeside = std::function<std::optional<std::vector<int64_t>>(std::string_view)>;

// `name`: what stands behind the module's path, weight_packed or _blocks. Nothing when no scheme
// of the description stores such a weight or says in which shape, or when two that differ fit
// alike.
std::optional<LinearSizes> SizesOf(const QuantConfig& quant, std::string_view name, DType dtype,
                                   const std::vector<int64_t>& shape, const ShapeBeside& beside);

}  // namespace ferrule
