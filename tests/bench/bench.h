// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: processor time, runs of their own process, the table of goals.
//
// The machines that this runs on are shared, so what is measured is processor time (user and
// system) of one thread, and what is reported the median of many runs.
#pragma once

#include <string>
#include <vector>

namespace ferrule::bench {

double CpuMs();  // used by this process so far
double Median(std::vector<double> values);
double Least(const std::vector<double>& values);

// The most memory that this process held so far. From /proc: what getrusage says of a child counts
// the memory of the parent that it was forked from.
double PeakMb();

// Runs this program anew with `arguments` and gives back what it prints; exits when it fails.
std::string Anew(const std::vector<std::string>& arguments);
// The same as numbers, separated by spaces.
std::vector<double> NumbersAnew(const std::vector<std::string>& arguments);

// Lines `what, figure, goal, verdict`. A missed goal is seen, not punished: speed is no test.
class Table {
 public:
  explicit Table(const std::string& about);  // prints the device and the heading
  void AtMost(const std::string& what, double figure, double goal, const char* unit);
  void AtLeast(const std::string& what, double figure, double goal, const char* unit);
  void Shown(const std::string& what, double figure, const char* unit);  // without a goal
};

}  // namespace ferrule::bench
