// SPDX-License-Identifier: Apache-2.0
// Which outputs of a group are added up over ranks in one piece. No CUDA.
#pragma once

#include "kernels/linear.h"

namespace ferrule {

struct OutputSum {
  void* y = nullptr;
  int64_t count = 0;  // elements, without gaps; 0: there are none
  LinearOutput type = LinearOutput::kF32;
};

// The piece that begins at segment `*next`, which is moved behind it: a segment's outputs, and
// those of the segments after it that lie side by side with it in one y. kUnsupported with the
// segment where there are gaps between tokens. `group` is valid and `*next` below its
// segment_count.
LinearStatus NextSum(const LinearGroup& group, int32_t* next, OutputSum* sum);

}  // namespace ferrule
