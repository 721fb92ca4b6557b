// SPDX-License-Identifier: Apache-2.0
// bench_header [COMMIT]: the first line of a receipt of a made-up GPU, with the driver that
// standard input, a /proc/driver/nvidia/version, names.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "cli/bench_header.h"
#include "cli/command.h"

void ferrule::cli::Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int main(int argc, char** argv) {
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  ferrule::GpuBench::Device device;
  device.name = "Made Up 1";
  device.cuda = "13.0";
  device.bandwidth = 4.5281e12;
  const std::string line = ferrule::cli::BenchHeader(
      argc > 1 ? argv[1] : "", "2026-11-30", device, ferrule::cli::DriverVersion(text));
  std::fputs(line.c_str(), stdout);
  return 0;
}
