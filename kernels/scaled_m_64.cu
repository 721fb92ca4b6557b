// SPDX-License-Identifier: Apache-2.0
// Tiles of 64 tokens, of which each has one scale.
#include "kernels/large_m_tiles.cuh"

namespace ferrule {

cudaError_t LaunchScaled64(const LargeArguments& a, const LaunchTarget& to) {
  return large_m::LaunchOf64<true>(a, to);
}

}  // namespace ferrule
