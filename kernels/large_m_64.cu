// SPDX-License-Identifier: Apache-2.0
#include "kernels/large_m_linear.cuh"

namespace ferrule {

cudaError_t LaunchLarge64(const LargeArguments& a, cudaStream_t stream) {
  switch (a.plan.row_tile) {
    case 64:
      return large_m::LaunchTile<64, 64>(a, stream);
    case 128:
      return large_m::LaunchTile<64, 128>(a, stream);
    case 192:
      return large_m::LaunchTile<64, 192>(a, stream);
    case 256:
      return large_m::LaunchTile<64, 256>(a, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace ferrule
