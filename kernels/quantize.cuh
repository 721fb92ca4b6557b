// SPDX-License-Identifier: Apache-2.0
// The arithmetic of kernels/quantize.h on the GPU, equal to the CPU's in every bit.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/scale_inverse.h"

namespace ferrule::sm90 {

// Whether a column, which may be below 0, is one of x.
__device__ __forceinline__ bool Inside(int column, int columns) {
  return static_cast<uint32_t>(column) < static_cast<uint32_t>(columns);
}
// index · step, of a step below 2^32: one instruction.
__device__ __forceinline__ uint64_t Far(int index, int64_t step) {
  return uint64_t{static_cast<uint32_t>(index)} * static_cast<uint32_t>(step);
}

// Largest |x| of BF16 pairs, as BF16 bits in both halves: without the sign, bits order like values,
// NaN above Inf.
__device__ __forceinline__ uint32_t Amax(uint32_t amax, uint32_t pair) {
  return __vmaxu2(amax, pair & 0x7FFF7FFFu);
}
__device__ __forceinline__ uint32_t Amax(uint32_t amax, uint4 v) {
  return Amax(Amax(Amax(Amax(amax, v.x), v.y), v.z), v.w);
}

// The scale of a group whose largest |x| is `amax` (BF16 bits): NaN when that is not finite. No
// branches: lanes have other groups.
__device__ __forceinline__ float ScaleOf(uint32_t amax, bool ue8m0) {
  const float largest = fmaxf(__uint_as_float(amax << 16), 1e-10f);
  // RN(largest / 448): a product is off by an ulp at most, and one exact remainder makes it right
  // (Markstein).
  constexpr float kInverse = 1.0f / 448.0f;
  const float near = largest * kInverse;
  float scale = __fmaf_rn(-__fmaf_rn(near, 448.0f, -largest), kInverse, near);
  if (ue8m0) scale = __uint_as_float((__float_as_uint(scale) + 0x7FFFFF) & 0x7F800000);
  return amax > 0x7F7F ? __uint_as_float(0x7FC00000) : scale;
}

// Of what ScaleOf gives. Those scales lie between 2^-43 and 2^120, where neither they nor their
// inverses are subnormal, so that nothing need be looked out for, as __frcp_rn does.
__device__ __forceinline__ ScaleInverse InverseOf(float scale) {
  float about;
  asm("rcp.approx.ftz.f32 %0,%1;" : "=f"(about) : "f"(scale));
  return ferrule::InverseOf(scale, __fmaf_rn(about, -__fmaf_rn(about, scale, -1.0f), about));
}

// Four BF16 values → four codes. Saturates at ±448; NaN gives 0x7F.
__device__ __forceinline__ uint32_t Encode(uint32_t low, uint32_t high, const ScaleInverse& by) {
  const float a = Quotient(__uint_as_float(low << 16), by);
  const float b = Quotient(__uint_as_float(low & 0xFFFF0000u), by);
  const float c = Quotient(__uint_as_float(high << 16), by);
  const float d = Quotient(__uint_as_float(high & 0xFFFF0000u), by);
  const uint32_t lower = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t upper = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return lower | upper << 16;
}
__device__ __forceinline__ uint2 Encode(uint4 a, const ScaleInverse& by) {
  return make_uint2(Encode(a.x, a.y, by), Encode(a.z, a.w, by));
}

}  // namespace ferrule::sm90
