// SPDX-License-Identifier: Apache-2.0
// A cut against what is stored together: blocks and groups that share one scale, and the tiles in
// which packed integers are multiplied.
#pragma once

#include <string>

#include "engine/lists/quant_config.h"
#include "engine/rules/partition.h"

namespace ferrule {

// Rows that the kernels for packed integers (Marlin) take at once; fewer are refused.
inline constexpr int64_t kPackedTile = 64;

// "64 rows a rank, cut at row 64, inside a block of 128"; empty where all shards are whole blocks,
// groups and tiles. A matrix that is not cut is always whole, also when its last block is ragged.
std::string InsideBlock(const Unit& unit, const Cut& cut, const Scheme& scheme);

}  // namespace ferrule
