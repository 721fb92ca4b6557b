// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/choices.h"

namespace ferrule::test {
namespace {

LinearPool* Pool() {
  static const std::unique_ptr<LinearPool> pool = LinearPool::Create(16);
  return pool.get();
}

int64_t OutOfBounds(const std::vector<float>& y, const std::vector<float>& exact,
                    const std::vector<float>& magnitude, LinearOutput type, double cut) {
  int64_t count = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double rounding = type == LinearOutput::kBf16 ? std::fabs(exact[i]) / 256.0 : 0;
    const double bound = rounding + cut / 8192 * magnitude[i];
    if (!(std::fabs(static_cast<double>(y[i]) - exact[i]) <= bound)) ++count;
  }
  return count;
}

// What is left of outputs when those of tokens before are taken away and no more wanted than there
// are in `like`.
std::vector<float> Part(const std::vector<float>& all, int64_t first_token, int64_t rows,
                        const std::vector<float>& like) {
  const auto from = all.begin() + first_token * rows;
  return {from, from + static_cast<int64_t>(like.size())};
}

}  // namespace

Shape Fp8(int64_t rows, int32_t n_phase, int32_t k_phase) {
  Shape s;
  s.scheme = LinearScheme::kFp8Block;
  s.rows = rows;
  s.n_phase = n_phase;
  s.k_phase = k_phase;
  return s;
}

Shape PerChannel(int64_t rows, bool fixed) {
  Shape s;
  s.scheme = LinearScheme::kFp8Channel;
  s.rows = rows;
  s.fixed = fixed;
  return s;
}

Shape PerTensor(int64_t rows, bool fixed) {
  Shape s = PerChannel(rows, fixed);
  s.scheme = LinearScheme::kFp8Tensor;
  return s;
}

Shape Bf16(int64_t rows) {
  Shape s;
  s.scheme = LinearScheme::kBf16;
  s.rows = rows;
  return s;
}

Shape With(Shape s, bool bias, bool extreme, bool ue8m0) {
  s.bias = bias;
  s.extreme = extreme;
  s.ue8m0 = ue8m0;
  return s;
}

void RunOnCpu(TestGroup* test) {
  test->Poison();
  std::vector<uint8_t> raw(WorkspaceSize(test->group()) + kWorkspaceAlignment);
  const size_t over = reinterpret_cast<uintptr_t>(raw.data()) % kWorkspaceAlignment;
  uint8_t* workspace = raw.data() + (over == 0 ? 0 : kWorkspaceAlignment - over);
  REQUIRE(LinearCpu(test->group(), workspace, raw.size() - kWorkspaceAlignment, Pool()));
}

Outputs Magnitudes(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes) {
  TestGroup test(seed, tokens, in, shapes);
  for (int64_t m = 0; m < tokens; ++m)
    for (int64_t k = 0; k < in; ++k) test.x(m)[k] &= 0x7FFF;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const LinearSegment& s = test.segment(i);
    for (int64_t n = 0; n < s.rows; ++n)
      for (int64_t k = 0; k < in; ++k) {
        const int64_t at = n * s.weight_stride + k;
        if (s.scheme == LinearScheme::kBf16)
          static_cast<uint16_t*>(const_cast<void*>(s.weight))[at] &= 0x7FFF;
        else
          static_cast<uint8_t*>(const_cast<void*>(s.weight))[at] &= 0x7F;
      }
    if (s.bias != nullptr)
      for (int64_t n = 0; n < s.rows; ++n) const_cast<float*>(s.bias)[n] = std::fabs(s.bias[n]);
  }
  RunOnCpu(&test);
  Outputs sums;
  for (size_t i = 0; i < shapes.size(); ++i) sums.push_back(test.Y(i));
  return sums;
}

std::string Disagreement(const DeviceGroup& device, const TestGroup& exact,
                         const Outputs& magnitudes, const Bounds& bounds, int64_t first) {
  for (size_t i = 0; i < magnitudes.size(); ++i) {
    const LinearSegment& s = device.segment(i);
    const Bounds& own = s.scheme == LinearScheme::kBf16 ? kNormalCodes : bounds;
    const std::vector<float> y = device.Y(i);
    const std::vector<float> right = Part(exact.Y(i), first, s.rows, y);
    const double error = RelativeError(y, right);
    if (!(error < (s.y_type == LinearOutput::kF32 ? own.error : kBf16Bound)))
      return "segment " + std::to_string(i) + ": relative error " + std::to_string(error);
    const int64_t out =
        OutOfBounds(y, right, Part(magnitudes[i], first, s.rows, y), s.y_type, own.cut);
    if (out > 0)
      return "segment " + std::to_string(i) + ": " + std::to_string(out) + " of " +
             std::to_string(y.size()) + " outputs out of bounds, relative error " +
             std::to_string(error);
  }
  return "";
}

void Agree(uint32_t seed, const Case& c, int64_t y_gap, const std::vector<GpuChoice>& choices,
           const Bounds& bounds, bool must_hear) {
  TestGroup test(seed, c.tokens, c.in, c.shapes);
  RunOnCpu(&test);
  const Outputs magnitudes = Magnitudes(seed, c.tokens, c.in, c.shapes);
  for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
    DeviceGroup::Layout layout;
    layout.y_type = type;
    layout.y_gap = y_gap;
    DeviceGroup device(test.group(), layout);
    for (const GpuChoice& choice : choices) {
      const std::string steps = ExplainGpu(device.group(), choice);
      INFO(c.sentence << ": " << c.tokens << " tokens, " << c.in << " columns, " << c.shapes[0].rows
                      << " rows, " << NameOf(choice.kernel) << ", " << choice.small.halves
                      << " halves, quantized " << choice.small.quantized << ", share "
                      << choice.large.share << (type == LinearOutput::kF32 ? ", F32" : ", BF16")
                      << "\n"
                      << steps);
      // Of one slice shared memory may not hold x; of few tokens K may be too short for all.
      if (choice.kernel == GpuKernel::kSmall && c.tokens > 32 && choice.small.slices > 1)
        REQUIRE(steps.find("small_m_linear") != std::string::npos);
      if (must_hear) CHECK(Unheard(device.group(), choice) == "");
      device.Poison();
      REQUIRE(device.Run(choice) == "");
      CHECK(device.Damage() == "");
      CHECK(Disagreement(device, test, magnitudes, bounds) == "");
    }
  }
}

Outputs OutputsOf(const DeviceGroup& device) {
  Outputs all;
  for (size_t i = 0; i < device.size(); ++i) all.push_back(device.Y(i));
  return all;
}

std::string OtherBits(const DeviceGroup& device, const Outputs& all, int64_t first) {
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<float> some = device.Y(i);
    const size_t from = static_cast<size_t>(first * device.segment(i).rows);
    for (size_t n = 0; n < some.size(); ++n)
      if (std::memcmp(&some[n], &all[i].at(from + n), sizeof(float)) != 0)
        return "segment " + std::to_string(i) + ", output " + std::to_string(n) + ": " +
               std::to_string(some[n]) + ", not " + std::to_string(all[i][from + n]);
  }
  return "";
}

}  // namespace ferrule::test
