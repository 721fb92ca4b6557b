// SPDX-License-Identifier: Apache-2.0
// kernels/few_rows_linear.cu: tiles of 8 rows, by every way to share out K.
#include <cmath>
#include <utility>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// By rule, and each number of slices and blocks of a warp that `in` columns with `phase` have.
std::vector<GpuChoice> FewRowsWays(int64_t in, int32_t phase = 0) {
  const auto blocks = static_cast<int>((in + phase + 127) / 128);
  std::vector<GpuChoice> choices = {InFewRows({})};
  for (const int slices : {1, 2, 4, 8})
    for (const int each : {1, 2}) {
      const FewRowsPlan plan = PlanFewRows({1, blocks, 1}, {slices, each});
      if (plan.slices == slices && plan.each == each) choices.push_back(InFewRows({slices, each}));
    }
  return choices;
}

Shape Normal(Shape s) {
  s.normal = true;
  return s;
}

}  // namespace

TEST_CASE("few rows of BF16 agree with the CPU, however K is shared out") {
  for (const int64_t tokens : {1, 5, 8, 9, 16, 17, 32, 33, 100})
    for (const int64_t in : {16, 128, 144, 1040, 2048, 4224})
      Agree(61, {"one segment", tokens, in, {With(Bf16(13), tokens % 2 == 1)}}, tokens % 3,
            FewRowsWays(in), kUniformCodes, true);
  for (const int64_t in : {512, 7168})
    Agree(62, {"all segments there are", 7, in, {Bf16(1), With(Bf16(8), true), Bf16(9), Bf16(24)}},
          8, FewRowsWays(in), kUniformCodes, true);
  Agree(63, {"many rows", 3, 256, {Bf16(5001)}}, 0, FewRowsWays(256), kUniformCodes, true);
  Agree(64, {"the longest K", 2, 32768, {Bf16(20)}}, 0, {InFewRows({})}, kUniformCodes, true);
}

TEST_CASE("few rows of FP8 agree with the CPU, however K is shared out and wherever shards begin") {
  for (const int64_t tokens : {1, 6, 8, 15, 16, 31, 33, 100})
    for (const auto& [in, phase] : std::initializer_list<std::pair<int64_t, int32_t>>{
             {16, 0}, {64, 64}, {128, 16}, {1040, 48}, {2048, 0}})
      Agree(65,
            {"one segment",
             tokens,
             in,
             {With(Fp8(141, static_cast<int32_t>(37 * (tokens % 4)), phase), tokens % 2 == 0)}},
            tokens % 3, FewRowsWays(in, phase), kUniformCodes, true);
  for (int32_t phase = 0; phase < 128; ++phase)
    Agree(66, {"every n_phase", 4, 144, {Fp8(133, phase), Fp8(7, 127 - phase)}}, 8, {InFewRows({})},
          kUniformCodes, true);
  for (const bool powers : {false, true})
    Agree(67, {"scales from 1e-4 to 1e4", 9, 640, {With(Fp8(300, 5), true, true, powers)}}, 8,
          FewRowsWays(640), kUniformCodes, true);
  for (const int64_t tokens : {1, 12, 30})
    Agree(68, {"codes of normal values", tokens, 2048, {Normal(Fp8(72)), Normal(Fp8(9))}}, 8,
          FewRowsWays(2048), kNormalCodes, true);
}

TEST_CASE(
    "few rows give the same bits a hundred times, and a token alone those that it has among 8") {
  for (const auto& shapes : {std::vector<Shape>{Bf16(70), Bf16(1)}, {Fp8(70), Fp8(9)}}) {
    TestGroup test(69, 8, 5120, shapes);
    DeviceGroup device(test.group(), {});
    for (const GpuChoice& choice : FewRowsWays(5120)) {
      INFO(ExplainGpu(device.group(), choice));
      CHECK(Unheard(device.group(), choice) == "");
      device.Poison();
      REQUIRE(device.Run(choice) == "");
      const Outputs all = OutputsOf(device);
      for (int i = 0; i < 100; ++i) {
        device.Poison();
        REQUIRE(device.Run(choice) == "");
        REQUIRE(OtherBits(device, all, 0) == "");
        REQUIRE(device.Damage() == "");
      }
      LinearGroup& group = device.group();
      const void* x = group.x;
      group.tokens = 1;
      group.x = static_cast<const uint16_t*>(x) + 3 * group.x_stride;
      device.Poison();
      REQUIRE(device.Run(choice) == "");
      CHECK(OtherBits(device, all, 3) == "");
      group.tokens = 8;
      group.x = x;
    }
  }
}

TEST_CASE("NaN and Inf stay in the few rows and tokens that they take part in") {
  for (const bool fp8 : {false, true}) {
    TestGroup test(70, 6, 512, {fp8 ? Fp8(30) : Bf16(30)});
    test.x(1)[300] = 0x7FC0;
    test.x(3)[5] = 0xFF80;  // -Inf
    RunOnCpu(&test);
    DeviceGroup device(test.group(), {});
    REQUIRE(Unheard(device.group(), InFewRows({})) == "");
    REQUIRE(device.Run(InFewRows({})) == "");
    CHECK(device.Nonfinite() == 2);
    const std::vector<float> y = device.Y(0), exact = test.Y(0);
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isfinite(y[i]) == std::isfinite(exact[i]));
  }
}
