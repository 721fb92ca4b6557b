// SPDX-License-Identifier: Apache-2.0
// Segments → a group of 2,048 columns that only planners look at: its pointers lead to a few bytes.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/linear.h"

namespace ferrule {

alignas(16) inline uint8_t asked_memory[64];

struct AskedGroup {
  AskedGroup(int64_t tokens, std::vector<LinearSegment> list) : segments(std::move(list)) {
    group.x = asked_memory;
    group.tokens = tokens;
    group.in = group.x_stride = 2048;
    group.segments = segments.data();
    group.segment_count = static_cast<int32_t>(segments.size());
  }
  std::vector<LinearSegment> segments;
  LinearGroup group;
};

}  // namespace ferrule
