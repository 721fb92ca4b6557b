// SPDX-License-Identifier: Apache-2.0
// The first line of what `ferrule bench` prints: what was measured, when, on what.
#pragma once

#include <string>
#include <string_view>

namespace ferrule::cli {

// The commit that this program was built from, "+" behind it where the tree had changes; or
// "unknown commit" (cli/bench_commit.cc.in).
extern const char* const kBuiltFrom;

// "580.159.04" of what /proc/driver/nvidia/version holds; empty where that is something else.
std::string DriverVersion(std::string_view text);

struct BenchDevice {
  std::string name;
  std::string cuda;      // the newest version that the driver knows
  double bandwidth = 0;  // bytes a second that reading reaches; 0: not measured
};

// "# ferrule 0.1.0 9073bc0, 2026-11-30, NVIDIA H200, CUDA 13.0, driver 580.159.04, reads 4.528
// TB/s". An empty `commit` is the one that this program was built from.
std::string BenchHeader(const std::string& commit, const std::string& date,
                        const BenchDevice& device, const std::string& driver);

// Prints it, of today and of this machine's driver, and appends it to `table`.
void PrintBenchHeader(const std::string& commit, const BenchDevice& device, std::string* table);

}  // namespace ferrule::cli
