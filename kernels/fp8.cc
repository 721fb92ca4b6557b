// SPDX-License-Identifier: Apache-2.0
#include "kernels/fp8.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace ferrule {
namespace {

constexpr uint32_t kInfBits = 0x7F800000;

// From the bit layout: normal (8 + m) · 2^(e - 10), subnormal m · 2^-9.
constexpr float DecodeE4m3(uint32_t code) {
  const uint32_t exponent = code >> 3 & 15;
  const uint32_t mantissa = code & 7;
  if ((code & 0x7F) == kE4m3Nan) return std::numeric_limits<float>::quiet_NaN();
  float value = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa) / 512;
  for (uint32_t e = 1; e < exponent; ++e) value *= 2;
  return code & 0x80 ? -value : value;
}

}  // namespace

constexpr std::array<float, 256> kE4m3Values = [] {
  std::array<float, 256> values{};
  for (uint32_t code = 0; code < 256; ++code) values[code] = DecodeE4m3(code);
  return values;
}();

uint8_t FloatToE4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 24 & 0x80;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= kInfBits) return kE4m3Nan;
  const float absolute = std::bit_cast<float>(magnitude);
  if (absolute >= kE4m3Max) return static_cast<uint8_t>(sign | 0x7E);
  if (absolute < 0x1p-6f) {
    // Subnormal: the sum's unit in the last place is 2^-9, so the addition rounds, ties to even. A
    // carry into 8 is the code of 2^-6.
    const float sum = absolute + 16384.0f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(sum) & 0xF));
  }
  // Normal: round the mantissa from 23 bits to 3, a carry goes into the exponent; rebias 127 to 7.
  const uint32_t rounded = magnitude + 0x7FFFF + (magnitude >> 20 & 1);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

uint16_t FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > kInfBits) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float F16ToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 31;
  const uint32_t mantissa = bits & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | kInfBits | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float value = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -value : value;
}

float E8m0ToFloat(uint8_t code) {
  if (code == 0xFF) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<uint32_t>(code) << 23);
}

}  // namespace ferrule
