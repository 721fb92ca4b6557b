// SPDX-License-Identifier: Apache-2.0
// A module of a plan → what one rank holds of it in memory, as segments that kernels/linear.h runs.
//
// Only the rank's rows and columns are read (pread); kernels/placement.h says which. Weights stay
// in the layout and dtype of the checkpoint; scales and biases are widened to float32, exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/plan/plan.h"
#include "kernels/load.h"

namespace ferrule {

// The id of a linear or fused module that can be loaded for `rank`; -1 with a finding: no such
// module, a plan with errors or without weights, no such rank.
int32_t FindLoadable(const ModelPlan& plan, std::string_view name, int rank, Diagnostics* out);

// `module`: id of a linear or fused module of the plan. Null with findings in `out`: unreadable
// files, scales that are zero, negative or not finite (FR507), weights with NaN codes (FR508), a
// scheme that is not executed (FR504). Thread-safe, each thread with its own `out`.
std::unique_ptr<LoadedLinear> LoadModule(const Plan& plan, int32_t module, int rank,
                                         Diagnostics* out);

// Elements of a BF16, F16, F32 or E8M0 tensor, from the `first` on, as float32: as many as `values`
// has. No memory beside it. False with a finding where they cannot be read or have another dtype.
bool ReadFloats(const Checkpoint& checkpoint, int32_t tensor, uint64_t first,
                std::span<float> values, Diagnostics* out);

// The same of scales. False with a finding also where a value is not positive, finite and normal;
// E8M0 alone goes down to 2^-127, which is subnormal in float32.
bool ReadScales(const Checkpoint& checkpoint, int32_t tensor, uint64_t first,
                std::span<float> values, Diagnostics* out);

}  // namespace ferrule
