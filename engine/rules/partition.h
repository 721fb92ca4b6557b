// SPDX-License-Identifier: Apache-2.0
// rows and split × (rank, tp) → the rows and columns of a stored matrix that one rank holds.
//
// Column: output rows, cut between head groups; a linear with several slices is cut slice by slice,
// an interleaved one (`per`) between its groups and stays one range. Where ranks outnumber the
// groups and the rule says `replicate`, tp / groups neighbouring ranks hold the same group.
// Row: input columns, cut evenly. None: every rank holds all. What does not divide is refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/rules/units.h"

namespace ferrule {

inline constexpr int kMaxTp = 1024;

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

struct Shard {
  std::vector<Range> rows;  // of the stored matrix, in the order of the rank's output
  Range cols;
  int64_t row_count() const;
};

struct Cut {
  std::vector<Shard> ranks;  // one for each rank; empty when it cannot be cut
  std::string why;           // then: the reason, a sentence without end
};

// INVARIANT: the unit is a linear, 1 ≤ tp ≤ kMaxTp.
Cut Partition(const Unit& unit, int tp);

}  // namespace ferrule
