// SPDX-License-Identifier: Apache-2.0
// The smallest user of the installed library: tests/install/install_test.sh builds it.
#include <ferrule/linear.h>

int main() {
  const uint16_t two = 0x4000;  // 2 in BF16
  float y = 0;
  const ferrule::LinearSegment w{
      .weight = &two, .rows = 1, .weight_stride = 1, .y = &y, .y_stride = 1};
  const ferrule::LinearGroup group{
      .x = &two, .tokens = 1, .in = 1, .x_stride = 1, .segments = &w, .segment_count = 1};
  return ferrule::LinearReference(group) && y == 4 ? 0 : 1;
}
