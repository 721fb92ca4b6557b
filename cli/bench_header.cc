// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>

#include "cli/command.h"
#include "engine/text/version.h"

namespace ferrule::cli {
namespace {

std::string Today() {
  const std::time_t now = std::time(nullptr);
  char text[32] = {};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
  return text;
}

// Not by ReadFile: the size of files in /proc is not known.
std::string DriverHere() {
  std::ifstream file("/proc/driver/nvidia/version");
  return DriverVersion(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace

std::string DriverVersion(std::string_view text) {
  // "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build …"
  text = text.substr(0, text.find('\n'));
  if (!text.starts_with("NVRM version:")) return "";
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (word.find('.') != std::string_view::npos &&
        word.find_first_not_of("0123456789.") == std::string_view::npos)
      return std::string(word);
    text.remove_prefix(std::min(word.size() + 1, text.size()));
  }
  return "";
}

std::string BenchHeader(const std::string& commit, const std::string& date,
                        const BenchDevice& device, const std::string& driver) {
  std::string line = fmt::format("# ferrule {} {}, {}, {}, CUDA {}, driver {}", kVersion,
                                 commit.empty() ? kBuiltFrom : commit, date, device.name,
                                 device.cuda, driver.empty() ? "unknown" : driver);
  if (device.bandwidth > 0) line += fmt::format(", reads {:.3f} TB/s", device.bandwidth * 1e-12);
  return line + "\n";
}

void PrintBenchHeader(const std::string& commit, const BenchDevice& device, std::string* table) {
  const std::string line = BenchHeader(commit, Today(), device, DriverHere());
  *table += line;
  Print(line);
}

}  // namespace ferrule::cli
