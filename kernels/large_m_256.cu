// SPDX-License-Identifier: Apache-2.0
// Tiles of 256 tokens, scales of blocks, and BF16; and which of all these runs: LargeArguments → y.
#include "kernels/large_m_tiles.cuh"

namespace ferrule {

cudaError_t LaunchLarge256(const LargeArguments& a, const LaunchTarget& to) {
  return large_m::LaunchOf256<false>(a, to);
}

cudaError_t LaunchLarge(const LargeArguments& a, const LaunchTarget& to) {
  switch (a.plan.token_tile) {
    case 64:
      return a.token_scales ? LaunchLarge64TokenScales(a, to) : LaunchLarge64(a, to);
    case 128:
      return a.token_scales ? LaunchLarge128TokenScales(a, to) : LaunchLarge128(a, to);
    default:
      return a.token_scales ? LaunchLarge256TokenScales(a, to) : LaunchLarge256(a, to);
  }
}

}  // namespace ferrule
