// SPDX-License-Identifier: Apache-2.0
// wgmma for token or row tiles of many widths: D[64, N] (+)= A[64, 32 bytes] · B[N, 32 bytes]ᵀ, D
// in float32 registers of one warpgroup, A and B in shared memory (K-major, 128-byte swizzle, see
// Descriptor in sm90.cuh). 32 bytes are 32 E4M3 or 16 BF16 values of K.
//
// Thread t of the warpgroup holds, for h = 0 … N/8 - 1, row r = 16·(t/32) + (t%32)/4, c = 2·(t%4):
//   d[4h] = D[r, 8h+c]  d[4h+1] = D[r, 8h+c+1]  d[4h+2] = D[r+8, 8h+c]  d[4h+3] = D[r+8, 8h+c+1]
#pragma once

#include <cstdint>

namespace ferrule::sm90 {

// `accumulate` 0: D is overwritten.
template <int N>
__device__ __forceinline__ void WgmmaE4m3(float (&d)[N / 2], uint64_t a, uint64_t b,
                                          int accumulate);
template <int N>
__device__ __forceinline__ void WgmmaBf16(float (&d)[N / 2], uint64_t a, uint64_t b,
                                          int accumulate);

// The operands of D: four, eight … at a time from number `i` on, and their names.
// clang-format off: lists
#define FERRULE_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FERRULE_D8(i) FERRULE_D4(i), FERRULE_D4(i + 4)
#define FERRULE_D16(i) FERRULE_D8(i), FERRULE_D8(i + 8)
#define FERRULE_D24(i) FERRULE_D16(i), FERRULE_D8(i + 16)
#define FERRULE_D32(i) FERRULE_D16(i), FERRULE_D16(i + 16)
#define FERRULE_D40(i) FERRULE_D32(i), FERRULE_D8(i + 32)
#define FERRULE_D48(i) FERRULE_D32(i), FERRULE_D16(i + 32)
#define FERRULE_D56(i) FERRULE_D48(i), FERRULE_D8(i + 48)
#define FERRULE_D64(i) FERRULE_D32(i), FERRULE_D32(i + 32)
#define FERRULE_D80(i) FERRULE_D64(i), FERRULE_D16(i + 64)
#define FERRULE_D96(i) FERRULE_D64(i), FERRULE_D32(i + 64)
#define FERRULE_NAMES4 "%0,%1,%2,%3"
#define FERRULE_NAMES8 FERRULE_NAMES4 ",%4,%5,%6,%7"
#define FERRULE_NAMES16 FERRULE_NAMES8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define FERRULE_NAMES24 FERRULE_NAMES16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define FERRULE_NAMES32 FERRULE_NAMES24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define FERRULE_NAMES40 FERRULE_NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define FERRULE_NAMES48 FERRULE_NAMES40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define FERRULE_NAMES56 FERRULE_NAMES48 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define FERRULE_NAMES64 FERRULE_NAMES56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define FERRULE_NAMES80 \
  FERRULE_NAMES64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define FERRULE_NAMES96 \
  FERRULE_NAMES80 ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"

// `count`: operands of D, N / 2; `a`, `b`, `accumulate`: the names after them.
#define FERRULE_WGMMA(KIND, N, count, A, B, ACCUMULATE, SHAPE, TAIL)                       \
  template <>                                                                              \
  __device__ __forceinline__ void KIND<N>(float(&d)[count], uint64_t a, uint64_t b,        \
                                          int accumulate) {                                \
    asm volatile("{.reg .pred p; setp.ne.b32 p," ACCUMULATE                                \
                 ",0; wgmma.mma_async.sync.aligned."                                       \
                 "m64n" #N SHAPE " {" FERRULE_NAMES##count "}," A "," B ",p,1,1" TAIL ";}" \
                 : FERRULE_D##count(0)                                                     \
                 : "l"(a), "l"(b), "r"(accumulate));                                       \
  }
#define FERRULE_E4M3(N, count, A, B, ACCUMULATE) \
  FERRULE_WGMMA(WgmmaE4m3, N, count, A, B, ACCUMULATE, "k32.f32.e4m3.e4m3", "")
#define FERRULE_BF16(N, count, A, B, ACCUMULATE) \
  FERRULE_WGMMA(WgmmaBf16, N, count, A, B, ACCUMULATE, "k16.f32.bf16.bf16", ",0,0")

FERRULE_E4M3(8, 4, "%4", "%5", "%6")
FERRULE_E4M3(16, 8, "%8", "%9", "%10")
FERRULE_E4M3(32, 16, "%16", "%17", "%18")
FERRULE_E4M3(48, 24, "%24", "%25", "%26")
FERRULE_E4M3(64, 32, "%32", "%33", "%34")
FERRULE_E4M3(80, 40, "%40", "%41", "%42")
FERRULE_E4M3(96, 48, "%48", "%49", "%50")
FERRULE_E4M3(112, 56, "%56", "%57", "%58")
FERRULE_E4M3(128, 64, "%64", "%65", "%66")
FERRULE_E4M3(160, 80, "%80", "%81", "%82")
FERRULE_E4M3(192, 96, "%96", "%97", "%98")
FERRULE_BF16(8, 4, "%4", "%5", "%6")
FERRULE_BF16(16, 8, "%8", "%9", "%10")
FERRULE_BF16(32, 16, "%16", "%17", "%18")
FERRULE_BF16(64, 32, "%32", "%33", "%34")
FERRULE_BF16(128, 64, "%64", "%65", "%66")

#undef FERRULE_D4
#undef FERRULE_NAMES4
#undef FERRULE_D8
#undef FERRULE_NAMES8
#undef FERRULE_D16
#undef FERRULE_NAMES16
#undef FERRULE_D24
#undef FERRULE_NAMES24
#undef FERRULE_D32
#undef FERRULE_NAMES32
#undef FERRULE_D40
#undef FERRULE_NAMES40
#undef FERRULE_D48
#undef FERRULE_NAMES48
#undef FERRULE_D56
#undef FERRULE_NAMES56
#undef FERRULE_D64
#undef FERRULE_NAMES64
#undef FERRULE_D80
#undef FERRULE_NAMES80
#undef FERRULE_D96
#undef FERRULE_NAMES96
#undef FERRULE_E4M3
#undef FERRULE_BF16
#undef FERRULE_WGMMA
// clang-format on

}  // namespace ferrule::sm90
