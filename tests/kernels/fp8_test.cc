// SPDX-License-Identifier: Apache-2.0
#include "kernels/fp8.h"

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "tests/catch.h"

using namespace ferrule;

namespace {

// From the definition of the format, without bit tricks.
double Formula(int code) {
  const int exponent = code / 8 % 16;
  const int mantissa = code % 8;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double value =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code >= 128 ? -value : value;
}

// The nearest of all codes; of two equally near the one with an even mantissa.
int Search(double value) {
  int best = -1;
  for (int code = 0; code < 256; ++code) {
    const double candidate = Formula(code);
    if (std::isnan(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    const double distance = std::abs(candidate - value);
    const double nearest = best < 0 ? INFINITY : std::abs(Formula(best) - value);
    if (distance < nearest || (distance == nearest && code % 2 == 0)) best = code;
  }
  return best;
}

}  // namespace

TEST_CASE("all 256 E4M3 codes decode to what the format says") {
  for (int code = 0; code < 256; ++code) {
    const float value = E4m3ToFloat(static_cast<uint8_t>(code));
    INFO("code " << code);
    if (std::isnan(Formula(code))) {
      CHECK(std::isnan(value));
    } else {
      CHECK(static_cast<double>(value) == Formula(code));
      CHECK(std::signbit(value) == (code >= 128));
      CHECK(FloatToE4m3(value) == code);
    }
  }
}

TEST_CASE("encoding gives the nearest code, ties to even, saturated") {
  std::vector<float> values{
      0.0f,      -0.0f,          447.9f,   448,       463.9f,    464,
      464.1f,    1e30f,          0x1p-10f, 0x1p-149f, 0x1.8p-9f, 0x1.000002p-10f,
      0x1.fp-7f, 0x1.fffffep-7f, 3.4e38f};
  for (int code = 0; code < 126; ++code) {
    const float middle = static_cast<float>((Formula(code) + Formula(code + 1)) / 2);
    values.insert(values.end(),
                  {middle, std::nextafterf(middle, 0), std::nextafterf(middle, 1e9f)});
  }
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-12, 10);
  for (int i = 0; i < 20000; ++i) values.push_back(std::exp2(exponent(random)));
  int wrong = 0;
  for (const float value : values)
    for (const float v : {value, -value})
      if (FloatToE4m3(v) != Search(v) && ++wrong < 5) {
        INFO(v);
        CHECK(FloatToE4m3(v) == Search(v));
      }
  CHECK(wrong == 0);
}

TEST_CASE("NaN and Inf become the NaN code, never 448") {
  for (const float v : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY})
    CHECK(FloatToE4m3(v) == kE4m3Nan);
}

TEST_CASE("BF16 goes there and back, and rounds to nearest even") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto code = static_cast<uint16_t>(bits);
    const float value = Bf16ToFloat(code);
    if (std::isnan(value)) {
      wrong += !std::isnan(Bf16ToFloat(FloatToBf16(value)));
      continue;
    }
    wrong += FloatToBf16(value) != code;
    if (!std::isfinite(value)) continue;
    // A bit below, at and above the middle between this and the next larger magnitude.
    const uint32_t middle = bits << 16 | 0x8000;
    wrong += FloatToBf16(std::bit_cast<float>(middle - 1)) != code;
    wrong += FloatToBf16(std::bit_cast<float>(middle)) != (bits % 2 == 0 ? bits : bits + 1);
    wrong += FloatToBf16(std::bit_cast<float>(middle + 1)) != bits + 1;
  }
  CHECK(wrong == 0);
  // A NaN whose payload is only in the lower half must not turn into Inf.
  CHECK(std::isnan(Bf16ToFloat(FloatToBf16(std::bit_cast<float>(0x7F800001u)))));
  CHECK(std::isnan(Bf16ToFloat(FloatToBf16(std::bit_cast<float>(0xFFFFFFFFu)))));
}

TEST_CASE("F16 and E8M0 decode to what the formats say") {
  int wrong = 0;
  for (int bits = 0; bits < 65536; ++bits) {
    const int exponent = bits >> 10 & 31;
    const int mantissa = bits & 1023;
    double value = exponent == 0    ? std::ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa == 0 ? INFINITY : std::nan(""))
                                    : std::ldexp(1024 + mantissa, exponent - 25);
    if (bits >= 32768) value = -value;
    const double found = F16ToFloat(static_cast<uint16_t>(bits));
    wrong += std::isnan(value) ? !std::isnan(found)
                               : found != value || std::signbit(found) != std::signbit(value);
  }
  CHECK(wrong == 0);
  for (int code = 0; code < 255; ++code)
    CHECK(static_cast<double>(E8m0ToFloat(static_cast<uint8_t>(code))) ==
          std::ldexp(1, code - 127));
  CHECK(std::isnan(E8m0ToFloat(255)));
}
