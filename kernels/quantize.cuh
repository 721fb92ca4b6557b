// SPDX-License-Identifier: Apache-2.0
// The arithmetic of kernels/quantize.h on the GPU, equal to the CPU's in every bit.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace ferrule::sm90 {

// Largest |x| of BF16 pairs, as BF16 bits in both halves: without the sign, bits order like values,
// NaN above Inf.
__device__ __forceinline__ uint32_t Amax(uint32_t amax, uint32_t pair) {
  return __vmaxu2(amax, pair & 0x7FFF7FFFu);
}
__device__ __forceinline__ uint32_t Amax(uint32_t amax, uint4 v) {
  return Amax(Amax(Amax(Amax(amax, v.x), v.y), v.z), v.w);
}

// RN(x / scale) given inverse = RN(1 / scale): the product is off by an ulp at most, and one exact
// remainder makes it right (Markstein), as long as nothing underflows. Where it does the quotient
// is far below half the smallest code, 2^-10, and becomes zero either way.
__device__ __forceinline__ float Quotient(float x, float scale, float inverse) {
  const float q = x * inverse;
  return __fmaf_rn(-__fmaf_rn(q, scale, -x), inverse, q);  // signs so that -0 stays -0
}

// The scale of a group whose largest |x| is `amax` (BF16 bits): NaN when that is not finite.
__device__ __forceinline__ float ScaleOf(uint32_t amax, bool ue8m0) {
  if (amax > 0x7F7F) return __uint_as_float(0x7FC00000);
  const float largest = fmaxf(__uint_as_float(amax << 16), 1e-10f);
  float scale = Quotient(largest, 448.0f, 1.0f / 448.0f);
  if (ue8m0) scale = __uint_as_float((__float_as_uint(scale) + 0x7FFFFF) & 0x7F800000);
  return scale;
}

// Four BF16 values → four codes. Saturates at ±448; NaN gives 0x7F.
__device__ __forceinline__ uint32_t Encode(uint32_t low, uint32_t high, float scale,
                                           float inverse) {
  const float a = Quotient(__uint_as_float(low << 16), scale, inverse);
  const float b = Quotient(__uint_as_float(low & 0xFFFF0000u), scale, inverse);
  const float c = Quotient(__uint_as_float(high << 16), scale, inverse);
  const float d = Quotient(__uint_as_float(high & 0xFFFF0000u), scale, inverse);
  const uint32_t lower = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t upper = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return lower | upper << 16;
}
__device__ __forceinline__ uint2 Encode(uint4 a, float scale, float inverse) {
  return make_uint2(Encode(a.x, a.y, scale, inverse), Encode(a.z, a.w, scale, inverse));
}

}  // namespace ferrule::sm90
