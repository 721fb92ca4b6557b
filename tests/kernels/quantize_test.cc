// SPDX-License-Identifier: Apache-2.0
#include "kernels/quantize.h"

#include <bit>
#include <cmath>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/fp8.h"
#include "kernels/scale_inverse.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

// The loops under test: the plain ones, and AVX2 where this machine can run them.
std::vector<const QuantizeLoops*> AllLoops() {
  std::vector<const QuantizeLoops*> all{&PlainQuantize()};
  const Machine& machine = ThisMachine();
  if (Avx2Quantize() != nullptr && machine.avx2 && machine.f16c) all.push_back(Avx2Quantize());
  return all;
}

double Exact(int code) {
  const int exponent = code / 8 % 16;
  const int mantissa = code % 8;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

// The nearest magnitude by search, ties to even: the rule, not the bits.
int Search(double magnitude) {
  int best = 0;
  for (int code = 1; code <= 126; ++code) {
    const double distance = std::abs(Exact(code) - magnitude);
    const double nearest = std::abs(Exact(best) - magnitude);
    if (distance < nearest || (distance == nearest && code % 2 == 0)) best = code;
  }
  return best;
}

uint8_t Rule(uint16_t x, float scale) {
  const float value = std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
  const float quotient = value / scale;
  if (!std::isfinite(value) || std::isnan(quotient)) return 0x7F;
  const int code = Search(std::min(std::abs(static_cast<double>(quotient)), 448.0));
  return static_cast<uint8_t>(code + (std::signbit(quotient) ? 128 : 0));
}

std::vector<uint16_t> AllInputs() {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return all;
}

}  // namespace

TEST_CASE("every BF16 value is quantized as the rule says, by all loops alike") {
  const auto inputs = AllInputs();
  for (const float scale : {1.0f, 0.013f, 1e-10f / 448, 3.3e38f / 448, 0x1p-9f, 7.1e-4f, 448.0f,
                            -0.5f, 0.0f, INFINITY, std::nanf("")}) {
    std::vector<uint8_t> expected;
    for (const uint16_t x : inputs) expected.push_back(Rule(x, scale));
    for (const QuantizeLoops* loops : AllLoops()) {
      std::vector<uint8_t> codes(inputs.size());
      loops->encode(inputs.data(), static_cast<int64_t>(inputs.size()), scale, codes.data());
      INFO("scale " << scale << (loops == &PlainQuantize() ? " plain" : " avx2"));
      CHECK(codes == expected);
    }
  }
}

TEST_CASE("every BF16 value as the largest of its group, by all loops alike") {
  for (const bool ue8m0 : {false, true}) {
    int wrong = 0;
    for (const uint16_t x : AllInputs()) {
      const float value = std::abs(Bf16ToFloat(x));
      float expected = std::max(value, 1e-10f) / 448.0f;
      if (ue8m0) expected = std::exp2(std::ceil(std::log2(expected)));
      if (!std::isfinite(value)) expected = std::nanf("");
      // Exactly a power of two where log2 in float is not: the smallest that is not below.
      if (ue8m0 && std::isfinite(value)) {
        const float plain = std::max(value, 1e-10f) / 448.0f;
        while (expected / 2 >= plain) expected /= 2;
        while (expected < plain) expected *= 2;
      }
      const uint16_t group[3] = {0x8000, x, 0};
      for (const QuantizeLoops* loops : AllLoops()) {
        uint8_t codes[3];
        float scale = 0;
        const XRecipe recipe{.kind = XKind::kToken, .ue8m0 = ue8m0};
        const bool finite = QuantizeRow(*loops, recipe, group, 3, codes, &scale);
        wrong += finite != std::isfinite(value);
        wrong += std::isnan(expected) ? !std::isnan(scale) : scale != expected;
        wrong += codes[1] != Rule(x, scale);
        wrong += codes[0] != (finite ? 0x80 : 0x7F);
        wrong += codes[2] != (finite ? 0x00 : 0x7F);
      }
    }
    CHECK(wrong == 0);
  }
}

// Of every amax all x below it whose quotient is no zero: signs change nothing but a code's.
TEST_CASE("codes of the GPU's two steps are those of the division, whatever amax and x") {
  const auto value = [](uint32_t bits) { return std::bit_cast<float>(bits << 16); };
  int64_t wrong = 0, coarse = 0, compared = 0;
  for (const bool ue8m0 : {false, true})
    for (uint32_t amax = 0; amax <= 0x7F7F; ++amax) {
      const float scale = ScaleOf(static_cast<uint16_t>(amax), ue8m0), near = 1.0f / scale;
      const ScaleInverse by = InverseOf(scale, near);
      if (!(by.lower >= 0) || std::signbit(by.lower) || !std::signbit(Quotient(-0.0f, by))) ++wrong;
      for (uint32_t x = amax; x + 1 > 0; --x) {
        const float quotient = value(x) / scale;
        const uint8_t code = FloatToE4m3(quotient);
        wrong += FloatToE4m3(Quotient(value(x), by)) == code ? 0 : 1;
        coarse += FloatToE4m3(value(x) * near) == code ? 0 : 1;
        ++compared;
        if (code == 0) break;  // and so are all below
      }
    }
  CHECK(wrong == 0);
  CHECK(coarse > 0);  // one step would not do
  CHECK(compared > 100000000);
}

TEST_CASE("lengths that fill no vector, and nothing beyond them is written") {
  const auto inputs = AllInputs();
  for (int64_t n = 1; n <= 70; ++n) {
    for (const QuantizeLoops* loops : AllLoops()) {
      const uint16_t* x = inputs.data() + 0x3F00 + n;
      uint16_t amax = 0;
      for (int64_t i = 0; i < n; ++i) amax = std::max<uint16_t>(amax, x[i] & 0x7FFF);
      CHECK(loops->amax(x, n) == amax);
      std::vector<uint8_t> codes(static_cast<size_t>(n) + 1, 0xEE);
      std::vector<float> values(static_cast<size_t>(n) + 1, -7);
      std::vector<float> wide(static_cast<size_t>(n) + 1, -7);
      loops->encode(x, n, 0.25f, codes.data());
      loops->decode(codes.data(), n, values.data());
      loops->widen(x, n, wide.data());
      int wrong = 0;
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        wrong += codes[i] != Rule(x[i], 0.25f);
        wrong += values[i] != E4m3ToFloat(codes[i]);
        wrong += wide[i] != Bf16ToFloat(x[i]);
      }
      CHECK(wrong == 0);
      CHECK(codes.back() == 0xEE);
      CHECK(values.back() == -7);
      CHECK(wide.back() == -7);
    }
  }
}

TEST_CASE("all codes decode alike, NaN included") {
  std::vector<uint8_t> codes;
  for (int code = 0; code < 256; ++code) codes.push_back(static_cast<uint8_t>(code));
  for (const QuantizeLoops* loops : AllLoops()) {
    std::vector<float> values(256);
    loops->decode(codes.data(), 256, values.data());
    for (size_t code = 0; code < 256; ++code)
      CHECK(std::bit_cast<uint32_t>(values[code]) ==
            std::bit_cast<uint32_t>(E4m3ToFloat(codes[code])));
  }
}

TEST_CASE("groups are the blocks of the whole row, cut to the columns held") {
  struct Row {
    int32_t group, phase;
    int64_t columns;
    std::vector<int64_t> ends;
  };
  const Row rows[] = {
      {128, 0, 256, {128, 256}}, {128, 0, 200, {128, 200}}, {128, 64, 64, {64}},
      {128, 64, 65, {64, 65}},   {128, 127, 1, {1}},        {128, 127, 130, {1, 129, 130}},
      {128, 100, 20, {20}},      {64, 0, 1, {1}},
  };
  for (const Row& row : rows) {
    const XRecipe recipe{.kind = XKind::kGroup, .group = row.group, .phase = row.phase};
    REQUIRE(BlockCount(recipe, row.columns) == static_cast<int64_t>(row.ends.size()));
    int64_t begin = 0;
    std::vector<uint16_t> x(static_cast<size_t>(row.columns));
    for (size_t k = 0; k < x.size(); ++k) x[k] = static_cast<uint16_t>(0x3F80 + k);
    std::vector<uint8_t> codes(x.size());
    std::vector<float> scales(row.ends.size());
    CHECK(QuantizeRow(PlainQuantize(), recipe, x.data(), row.columns, codes.data(), scales.data()));
    for (size_t b = 0; b < row.ends.size(); ++b) {
      CHECK(BlockBegin(recipe, static_cast<int64_t>(b)) == begin);
      CHECK(BlockEnd(recipe, static_cast<int64_t>(b), row.columns) == row.ends[b]);
      begin = row.ends[b];
      // x rises, so the last column of a group is its largest and becomes 448.
      CHECK(scales[b] == Bf16ToFloat(x[static_cast<size_t>(begin) - 1]) / 448.0f);
      CHECK(codes[static_cast<size_t>(begin) - 1] == 0x7E);
    }
  }
}
