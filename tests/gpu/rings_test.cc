// SPDX-License-Identifier: Apache-2.0
// Every kernel with a ring, one launch of each tile and way to share, so that compute-sanitizer
// gets through them. K has 33 blocks, so that rings go round where few CTAs share it out (of 16
// none does, of four the deepest do not). Shapes are varied in linear_gpu_test.cc.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

void AllAgree(int64_t tokens, const std::vector<Shape>& shapes,
              const std::vector<GpuChoice>& choices) {
  constexpr int64_t kColumns = 4224;
  TestGroup test(95, tokens, kColumns, shapes);
  RunOnCpu(&test);
  const Outputs magnitudes = Magnitudes(95, tokens, kColumns, shapes);
  DeviceGroup::Layout layout;
  layout.y_type = LinearOutput::kBf16;
  DeviceGroup device(test.group(), layout);
  for (const GpuChoice& choice : choices) {
    INFO(ExplainGpu(device.group(), choice));
    CHECK(Unheard(device.group(), choice) == "");
    device.Poison();
    REQUIRE(device.Run(choice) == "");
    CHECK(device.Damage() == "");
    CHECK(Disagreement(device, test, magnitudes) == "");
  }
}

}  // namespace

TEST_CASE("rings that go round with FP8 of many tokens") {
  AllAgree(140, {Fp8(200)}, ManyTokens(140, 0));
}

TEST_CASE("rings that go round with W of 256 tokens shared") {
  std::vector<GpuChoice> choices;
  for (const int rows : {96, 128})
    for (const int share : {-2, 4}) choices.push_back(InLarge({256, rows, 1, share, 1}));
  AllAgree(270, {Fp8(200)}, choices);
}

TEST_CASE("rings that go round with BF16 beside FP8") {
  AllAgree(140, {Fp8(200), Bf16(40)}, ManyTokens(140, 32));
}

TEST_CASE("rings that go round with few tokens") {
  AllAgree(13, {Fp8(200)}, FewTokens(false));
  AllAgree(7, {Fp8(200), Bf16(40)}, FewTokens(true));
}

TEST_CASE("rings that go round with scales of rows") {
  AllAgree(13, {PerChannel(200)}, {InSmall({.slices = 1}), InSmall({.clusters = 1}), InSmall({})});
  AllAgree(140, {PerChannel(200), PerTensor(72)},
           {InLarge({64, 128, 1, 1, 1}), InLarge({128, 128, 1, 1, 1}), InLarge({128, 64, 3, 1, 1}),
            InLarge({256, 96, 1, 1, 1})});
}

TEST_CASE("rings that go round in other kernels") {
  AllAgree(70, {Fp8(200), Bf16(40)}, AnyTokens(true));
  AllAgree(70, {Fp8(500)}, AnyTokens(false));  // four tiles that share x
}
