// SPDX-License-Identifier: Apache-2.0
// Which kernels a group is given to for each number of tokens, and why. No GPU is asked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gpu_table.h"
#include "kernels/linear.h"

namespace ferrule {

struct KernelLine {  // of one launch
  std::string kernel, what, why;
  bool operator==(const KernelLine&) const = default;
};

struct KernelRange {
  int64_t first = 1, last = 1;  // tokens
  int step = 1;                 // 4: only these, in fours, of a range that stands before
  std::vector<KernelLine> lines;
};

// A GPU that is not there, of compute capability `sm` (89 for 8.9): with cuBLASLt, and prepared for
// all that cuBLASLt has there.
GpuTarget GpuWithLt(int sm);

// From 1 to `most` tokens; neighbours that differ in nothing but the number of tiles are one range.
// `group` is valid but for its tokens.
std::vector<KernelRange> KernelRanges(LinearGroup group, const GpuTarget& target, int64_t most);

}  // namespace ferrule
