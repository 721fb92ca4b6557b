// SPDX-License-Identifier: Apache-2.0
// Tiles of 64 tokens, scales of blocks, and BF16: LargeArguments → y.
#include "kernels/large_m_tiles.cuh"

namespace ferrule {

cudaError_t LaunchLarge64(const LargeArguments& a, const LaunchTarget& to) {
  return large_m::LaunchOf64<false>(a, to);
}

}  // namespace ferrule
