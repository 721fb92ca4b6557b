// SPDX-License-Identifier: Apache-2.0
// The twin of large_m_128.cu where each token of x has one scale, and W one a row or one in all:
// LargeArguments → y.
#include "kernels/large_m_tiles.cuh"

namespace ferrule {

cudaError_t LaunchLarge128TokenScales(const LargeArguments& a, const LaunchTarget& to) {
  return large_m::LaunchOf128<true>(a, to);
}

}  // namespace ferrule
