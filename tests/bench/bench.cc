// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace ferrule::bench {
namespace {

// The value of the first line of a file of /proc that starts with `key`.
std::string Proc(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key, 0) == 0) {
      const size_t at = line.find_first_not_of(" \t", line.find(':') + 1);
      return at == std::string::npos ? "" : line.substr(at);
    }
  return "";
}

void Line(const std::string& what, double figure, const std::string& goal, const char* unit,
          const char* verdict) {
  fmt::print("  {:<58} {:>9.{}f} {:<5} {:>9}  {}\n", what, figure, figure < 10 ? 2 : 1, unit, goal,
             verdict);
  std::fflush(stdout);
}

}  // namespace

double CpuMs() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

double PeakMb() {
  return std::strtod(Proc("/proc/self/status", "VmHWM").c_str(), nullptr) * 1024 / 1e6;
}

std::string Anew(const std::vector<std::string>& arguments) {
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  std::string command = fmt::format("'{}'", self);
  for (const std::string& argument : arguments) command += fmt::format(" '{}'", argument);
  FILE* const pipe = popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  while (pipe != nullptr && std::fgets(buffer, sizeof buffer, pipe) != nullptr) out += buffer;
  if (pipe == nullptr || pclose(pipe) != 0) {
    fmt::print(stderr, "{} failed\n", command);
    std::exit(1);
  }
  return out;
}

std::vector<double> NumbersAnew(const std::vector<std::string>& arguments) {
  std::istringstream text(Anew(arguments));
  std::vector<double> numbers;
  for (double number = 0; text >> number;) numbers.push_back(number);
  return numbers;
}

Table::Table(const std::string& about) {
  fmt::print("{}\n{}, {} threads\n  {:<58} {:>15} {:>9}\n", about,
             Proc("/proc/cpuinfo", "model name"), std::thread::hardware_concurrency(), "",
             "figure     ", "goal");
}

void Table::AtMost(const std::string& what, double figure, double goal, const char* unit) {
  Line(what, figure, fmt::format("<= {:.4g}", goal), unit, figure <= goal ? "met" : "MISSED");
}
void Table::AtLeast(const std::string& what, double figure, double goal, const char* unit) {
  Line(what, figure, fmt::format(">= {:.4g}", goal), unit, figure >= goal ? "met" : "MISSED");
}
void Table::Shown(const std::string& what, double figure, const char* unit) {
  Line(what, figure, "", unit, "");
}

}  // namespace ferrule::bench
