// SPDX-License-Identifier: Apache-2.0
// wgmma for tiny and wide token tiles: D[64, N] (+)= A[64, 32 bytes] · B[N, 32 bytes]ᵀ, D in
// float32 registers of one warpgroup, A and B in shared memory (K-major, 128-byte swizzle, see
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

// clang-format off: one operand list a tile width
#define FERRULE_WGMMA_8(KIND, TAIL)                                                         \
  asm volatile("{.reg .pred p; setp.ne.b32 p,%6,0; wgmma.mma_async.sync.aligned.m64n8" KIND \
               " {"                                                                         \
               "%0,%1,%2,%3"                                                                \
               "},%4,%5,p,1,1" TAIL ";}"                                                    \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                             \
               : "l"(a), "l"(b), "r"(accumulate))
template <>
__device__ __forceinline__ void WgmmaE4m3<8>(float (&d)[4], uint64_t a, uint64_t b,
                                             int accumulate) {
  FERRULE_WGMMA_8("k32.f32.e4m3.e4m3", "");
}
template <>
__device__ __forceinline__ void WgmmaBf16<8>(float (&d)[4], uint64_t a, uint64_t b,
                                             int accumulate) {
  FERRULE_WGMMA_8("k16.f32.bf16.bf16", ",0,0");
}
#undef FERRULE_WGMMA_8
#define FERRULE_WGMMA_16(KIND, TAIL)                                                          \
  asm volatile("{.reg .pred p; setp.ne.b32 p,%10,0; wgmma.mma_async.sync.aligned.m64n16" KIND \
               " {"                                                                           \
               "%0,%1,%2,%3,%4,%5,%6,%7"                                                      \
               "},%8,%9,p,1,1" TAIL ";}"                                                      \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),      \
                 "+f"(d[6]), "+f"(d[7])                                                       \
               : "l"(a), "l"(b), "r"(accumulate))
template <>
__device__ __forceinline__ void WgmmaE4m3<16>(float (&d)[8], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_16("k32.f32.e4m3.e4m3", "");
}
template <>
__device__ __forceinline__ void WgmmaBf16<16>(float (&d)[8], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_16("k16.f32.bf16.bf16", ",0,0");
}
#undef FERRULE_WGMMA_16
#define FERRULE_WGMMA_32(KIND, TAIL)                                                          \
  asm volatile("{.reg .pred p; setp.ne.b32 p,%18,0; wgmma.mma_async.sync.aligned.m64n32" KIND \
               " {"                                                                           \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"                        \
               "},%16,%17,p,1,1" TAIL ";}"                                                    \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),      \
                 "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),    \
                 "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])                           \
               : "l"(a), "l"(b), "r"(accumulate))
template <>
__device__ __forceinline__ void WgmmaE4m3<32>(float (&d)[16], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_32("k32.f32.e4m3.e4m3", "");
}
template <>
__device__ __forceinline__ void WgmmaBf16<32>(float (&d)[16], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_32("k16.f32.bf16.bf16", ",0,0");
}
#undef FERRULE_WGMMA_32
#define FERRULE_WGMMA_64(KIND, TAIL)                                                           \
  asm volatile("{.reg .pred p; setp.ne.b32 p,%34,0; wgmma.mma_async.sync.aligned.m64n64" KIND  \
               " {"                                                                            \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                        \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"               \
               "},%32,%33,p,1,1" TAIL ";}"                                                     \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),       \
                 "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),     \
                 "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), \
                 "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
                 "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), \
                 "+f"(d[30]), "+f"(d[31])                                                      \
               : "l"(a), "l"(b), "r"(accumulate))
template <>
__device__ __forceinline__ void WgmmaE4m3<64>(float (&d)[32], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_64("k32.f32.e4m3.e4m3", "");
}
template <>
__device__ __forceinline__ void WgmmaBf16<64>(float (&d)[32], uint64_t a, uint64_t b,
                                              int accumulate) {
  FERRULE_WGMMA_64("k16.f32.bf16.bf16", ",0,0");
}
#undef FERRULE_WGMMA_64
#define FERRULE_WGMMA_128(KIND, TAIL)                                                          \
  asm volatile("{.reg .pred p; setp.ne.b32 p,%66,0; wgmma.mma_async.sync.aligned.m64n128" KIND \
               " {"                                                                            \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                        \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"              \
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"              \
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"               \
               "},%64,%65,p,1,1" TAIL ";}"                                                     \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),       \
                 "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),     \
                 "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), \
                 "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
                 "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), \
                 "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
                 "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), \
                 "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
                 "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), \
                 "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), \
                 "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])                            \
               : "l"(a), "l"(b), "r"(accumulate))
template <>
__device__ __forceinline__ void WgmmaE4m3<128>(float (&d)[64], uint64_t a, uint64_t b,
                                               int accumulate) {
  FERRULE_WGMMA_128("k32.f32.e4m3.e4m3", "");
}
template <>
__device__ __forceinline__ void WgmmaBf16<128>(float (&d)[64], uint64_t a, uint64_t b,
                                               int accumulate) {
  FERRULE_WGMMA_128("k16.f32.bf16.bf16", ",0,0");
}
#undef FERRULE_WGMMA_128
// clang-format on

}  // namespace ferrule::sm90
