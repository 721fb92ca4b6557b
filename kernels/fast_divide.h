// SPDX-License-Identifier: Apache-2.0
// Divisions by a number that the host knows: a GPU takes some hundred clocks for one, and a few for
// a product and a shift.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FERRULE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FERRULE_HOST_DEVICE inline
#endif

namespace ferrule {

// Divides numbers from 0 to 2^31 - 1 by `divisor`, 1 to 2^31 - 1, exactly.
struct FastDivisor {
  uint32_t multiplier = 0x80000001u;
  int shift = 31;

  FastDivisor() = default;
  // With 2^l the first power of two that is not below `divisor`, the multiplier is more than
  // 2^(31 + l) / divisor by less than one: its error times a number below 2^31 stays below one unit
  // of the quotient, and it fits into 32 bits.
  explicit FastDivisor(int64_t divisor) {
    while (int64_t{1} << (shift - 31) < divisor) ++shift;
    multiplier = static_cast<uint32_t>((uint64_t{1} << shift) / static_cast<uint64_t>(divisor) + 1);
  }
};

FERRULE_HOST_DEVICE int Divide(int number, const FastDivisor& by) {
  return static_cast<int>(uint64_t{static_cast<uint32_t>(number)} * by.multiplier >> by.shift);
}

}  // namespace ferrule
