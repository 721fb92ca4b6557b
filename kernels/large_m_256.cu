// SPDX-License-Identifier: Apache-2.0
// Tiles of 256 tokens, one kernel for each number of rows: LargeArguments → y.
#include "kernels/large_m_linear.cuh"

namespace ferrule {

cudaError_t LaunchLarge256(const LargeArguments& a, const LaunchTarget& to) {
  switch (a.plan.row_tile) {
    case 96:
      return large_m::LaunchTile<256, 96, 1>(a, to);
    case 128:
      return large_m::LaunchTile<256, 128, 1>(a, to);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t LaunchLarge(const LargeArguments& a, const LaunchTarget& to) {
  switch (a.plan.token_tile) {
    case 64:
      return LaunchLarge64(a, to);
    case 128:
      return LaunchLarge128(a, to);
    default:
      return LaunchLarge256(a, to);
  }
}

}  // namespace ferrule
