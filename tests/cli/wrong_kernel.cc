// SPDX-License-Identifier: Apache-2.0
// Put before the real LinearCpu when the command line is linked (`--wrap`): a fast path that is a
// little wrong for FP8, so that `run --check` has something to find. By number of tokens:
// 1: 9e-6 too large, within the bound; 2: 1.1e-5 too large; 3: one NaN.
#include <cmath>

#include "kernels/linear.h"

namespace {

using ferrule::LinearGroup;
using ferrule::LinearPool;
using ferrule::LinearScheme;
using ferrule::LinearSegment;
using ferrule::LinearStatus;

void Spoil(const LinearGroup& group, const LinearSegment& segment) {
  float* const y = static_cast<float*>(segment.y);
  const double factor = group.tokens == 1 ? 1 + 9e-6 : 1 + 1.1e-5;
  for (int64_t m = 0; m < group.tokens; ++m)
    for (int64_t n = 0; n < segment.rows; ++n)
      y[m * segment.y_stride + n] = static_cast<float>(y[m * segment.y_stride + n] * factor);
  if (group.tokens == 3 && segment.rows > 0) y[0] = std::nanf("");
}

}  // namespace

// ferrule::LinearCpu under the names that --wrap gives it.
LinearStatus RealLinearCpu(
    const LinearGroup& group, void* workspace, size_t workspace_size,
    LinearPool*
        pool) __asm__("__real__ZN7ferrule9LinearCpuERKNS_11LinearGroupEPvmPNS_10LinearPoolE");
LinearStatus WrongLinearCpu(
    const LinearGroup& group, void* workspace, size_t workspace_size,
    LinearPool*
        pool) __asm__("__wrap__ZN7ferrule9LinearCpuERKNS_11LinearGroupEPvmPNS_10LinearPoolE");

LinearStatus WrongLinearCpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                            LinearPool* pool) {
  const LinearStatus status = RealLinearCpu(group, workspace, workspace_size, pool);
  for (int32_t i = 0; status && i < group.segment_count; ++i)
    if (group.segments[i].scheme != LinearScheme::kBf16) Spoil(group, group.segments[i]);
  return status;
}
