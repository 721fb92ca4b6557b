// SPDX-License-Identifier: Apache-2.0
// What the tests of GPU kernels compare: outputs with the CPU's, and bits with bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

namespace ferrule::test {

// Relative error of float32 outputs. Hopper's tensor cores cut the products of 32 columns to 13
// bits below the largest; 3.0e-4 was measured on codes drawn uniformly, the worst that there is.
constexpr double kF32Bound = 4e-4;
constexpr double kBf16Bound = 2.2e-3;
constexpr double BoundOf(LinearOutput type) {
  return type == LinearOutput::kF32 ? kF32Bound : kBf16Bound;
}

Shape Fp8(int64_t rows, int32_t n_phase = 0, int32_t k_phase = 0);
Shape Bf16(int64_t rows);

// The CPU's answer, which tests/kernels holds to 1e-5 of the reference.
void RunOnCpu(TestGroup* test);

using Outputs = std::vector<std::vector<float>>;  // of each segment, [tokens, rows]

// Σ_b |sx·sw| Σ_k |xq·wq|: what rounding inside a block can be a part of. The arguments are those
// of the TestGroup whose outputs are compared.
Outputs Magnitudes(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes);

// Empty, or the first segment that differs from `exact`, which RunOnCpu has filled: by its relative
// error, or by outputs that are further off than |y|·2^-8 (BF16) or nothing (float32) +
// 8·2^-13·magnitude. (The worst that the tensor cores can do is 33: every product cut, all the same
// way.)
std::string Disagreement(const DeviceGroup& device, const TestGroup& exact,
                         const Outputs& magnitudes);

Outputs OutputsOf(const DeviceGroup& device);

// Empty, or the first output whose bits are not those in `all`, from its token `first` on.
std::string OtherBits(const DeviceGroup& device, const Outputs& all, int64_t first);

}  // namespace ferrule::test
