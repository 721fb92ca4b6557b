// SPDX-License-Identifier: Apache-2.0
// bench_packages PYTHON: what cli/bench_packages.h hears of two cells, a line each, then how it
// ended.
#include <cstdio>

#include "cli/bench_packages.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::string failure;
  const bool good = ferrule::cli::TimePackages(
      argv[1], {{"a \"name\"\tof\\it", 3, 2048, 1024, 5}, {"ÿ", 4096, 128, 7, 1}}, 250,
      [](const std::string& line) { std::printf("heard: %s\n", line.c_str()); }, &failure);
  std::printf("%s\n", good ? "good" : failure.c_str());
  return good ? 0 : 1;
}
