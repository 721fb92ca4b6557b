// SPDX-License-Identifier: Apache-2.0
// The small floating-point types, to and from float32, bit by bit. Every conversion to float32 is
// exact. Pure functions; any thread. The default rounding mode is assumed.
//
//   E4M3 (the "fn" kind)  s eeee mmm, bias 7: 254 finite codes, max 448, smallest normal 2^-6,
//                         smallest subnormal 2^-9, NaN 0x7F and 0xFF, no Inf
//   BF16                  the upper half of a float32
//   F16                   s eeeee mmmmmmmmmm, bias 15
//   E8M0                  2^(code - 127), 0xFF NaN: a scale, no sign, no zero
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace ferrule {

constexpr float kE4m3Max = 448.0f;
constexpr uint8_t kE4m3Nan = 0x7F;

extern const std::array<float, 256> kE4m3Values;  // by code
inline float E4m3ToFloat(uint8_t code) { return kE4m3Values[code]; }

// Nearest, ties to even. Finite values saturate at ±448. NaN, and also ±Inf, give kE4m3Nan: stacks
// differ here (PTX satfinite makes Inf 448), and an Inf that turns into 448 is never seen again.
uint8_t FloatToE4m3(float value);

inline float Bf16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
uint16_t FloatToBf16(float value);  // nearest even, overflow to Inf; NaN stays NaN, quiet, its sign
float F16ToFloat(uint16_t bits);
float E8m0ToFloat(uint8_t code);  // code 0 is 2^-127, a float32 subnormal

}  // namespace ferrule
