// SPDX-License-Identifier: Apache-2.0
#include "kernels/output_sum.h"

namespace ferrule {

LinearStatus NextSum(const LinearGroup& group, int32_t* next, OutputSum* sum) {
  const int32_t first = (*next)++;
  const LinearSegment& s = group.segments[first];
  *sum = {s.y, group.tokens * s.rows, s.y_type};
  if (s.rows == 0) return {};
  const int64_t element = s.y_type == LinearOutput::kF32 ? 4 : 2;
  int64_t rows = s.rows;
  for (; *next < group.segment_count && rows < s.y_stride; ++*next) {
    const LinearSegment& neighbour = group.segments[*next];
    if (neighbour.rows == 0) continue;
    if (neighbour.y != static_cast<char*>(s.y) + rows * element ||
        neighbour.y_stride != s.y_stride || neighbour.y_type != s.y_type)
      break;
    rows += neighbour.rows;
  }
  if (rows != s.y_stride && group.tokens > 1)
    return {LinearCode::kUnsupported, first, "outputs that are added up over ranks have no gaps"};
  sum->count = group.tokens * rows;
  return {};
}

}  // namespace ferrule
