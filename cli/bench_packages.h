// SPDX-License-Identifier: Apache-2.0
// What serving engines run, timed by the packages of a Python interpreter (cli/bench_packages.py).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ferrule::cli {

struct PackageCell {
  std::string name;
  int64_t tokens, in, rows;  // of one linear in FP8 blocks
  int copies;                // of its weight, which take turns
};

// Each runs for `heat_ms` before what is timed.
//
// Starts `python` and calls `take` with each line that comes back, without its newline, as soon as
// it is there: number of the cell, package, microseconds and spread with tabs between, or `# …`.
// False with a reason in `failure` when it cannot be started or ends with an error. Standard error
// of the interpreter is this process's.
bool TimePackages(const std::string& python, const std::vector<PackageCell>& cells, int heat_ms,
                  const std::function<void(const std::string& line)>& take, std::string* failure);

}  // namespace ferrule::cli
