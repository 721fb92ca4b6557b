// SPDX-License-Identifier: Apache-2.0
// Kernels and ways to work that a test asks for, and whether it is they that run.
#pragma once

#include <string>
#include <vector>

#include "kernels/gpu_linear.h"

namespace ferrule::test {

const char* NameOf(GpuKernel kernel);

GpuChoice Only(GpuKernel kernel);
GpuChoice InSmall(const SmallChoice& small);
GpuChoice InFewRows(const FewRowsChoice& few_rows);
GpuChoice InTile(const TileChoice& tile);
GpuChoice InLarge(const LargeChoice& large);

// Of many tokens: every tile, with K in 1 to 4 slices, with two CTAs a multiprocessor where they
// fit, and (of FP8 alone: `bf16_tile` 0) shared by two and four CTAs. Of those that share tokens
// only the ones that `tokens` fill two tiles of.
std::vector<GpuChoice> ManyTokens(int64_t tokens, int bf16_tile);
// Of few tokens; x quantized before where there is no BF16.
std::vector<GpuChoice> FewTokens(bool bf16);
// Of any number: tile_linear, whose CTAs share x where there is no BF16, mma_linear and
// plain_linear.
std::vector<GpuChoice> AnyTokens(bool bf16);

// Empty where a launch of the kernel that was asked for runs as it was asked to; else what it does
// instead. A choice that is not heard would test another kernel.
std::string Unheard(const LinearGroup& group, const GpuChoice& choice,
                    const GpuTarget& target = CurrentGpu());

// What the launch of kLarge does; with none LargeWork::kTiles and no boxes.
LargePlan LargePlanOf(const LinearGroup& group, const GpuChoice& choice,
                      const GpuTarget& target = CurrentGpu());

}  // namespace ferrule::test
