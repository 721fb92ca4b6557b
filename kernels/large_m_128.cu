// SPDX-License-Identifier: Apache-2.0
// Tiles of 128 tokens, one kernel for each number of rows: LargeArguments → y.
#include "kernels/large_m_linear.cuh"

namespace ferrule {

cudaError_t LaunchLarge128(const LargeArguments& a, const LaunchTarget& to) {
  switch (a.plan.row_tile) {
    case 64:
      return a.plan.resident == 2 ? large_m::LaunchTile<128, 64, 2>(a, to)
                                  : large_m::LaunchTile<128, 64, 1>(a, to);
    case 80:
      return large_m::LaunchTile<128, 80, 1>(a, to);
    case 96:
      return large_m::LaunchTile<128, 96, 1>(a, to);
    case 112:
      return large_m::LaunchTile<128, 112, 1>(a, to);
    case 128:
      return large_m::LaunchTile<128, 128, 1>(a, to);
    case 160:
      return large_m::LaunchTile<128, 160, 1>(a, to);
    case 192:
      return large_m::LaunchTile<128, 192, 1>(a, to);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace ferrule
