// SPDX-License-Identifier: Apache-2.0
// A module of a plan → what one rank holds of it: which rows and columns of which checkpoint
// tensors become which segments of kernels/linear.h. Looks at headers, reads no data.
//
// A fused module is its parts side by side, each with its own scale grid. A shard that begins
// inside a scale block carries the phase of its first row and column. Where scales begin anew in
// each stored group of rows, a segment ends there too. A bias goes with its rows; of a linear that
// is split by columns of W rank 0 alone has it, so that the ranks' sum holds it once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan/plan.h"
#include "kernels/linear.h"

namespace ferrule {

struct PlacedSegment {
  int32_t weight = -1, scale = -1, input = -1, bias = -1;  // checkpoint tensors; -1: none
  Range rows, cols;                                        // of the weight; the bias has its rows
  int64_t first_scale = 0;  // element of the scale tensor that is row 0's
  LinearSegment segment;    // all but pointers; rows `cols.size()` apart
};

struct PlacedModule {
  std::string name;
  int64_t rows = 0;                     // output rows of this rank, all segments
  int64_t in = 0;                       // columns of x that this rank needs
  int64_t first_column = 0;             // of the whole x: 0 unless the module is row-split
  std::vector<PlacedSegment> segments;  // in the order of the output
};

// `module`: id of a linear or fused module of the plan. Empty with a finding in `out`: not stored,
// a scheme or a bias that is not executed (FR504), no cut for this tp.
std::optional<PlacedModule> PlaceModule(const Plan& plan, int32_t module, int rank,
                                        Diagnostics* out);

// Bytes of one element of a weight as segments hold it.
int64_t WeightBytes(const LinearSegment& segment);

}  // namespace ferrule
