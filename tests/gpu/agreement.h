// SPDX-License-Identifier: Apache-2.0
// What the tests of GPU kernels compare: outputs with the CPU's, and bits with bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

namespace ferrule::test {

// How far float32 outputs may be from the CPU's. Both multiply the same codes, so that it is what
// Hopper's tensor cores do: they cut 32 products and the sum so far to 13 bits below the largest of
// them. (The worst that this can do is 33: every product cut, all the same way.)
struct Bounds {
  double error;  // relative, of all outputs
  double cut;    // of one: so many times 2^-13 · magnitude
};
// FP8 weights of uniform codes: as many of each power of two, so that most products are far below
// the largest and lose bits. Measured were 3.0e-4; a model of the tensor cores in double gives
// 2.4e-4, and up to 6.7 of the worst output of 128,000.
constexpr Bounds kUniformCodes{4e-4, 8};
// FP8 weights of normal values (Shape::normal), as checkpoints have them, with K of 512 or more:
// 1.28e-4 measured, 1.24e-4 and 1.6 (of a million outputs) by the model; the more columns, the
// less: 0.6 of 2,048. BF16: next to nothing.
constexpr Bounds kNormalCodes{2e-4, 2};

constexpr double kF32Bound = kUniformCodes.error;
constexpr double kBf16Bound = 2.2e-3;  // of BF16 outputs, of which their own rounding is 1.7e-3
constexpr double BoundOf(LinearOutput type) {
  return type == LinearOutput::kF32 ? kF32Bound : kBf16Bound;
}

Shape Fp8(int64_t rows, int32_t n_phase = 0, int32_t k_phase = 0);
// One scale of x for each token, or the caller's for all.
Shape PerChannel(int64_t rows, bool fixed = false);
Shape PerTensor(int64_t rows, bool fixed = false);
Shape Bf16(int64_t rows);
Shape With(Shape s, bool bias, bool extreme = false, bool ue8m0 = false);

struct Case {
  const char* sentence;
  int64_t tokens, in;
  std::vector<Shape> shapes;
};

// The CPU's answer, which tests/kernels holds to 1e-5 of the reference.
void RunOnCpu(TestGroup* test);

using Outputs = std::vector<std::vector<float>>;  // of each segment, [tokens, rows]

// Σ_b |sx·sw| Σ_k |xq·wq|: what rounding inside a block can be a part of. The arguments are those
// of the TestGroup whose outputs are compared.
Outputs Magnitudes(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes);

// Empty, or the first segment that differs from `exact`, which RunOnCpu has filled: by its relative
// error, or by outputs that are further off than |y|·2^-8 (BF16) or nothing (float32) +
// bounds.cut·2^-13·magnitude. The device may have fewer tokens than `exact`, from its token `first`
// on. BF16 segments are held to kNormalCodes.
std::string Disagreement(const DeviceGroup& device, const TestGroup& exact,
                         const Outputs& magnitudes, const Bounds& bounds = kUniformCodes,
                         int64_t first = 0);

// Runs the case by every choice, with float32 and BF16 outputs, rows of y `y_gap` apart as
// DeviceGroup::Layout says, and compares with the CPU. With `must_hear` every choice must be heard.
void Agree(uint32_t seed, const Case& c, int64_t y_gap, const std::vector<GpuChoice>& choices,
           const Bounds& bounds = kUniformCodes, bool must_hear = false);

Outputs OutputsOf(const DeviceGroup& device);

// Empty, or the first output whose bits are not those in `all`, from its token `first` on.
std::string OtherBits(const DeviceGroup& device, const Outputs& all, int64_t first);

}  // namespace ferrule::test
