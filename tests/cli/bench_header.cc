// SPDX-License-Identifier: Apache-2.0
// bench_header [COMMIT [unmeasured]]: the first line of a receipt of a made-up GPU, with the driver
// that standard input, a /proc/driver/nvidia/version, names.
#include <iostream>
#include <iterator>

#include "cli/bench_header.h"
#include "cli/command.h"

int main(int argc, char** argv) {
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const ferrule::cli::BenchDevice device = {"Made Up 1", "13.0", argc > 2 ? 0 : 4.5281e12};
  const std::string line = ferrule::cli::BenchHeader(argc > 1 ? argv[1] : "", "2026-11-30", device,
                                                     ferrule::cli::DriverVersion(text));
  ferrule::cli::Print(line);
  return 0;
}
