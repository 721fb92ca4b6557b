// SPDX-License-Identifier: Apache-2.0
// A shape and a number of tokens → the ways to run it that `ferrule bench` times.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "kernels/gpu_bench.h"

namespace ferrule::cli {

struct Way {
  std::string name;
  GpuChoice choice;
  BenchShape shape;  // none: the asked one
  bool check = true;
  int64_t tokens = 0;      // 0: those asked for
  bool quantizer = false;  // alone
};

// By rule; with --peers also what others would run, with --sweep every way that could be better.
std::vector<Way> WaysOf(const BenchShape& shape, int64_t tokens, int64_t rows,
                        const BenchOptions& options);

}  // namespace ferrule::cli
