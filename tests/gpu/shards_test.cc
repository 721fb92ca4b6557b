// SPDX-License-Identifier: Apache-2.0
// Shards of real models that begin inside scale blocks, every phase, and zeros.
#include <algorithm>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::vector<GpuChoice> AllKernels() {
  std::vector<GpuChoice> choices;
  for (const GpuKernel kernel : {GpuKernel::kAny, GpuKernel::kSmall, GpuKernel::kFewRows,
                                 GpuKernel::kTile, GpuKernel::kLarge, GpuKernel::kMma})
    choices.push_back(Only(kernel));
  return choices;
}

// Rows of an expert that one rank holds, and where in a block the ranks' shards begin.
struct Shards {
  const char* sentence;
  int64_t rows;
  std::vector<int32_t> phases;
  std::vector<int64_t> hidden;
};
const Shards kShards[] = {
    {"Qwen3-235B-A22B (4096), MiniMax-M2 (3072) at tp 8", 192, {0, 64}, {4096, 3072, 2048}},
    {"Qwen3-30B-A3B at tp 8", 96, {0, 96, 64, 32}, {2048}},
    {"Qwen3-Next at tp 8", 64, {0, 64}, {2048}}};

}  // namespace

TEST_CASE("gate and up of experts whose shards begin inside blocks agree with the CPU") {
  for (const Shards& s : kShards)
    for (const int64_t hidden : s.hidden)
      for (const int32_t phase : s.phases)
        for (const int64_t tokens : {1, 20, 70, 200})
          Agree(51, {s.sentence, tokens, hidden, {Fp8(s.rows, phase), Fp8(s.rows, phase)}}, 8,
                AllKernels());
}

TEST_CASE("down of experts whose shards begin inside blocks agrees with the CPU") {
  for (const Shards& s : kShards)
    for (const int64_t hidden : s.hidden)
      for (const int32_t phase : s.phases)
        for (const int64_t tokens : {1, 20, 70, 200})
          Agree(52, {s.sentence, tokens, s.rows, {Fp8(hidden, 0, phase)}}, 8, AllKernels());
}

TEST_CASE("every place in a block to begin at agrees with the CPU") {
  for (const int64_t tokens : {5, 40}) {
    for (int32_t phase = 0; phase < 128; ++phase)
      Agree(53, {"every n_phase", tokens, 200, {Fp8(150, phase, phase * 16 % 128)}}, 8,
            AllKernels());
    for (int32_t phase = 0; phase < 128; phase += 16)
      Agree(54, {"every k_phase", tokens, 328, {Fp8(130, 0, phase)}}, 8, AllKernels());
  }
}

TEST_CASE("groups of real models agree with the CPU") {
  for (const int64_t tokens : {1, 20, 70, 200}) {
    Agree(55, {"q_a and kv_a of DeepSeek-V3", tokens, 7168, {Fp8(1536), Fp8(576)}}, 8,
          AllKernels());
    Agree(56,
          {"gate, up, router and gate of the shared expert",
           tokens,
           2048,
           {Fp8(512), Fp8(512), Bf16(512), Bf16(1)}},
          8, AllKernels());
  }
}

TEST_CASE("zeros of x and W give zeros and are no numbers to divide by") {
  constexpr int64_t kColumns = 512, kRows = 300;
  for (const int64_t tokens : {4, 20, 70, 200}) {
    TestGroup test(57, tokens, kColumns, {Fp8(kRows), Bf16(40)});
    std::fill_n(test.x(2), kColumns, uint16_t{0});
    std::fill_n(test.x(1) + 128, 128, uint16_t{0x8000});  // a block of -0
    const LinearSegment& fp8 = test.segment(0);
    auto* codes = static_cast<uint8_t*>(const_cast<void*>(fp8.weight));
    std::fill_n(codes + 7 * fp8.weight_stride, kColumns, uint8_t{0});
    for (int64_t n = 128; n < 256; ++n)
      std::fill_n(codes + n * fp8.weight_stride + 256, 128, uint8_t{0x80});
    RunOnCpu(&test);
    DeviceGroup device(test.group(), {});
    for (const GpuChoice& choice : AllKernels()) {
      INFO(tokens << " tokens, " << NameOf(choice.kernel));
      device.Poison();
      REQUIRE(device.Run(choice) == "");
      CHECK(device.Damage() == "");
      CHECK(device.Nonfinite() == 0);
      for (size_t i = 0; i < 2; ++i) {
        const std::vector<float> y = device.Y(i);
        CHECK(RelativeError(y, test.Y(i)) < kF32Bound);
        const auto of_zeros = y.begin() + 2 * device.segment(i).rows;
        CHECK(std::all_of(of_zeros, of_zeros + device.segment(i).rows,
                          [](float value) { return value == 0; }));
      }
      const std::vector<float> y = device.Y(0);
      int64_t others = 0;
      for (int64_t m = 0; m < tokens; ++m) others += y[static_cast<size_t>(m * kRows + 7)] != 0;
      CHECK(others == 0);
    }
  }
}
