// SPDX-License-Identifier: Apache-2.0
// What `ferrule bench` times: shapes as its options say them, those of a plan, or its own list.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "kernels/gpu_bench.h"

namespace ferrule::cli {

struct BenchList {
  std::vector<BenchShape> shapes;
  std::vector<int64_t> modules;  // of a plan: how many have each shape; else empty
  std::string remarks;           // `#` lines: where they are from, what is left out
};

// NAME=IN:SEGMENT,SEGMENT…; a segment is its rows, then letters:
//   b, f, h      BF16, F32, F16; t, c: FP8 with one scale, with one a row; none: FP8 in blocks of
//                128 × 128
//   u, s         scales of x are powers of two; x has one static scale (t, c)
//   nN, kN, gN   blocks: row 0 and column 0 begin so far inside theirs; elements between rows of
//                scales, where there are more than the columns ask for
bool ParseShape(std::string_view text, BenchShape* shape);
std::string SegmentsText(const BenchShape& shape);  // "12288,64b"

// Empty with findings in `out`: a wrong shape, no such checkpoint, a plan with errors or without
// linears that run.
std::optional<BenchList> ShapesToTime(const Common& common, const BenchOptions& options,
                                      Diagnostics* out);
std::optional<BenchList> ShapesOfPlan(const Common& common, const BenchOptions& options,
                                      Diagnostics* out);

}  // namespace ferrule::cli
