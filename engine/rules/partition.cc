// SPDX-License-Identifier: Apache-2.0
#include "engine/rules/partition.h"

#include <fmt/format.h>

namespace ferrule {
namespace {

// Share of rank `rank` of `tp` in rows that begin at `begin`; `groups` 0: no head groups.
bool Share(int64_t begin, int64_t rows, int64_t groups, bool replicate, int tp, int rank,
           Range* out, std::string* why) {
  if (groups == 0) {
    if (rows % tp != 0) {
      *why = fmt::format("{} rows do not divide by {}", rows, tp);
      return false;
    }
    *out = {begin + rows / tp * rank, begin + rows / tp * (rank + 1)};
    return true;
  }
  const int64_t height = rows / groups;
  if (groups % tp == 0) {
    const int64_t each = groups / tp;
    *out = {begin + each * height * rank, begin + each * height * (rank + 1)};
    return true;
  }
  if (replicate && tp % groups == 0) {
    const int64_t group = rank / (tp / groups);
    *out = {begin + group * height, begin + (group + 1) * height};
    return true;
  }
  *why = tp > groups && !replicate
             ? fmt::format("{} head groups are fewer than {} ranks", groups, tp)
             : fmt::format("{} head groups cannot be shared by {} ranks", groups, tp);
  return false;
}

// One rank's rows of a linear without stored row groups.
bool CutRows(const Unit& unit, int64_t begin, int64_t times, int tp, int rank,
             std::vector<Range>* rows, std::string* why) {
  Range range;
  if (unit.slices.empty() || unit.per > 0) {
    if (!Share(begin, unit.rows / times, unit.per, unit.node->replicate, tp, rank, &range, why))
      return false;
    rows->push_back(range);
    return true;
  }
  for (const Slice& slice : unit.slices) {
    const int64_t height = slice.rows / times;
    if (slice.groups % times != 0) {
      *why = fmt::format("the {} heads of `{}` do not divide by {} stored groups", slice.groups,
                         slice.name, times);
      return false;
    }
    if (!Share(begin, height, slice.groups / times, slice.replicate, tp, rank, &range, why)) {
      *why = fmt::format("slice `{}`: {}", slice.name, *why);
      return false;
    }
    rows->push_back(range);
    begin += height;
  }
  return true;
}

bool CutColumn(const Unit& unit, int tp, int rank, std::vector<Range>* rows, std::string* why) {
  if (unit.groups == 0) return CutRows(unit, 0, 1, tp, rank, rows, why);
  const int64_t groups = unit.groups;
  const int64_t height = unit.rows / groups;
  if (groups % tp == 0) {
    rows->push_back({groups / tp * height * rank, groups / tp * height * (rank + 1)});
    return true;
  }
  if (tp % groups != 0) {
    *why = fmt::format("{} stored row groups cannot be shared by {} ranks", groups, tp);
    return false;
  }
  const int inner = static_cast<int>(tp / groups);
  return CutRows(unit, rank / inner * height, groups, inner, rank % inner, rows, why);
}

}  // namespace

int64_t Shard::row_count() const {
  int64_t count = 0;
  for (const Range& range : rows) count += range.size();
  return count;
}

Cut Partition(const Unit& unit, int tp) {
  Cut cut;
  const Split split = unit.node->split;
  if (split == Split::kRow && unit.in % tp != 0) {
    cut.why = fmt::format("{} columns do not divide by {}", unit.in, tp);
    return cut;
  }
  for (int rank = 0; rank < tp; ++rank) {
    Shard shard;
    shard.cols = {0, unit.in};
    if (split == Split::kRow) shard.cols = {unit.in / tp * rank, unit.in / tp * (rank + 1)};
    if (split != Split::kColumn) {
      shard.rows.push_back({0, unit.rows});
    } else if (!CutColumn(unit, tp, rank, &shard.rows, &cut.why)) {
      cut.ranks.clear();
      return cut;
    }
    // A rank that holds neighbouring slices whole (tp 1) has one range.
    std::vector<Range> joined;
    for (const Range& range : shard.rows) {
      if (!joined.empty() && joined.back().end == range.begin)
        joined.back().end = range.end;
      else
        joined.push_back(range);
    }
    shard.rows = std::move(joined);
    cut.ranks.push_back(std::move(shard));
  }
  return cut;
}

}  // namespace ferrule
