// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/group.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/fp8.h"

namespace ferrule::test {
namespace {

constexpr uint32_t kPoison = 0x7FBADBAD;    // a NaN as F32, and its upper half as BF16
constexpr size_t kGuard = 37;               // words before and after; odd, so that y is not aligned
constexpr float kNormalSize = 112 / 0.05f;  // weights → codes of a quarter of the largest

// Columns of x that have one magnitude, and how many there are of the first.
struct Runs {
  int64_t columns = 64, first = 64;
};
Runs RunsOf(const std::vector<Shape>& shapes) {
  Runs runs;
  for (const Shape& s : shapes) {
    if (s.scheme == LinearScheme::kBf16) continue;
    if (!s.normal) return {};
    runs = {128, 128 - s.k_phase};
  }
  return runs;
}

}  // namespace

TestGroup::TestGroup(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes)
    : random_(seed) {
  group_.tokens = tokens;
  group_.in = in;
  group_.x_stride = in + 3;
  // Each 64 columns, or each block, have their own magnitude, so that a scale of the wrong group
  // shows.
  const Runs runs = RunsOf(shapes);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> magnitude(-1.5f, 1.5f);
  x_.assign(static_cast<size_t>(tokens * group_.x_stride), 0x7FC1);  // gaps are NaN
  for (int64_t m = 0; m < tokens; ++m) {
    float size = 1;
    for (int64_t k = 0; k < in; ++k) {
      if (k == 0 || (k >= runs.first && (k - runs.first) % runs.columns == 0))
        size = std::exp(magnitude(random_));
      x(m)[k] = FloatToBf16(size * normal(random_));
    }
  }
  group_.x = x_.data();
  group_.nonfinite_tokens = &nonfinite_;
  for (const Shape& shape : shapes) AddSegment(shape);
  group_.segments = segments_.data();
  group_.segment_count = static_cast<int32_t>(segments_.size());
  Poison();
}

void TestGroup::AddSegment(const Shape& shape) {
  const int64_t in = group_.in;
  LinearSegment s;
  s.scheme = shape.scheme;
  s.weight_type = shape.weight_type;
  s.rows = shape.rows;
  s.weight_stride = in + 5;
  s.n_phase = shape.n_phase;
  s.k_phase = shape.k_phase;
  s.ue8m0 = shape.ue8m0;
  s.y_type = shape.y_type;
  s.y_stride = shape.rows + 2;

  const bool fp8 = s.scheme != LinearScheme::kBf16;
  const size_t element = fp8 ? 1 : s.weight_type == LinearWeight::kF32 ? 4 : 2;
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> code(0, 255);
  auto& weight = bytes_.emplace_back(static_cast<size_t>(s.rows * s.weight_stride) * element, 0x7F);
  for (int64_t n = 0; n < s.rows; ++n) {
    for (int64_t k = 0; k < in; ++k) {
      uint8_t* at = weight.data() + static_cast<size_t>(n * s.weight_stride + k) * element;
      const float value = normal(random_) * 0.05f;
      if (fp8 && shape.normal) {
        *at = FloatToE4m3(value * kNormalSize);
      } else if (fp8) {
        int c = code(random_);
        while ((c & 0x7F) == 0x7F) c = code(random_);
        *at = static_cast<uint8_t>(c);
      } else if (s.weight_type == LinearWeight::kF32) {
        std::memcpy(at, &value, 4);
      } else {
        // A BF16 pattern; read as F16 it is some other finite number of moderate size.
        uint16_t bits = FloatToBf16(value);
        if (s.weight_type == LinearWeight::kF16)
          bits = static_cast<uint16_t>((bits & 0x83FF) | 0x3000);
        std::memcpy(at, &bits, 2);
      }
    }
  }
  s.weight = weight.data();

  if (fp8) {
    int64_t scale_rows = 1;
    int64_t columns = 1;
    if (s.scheme == LinearScheme::kFp8Block) {
      scale_rows = (s.rows + s.n_phase + 127) / 128;
      columns = (in + s.k_phase + 127) / 128;
      s.scale_stride = columns + 1;
    } else if (s.scheme == LinearScheme::kFp8Channel) {
      scale_rows = s.rows;
      s.scale_stride = shape.extreme ? 3 : 0;
    }
    const int64_t stride = s.scale_stride == 0 ? 1 : s.scale_stride;
    auto& scale = floats_.emplace_back(static_cast<size_t>(scale_rows * stride), std::nanf(""));
    std::uniform_real_distribution<float> wide(-4, 4);
    std::uniform_real_distribution<float> narrow(-1, 1);
    for (int64_t r = 0; r < scale_rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        scale[static_cast<size_t>(r * stride + c)] =
            shape.extreme ? std::pow(10.0f, wide(random_)) : 1e-3f * std::exp(narrow(random_));
    s.scale = scale.data();
    if (shape.fixed) s.input_scale = floats_.emplace_back(1, 0.013f).data();
  }
  if (shape.bias) {
    auto& bias = floats_.emplace_back();
    for (int64_t n = 0; n < s.rows; ++n) bias.push_back(normal(random_));
    s.bias = bias.data();
  }
  const size_t size = static_cast<size_t>(group_.tokens * s.y_stride);
  const size_t words = s.y_type == LinearOutput::kF32 ? size : (size + 1) / 2;
  auto& output = outputs_.emplace_back(words + 2 * kGuard);
  s.y = output.data() + kGuard;
  segments_.push_back(s);
}

void TestGroup::Poison() {
  for (auto& output : outputs_)
    for (uint32_t& word : output) word = kPoison;
}

std::vector<float> TestGroup::Y(size_t segment) const {
  const LinearSegment& s = segments_[segment];
  std::vector<float> y;
  for (int64_t m = 0; m < group_.tokens; ++m) {
    for (int64_t n = 0; n < s.rows; ++n) {
      const int64_t at = m * s.y_stride + n;
      y.push_back(s.y_type == LinearOutput::kF32
                      ? static_cast<const float*>(s.y)[at]
                      : Bf16ToFloat(static_cast<const uint16_t*>(s.y)[at]));
    }
  }
  return y;
}

std::vector<uint32_t> TestGroup::Raw() const {
  std::vector<uint32_t> raw;
  for (const auto& output : outputs_) raw.insert(raw.end(), output.begin(), output.end());
  return raw;
}

std::string TestGroup::Damage() const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const LinearSegment& s = segments_[i];
    const bool f32 = s.y_type == LinearOutput::kF32;
    const int64_t unit = f32 ? 1 : 2;  // elements in a word
    const auto* halves = reinterpret_cast<const uint8_t*>(outputs_[i].data());
    const int64_t count = static_cast<int64_t>(outputs_[i].size()) * unit;
    for (int64_t e = 0; e < count; ++e) {
      const int64_t at = e - static_cast<int64_t>(kGuard) * unit;
      const bool inside = at >= 0 && at / s.y_stride < group_.tokens && at % s.y_stride < s.rows;
      if (inside) continue;
      uint32_t found = 0;
      uint32_t wanted = kPoison;
      std::memcpy(&found, halves + static_cast<size_t>(e) * (f32 ? 4 : 2), f32 ? 4 : 2);
      if (!f32) wanted = e % 2 == 0 ? kPoison & 0xFFFF : kPoison >> 16;
      if (found != wanted)
        return "segment " + std::to_string(i) + ", element " + std::to_string(at);
    }
  }
  return "";
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 1;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) {
      if (std::isnan(a[i]) != std::isnan(b[i])) return 1;
      continue;
    }
    if (std::isinf(a[i]) && a[i] == b[i]) continue;
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  if (difference == 0) return 0;
  return norm == 0 ? 1 : std::sqrt(difference / norm);
}

}  // namespace ferrule::test
