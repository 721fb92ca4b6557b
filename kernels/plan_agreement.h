// SPDX-License-Identifier: Apache-2.0
// Whether the ranks of a tensor-parallel model made the same plan. No CUDA.
#pragma once

#include <string>
#include <vector>

namespace ferrule {

// `plans[r]`: the plan_sha of rank r. Empty when all agree; else what is said to every rank: who
// differs from rank 0, both hashes, what it means and what to do.
std::string PlansDiffer(const std::vector<std::string>& plans);

}  // namespace ferrule
