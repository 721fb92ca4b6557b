// SPDX-License-Identifier: Apache-2.0
// What `ferrule bench` prints → a plot: for each shape, how much of the floor it reaches over the
// number of tokens. The floor is the time that reading the bytes or multiplying takes at least,
// whichever is more.
#pragma once

#include <string>
#include <vector>

namespace ferrule::cli {

struct BenchCell {
  std::string shape;
  double tokens = 0;
  double of_floor = 0;  // 1: as fast as can be
};

// The lines of a table with way `rule`, and its first remark. False where a line is no such line;
// `wrong` is then its number.
bool ReadBench(const std::string& table, std::vector<BenchCell>* cells, std::string* about,
               int* wrong);

// SVG: a line for each shape, and their geometric mean.
std::string Roofline(const std::vector<BenchCell>& cells, const std::string& about);

}  // namespace ferrule::cli
