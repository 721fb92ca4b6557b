// SPDX-License-Identifier: Apache-2.0
// A module of a plan → what one rank holds of it in memory, as segments that kernels/linear.h runs.
//
// Only the rank's rows and columns are read (pread). Weights stay in the layout and dtype of the
// checkpoint; scales are widened to float32, exactly. A fused module is its parts side by side,
// each with its own scale grid. A shard that begins inside a scale block carries the phase of its
// first row and column.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan/plan.h"
#include "kernels/load.h"

namespace ferrule {

// `module`: id of a linear or fused module of the plan. Null with findings in `out`: unreadable
// files, scales that are zero, negative or not finite (FR507), weights with NaN codes (FR508), a
// scheme that is not executed (FR504). Thread-safe, each thread with its own `out`.
std::unique_ptr<LoadedLinear> LoadModule(const Plan& plan, int32_t module, int rank,
                                         Diagnostics* out);

}  // namespace ferrule
