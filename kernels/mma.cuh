// SPDX-License-Identifier: Apache-2.0
// mma.m16n8k16 with operands that come from memory 16 bytes a lane: BF16, and E4M3 widened to F16,
// exactly. The columns of a block are multiplied in an order that makes a lane's 16 bytes
// neighbours, the same for both operands.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace ferrule {

// The `i`-th pair of 16-bit operands of 16 bytes: 8 pairs of E4M3, 4 of BF16.
template <bool fp8>
__device__ __forceinline__ uint32_t Pair(const uint4& v, int i) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  if constexpr (!fp8) {
    return words[i];
  } else {
    const auto codes = static_cast<__nv_fp8x2_storage_t>(words[i / 2] >> i % 2 * 16);
    const __half2_raw halves = __nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3);
    return static_cast<uint32_t>(halves.y) << 16 | halves.x;
  }
}

// d[16][8] += a[16][16] · b[8][16]ᵀ. Of lane l: rows l / 4 and l / 4 + 8 of `a`, row l / 4 of `b`;
// of d rows l / 4 (0, 1) and l / 4 + 8 (2, 3), columns l % 4 · 2 and the next.
template <bool fp8>
__device__ __forceinline__ void Mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  if constexpr (fp8) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},"
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace ferrule
