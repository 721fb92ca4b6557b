// SPDX-License-Identifier: Apache-2.0
// scale → its inverse in two float32; with that x → x / scale without a division, so near that the
// E4M3 code is the same for every BF16 x and every scale that its group can have. Host and GPU.
//
// A quotient that is next to the middle between two codes is it in truth: with scale = amax / 448,
// x / scale is 448 x / amax, of 8-bit numbers, and else differs from a middle by 2^-13 of it or
// more. Then it matters how amax / 448 was rounded, and 1 / scale rounded to float32 is too coarse:
// for 26 of the 128 mantissas of amax some x gets another code. With what that lacks, as a second
// float32, none of all 532 million pairs of amax and x does, nor where scales are powers of two
// (tests/kernels/quantize_test.cc).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/fast_divide.h"  // FERRULE_HOST_DEVICE

namespace ferrule {

struct ScaleInverse {
  float upper = 0;  // 1 / scale rounded down
  float lower = 0;  // what it lacks, not below 0: -0 times both stays -0
};

// `near`: 1 / scale rounded to float32. It, scale and `upper` are normal numbers, or NaN; `lower`
// may be 0 or subnormal, so that none of this is to be compiled with -ftz=true.
FERRULE_HOST_DEVICE ScaleInverse InverseOf(float scale, float near) {
  const float rest = fmaf(-near, scale, 1.0f);  // exact
  uint32_t bits, sign;
  memcpy(&bits, &near, sizeof(bits));
  memcpy(&sign, &rest, sizeof(sign));
  bits -= sign >> 31;  // an ulp less where it was rounded up
  ScaleInverse inverse;
  memcpy(&inverse.upper, &bits, sizeof(bits));
  inverse.lower = fmaf(-inverse.upper, scale, 1.0f) * inverse.upper;
  return inverse;
}

FERRULE_HOST_DEVICE float Quotient(float x, const ScaleInverse& by) {
  return fmaf(x, by.upper, x * by.lower);
}

}  // namespace ferrule
