// SPDX-License-Identifier: Apache-2.0
// bench_ways TOKENS SHAPE [sweep]: the ways to run a shape that `ferrule bench --peers` times, a
// line each: name, tokens where they are others, what is checked.
#include <cstdio>
#include <cstdlib>

#include "cli/bench_shapes.h"
#include "cli/bench_ways.h"

int main(int argc, char** argv) {
  ferrule::BenchShape shape;
  if (argc < 3 || !ferrule::cli::ParseShape(argv[2], &shape)) return 2;
  ferrule::cli::BenchOptions options;
  options.peers = true;
  options.sweep = argc > 3;
  for (const ferrule::cli::Way& way :
       ferrule::cli::WaysOf(shape, std::atoi(argv[1]), shape.rows(), options))
    std::printf("%s|%d|%s%s\n", way.name.c_str(), static_cast<int>(way.tokens),
                way.check ? "checked" : "", way.quantizer ? "alone" : "");
  return 0;
}
