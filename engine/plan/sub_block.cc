// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/sub_block.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

std::string InsideRows(const Unit& unit, const Shard& shard, int64_t block) {
  const int64_t height = unit.node->scales_per_group ? unit.rows / unit.groups : unit.rows;
  for (const Range& range : shard.rows)
    for (const int64_t edge : {range.begin, range.end})
      if (edge % height % block != 0 && edge != unit.rows)
        return fmt::format("{} rows a rank, cut at row {}, inside a block of {}", shard.row_count(),
                           edge, block);
  return {};
}

std::string InsideColumns(const Unit& unit, const Shard& shard, int64_t size, const char* what) {
  for (const int64_t edge : {shard.cols.begin, shard.cols.end})
    if (edge % size != 0 && edge != unit.in)
      return fmt::format("{} columns a rank, cut at column {}, inside a {} of {}",
                         shard.cols.size(), edge, what, size);
  return {};
}

bool IsPacked(const Scheme& scheme) {
  const StorageRule* weight = scheme.rule == nullptr ? nullptr : scheme.rule->weight();
  return weight != nullptr && std::find(weight->dtypes.begin(), weight->dtypes.end(),
                                        DType::kI32) != weight->dtypes.end();
}

}  // namespace

std::string InsideBlock(const Unit& unit, const Cut& cut, const Scheme& scheme) {
  const bool packed = IsPacked(scheme);
  for (const Shard& shard : cut.ranks) {
    std::string what;
    if (scheme.block_n > 0) what = InsideRows(unit, shard, scheme.block_n);
    if (what.empty() && scheme.block_k > 0)
      what = InsideColumns(unit, shard, scheme.block_k, "block");
    if (what.empty() && scheme.block_n == 0 && scheme.group > 1)
      what = InsideColumns(unit, shard, scheme.group, "group");
    const int64_t rows = shard.row_count();
    if (what.empty() && packed && rows < unit.rows && rows % kPackedTile != 0)
      what = fmt::format("{} rows a rank, no whole tiles of {}", rows, kPackedTile);
    if (!what.empty()) return what;
  }
  return {};
}

}  // namespace ferrule
