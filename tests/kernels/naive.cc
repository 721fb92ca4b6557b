// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/naive.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ferrule::test {
namespace {

double Power(int exponent) { return std::ldexp(1.0, exponent); }

double Bf16(const void* p, int64_t at) {
  uint16_t bits = 0;
  std::memcpy(&bits, static_cast<const char*>(p) + 2 * at, 2);
  const int exponent = bits / 128 % 256;
  const int mantissa = bits % 128;
  double value = exponent == 0 ? mantissa * Power(-133) : (128 + mantissa) * Power(exponent - 134);
  if (exponent == 255) value = mantissa == 0 ? INFINITY : std::nan("");
  return bits >= 32768 ? -value : value;
}

double F16(const void* p, int64_t at) {
  uint16_t bits = 0;
  std::memcpy(&bits, static_cast<const char*>(p) + 2 * at, 2);
  const int exponent = bits / 1024 % 32;
  const int mantissa = bits % 1024;
  const double value =
      exponent == 0 ? mantissa * Power(-24) : (1024 + mantissa) * Power(exponent - 25);
  return bits >= 32768 ? -value : value;
}

double E4m3(int code) {
  const int exponent = code / 8 % 16;
  const int mantissa = code % 8;
  if (code % 128 == 127) return std::nan("");
  const double value = exponent == 0 ? mantissa * Power(-9) : (8 + mantissa) * Power(exponent - 10);
  return code >= 128 ? -value : value;
}

// To a multiple of the spacing of E4M3 at this magnitude.
double RoundE4m3(double value, bool truncate) {
  if (std::isnan(value)) return value;
  const double magnitude = std::min(std::abs(value), 448.0);
  int exponent = -6;
  while (exponent < 8 && magnitude >= Power(exponent + 1)) ++exponent;
  const double steps = magnitude / Power(exponent - 3);
  const double rounded = truncate ? std::floor(steps) : std::nearbyint(steps);
  return std::copysign(rounded * Power(exponent - 3), value);
}

double Weight(const LinearSegment& s, int64_t n, int64_t k) {
  const int64_t at = n * s.weight_stride + k;
  if (s.scheme != LinearScheme::kBf16) return E4m3(static_cast<const uint8_t*>(s.weight)[at]);
  if (s.weight_type == LinearWeight::kF32) return static_cast<const float*>(s.weight)[at];
  return s.weight_type == LinearWeight::kF16 ? F16(s.weight, at) : Bf16(s.weight, at);
}

struct Blocks {
  int64_t rows, columns;  // of the scale grid
  int64_t height, width;  // of a block
  int64_t n_phase, k_phase;
};

Blocks BlocksOf(const LinearGroup& g, const LinearSegment& s, Mutant mutant) {
  Blocks b{1, 1, 1, 1LL << 40, 0, 0};
  if (s.scheme == LinearScheme::kFp8Block) {
    b = {0, 0, s.block_n, s.block_k, s.n_phase, s.k_phase};
    b.rows = (s.rows + b.n_phase + b.height - 1) / b.height;
    b.columns = (g.in + b.k_phase + b.width - 1) / b.width;
    if (mutant == Mutant::kIgnoredNPhase) b.n_phase = 0;
    if (mutant == Mutant::kIgnoredKPhase) b.k_phase = 0;
    if (mutant == Mutant::kStretchedBlocks) b.height = (s.rows + b.rows - 1) / b.rows;
  } else if (s.scheme == LinearScheme::kFp8Channel) {
    b.rows = s.rows;
  }
  return b;
}

double Scale(const LinearSegment& s, const Blocks& b, int64_t n, int64_t k, Mutant mutant) {
  if (s.scheme == LinearScheme::kBf16) return 1;
  if (s.scheme == LinearScheme::kFp8Tensor) return s.scale[0];
  int64_t row = (n + b.n_phase) / b.height;
  int64_t column = (k + b.k_phase) / b.width;
  if (mutant == Mutant::kNextScaleRow) row = (row + 1) % b.rows;
  if (mutant == Mutant::kNextScaleColumn) column = (column + 1) % b.columns;
  if (mutant == Mutant::kPreviousScaleColumn) column = (column + b.columns - 1) % b.columns;
  const int64_t stride = s.scale_stride == 0 ? 1 : s.scale_stride;
  if (mutant == Mutant::kTransposedScales) {  // the same numbers in memory, shape turned round
    const int64_t flat = column * b.rows + row;
    row = flat / b.columns;
    column = flat % b.columns;
  }
  const double scale =
      s.scale[std::min(row, b.rows - 1) * stride + std::min(column, b.columns - 1)];
  return mutant == Mutant::kDividedScale ? 1 / scale : scale;
}

// The activation scale of the group that columns [begin, end) form.
float XScale(const LinearSegment& s, const uint16_t* x, int64_t begin, int64_t end, Mutant mutant) {
  if (s.input_scale != nullptr) return *s.input_scale;
  float amax = 0;
  for (int64_t k = begin; k < end; ++k) {
    const double value = std::abs(Bf16(x, k));
    if (!std::isfinite(value)) return std::nanf("");
    amax = std::max(amax, static_cast<float>(value));
  }
  const float scale = std::max(amax, 1e-10f) / 448.0f;
  if (!s.ue8m0 || mutant == Mutant::kUnroundedUe8m0) return scale;
  const double exponent = std::log2(static_cast<double>(scale));
  const double whole = mutant == Mutant::kFloorUe8m0 ? std::floor(exponent) : std::ceil(exponent);
  return static_cast<float>(std::exp2(whole));
}

}  // namespace

std::vector<float> Naive(const LinearGroup& g, const LinearSegment& s, Mutant mutant) {
  const Blocks b = BlocksOf(g, s, mutant);
  const bool quantized = s.scheme != LinearScheme::kBf16;
  std::vector<float> y;
  for (int64_t m = 0; m < g.tokens; ++m) {
    const uint16_t* x = static_cast<const uint16_t*>(g.x) + m * g.x_stride;
    std::vector<float> scales;
    for (int64_t begin = -b.k_phase; begin < g.in; begin += b.width)
      scales.push_back(
          mutant == Mutant::kOneScalePerToken
              ? XScale(s, x, 0, g.in, mutant)
              : XScale(s, x, std::max<int64_t>(0, begin), std::min(g.in, begin + b.width), mutant));
    std::vector<double> product(static_cast<size_t>(g.in));
    std::vector<size_t> block(static_cast<size_t>(g.in));
    for (size_t k = 0; k < product.size(); ++k) {
      product[k] = Bf16(x, static_cast<int64_t>(k));
      block[k] = static_cast<size_t>((static_cast<int64_t>(k) + b.k_phase) / b.width);
      if (!quantized) continue;
      const float scale = scales[block[k]];
      const float quotient = static_cast<float>(product[k]) / scale;
      const double code = std::isfinite(product[k])
                              ? RoundE4m3(quotient, mutant == Mutant::kTruncatedX)
                              : std::nan("");
      const size_t next =
          mutant == Mutant::kOtherXScale ? (block[k] + 1) % scales.size() : block[k];
      if (mutant != Mutant::kUnquantizedX) product[k] = code * scales[next];
    }
    for (int64_t n = 0; n < s.rows; ++n) {
      double sum = s.bias == nullptr ? 0 : s.bias[n];
      for (int64_t k = 0; k < g.in; ++k)
        sum += product[static_cast<size_t>(k)] * Weight(s, n, k) * Scale(s, b, n, k, mutant);
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

}  // namespace ferrule::test
