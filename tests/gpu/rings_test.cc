// SPDX-License-Identifier: Apache-2.0
// Every kernel with a ring, one launch of each tile and way to share, so that compute-sanitizer
// gets through them. K has 33 blocks, so that rings go round where few CTAs share it out (of 16
// none does, of four the deepest do not). Shapes are varied in linear_gpu_test.cc.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

GpuChoice Large(const LargeChoice& large) {
  GpuChoice choice;
  choice.kernel = GpuKernel::kLarge;
  choice.large = large;
  return choice;
}

std::vector<GpuChoice> ManyTokens(int bf16_tile) {
  std::vector<GpuChoice> choices;
  for (const int tokens : {64, 128, 256})
    for (const int rows : {32, 64, 80, 96, 112, 128, 160, 192}) {
      if (!LargeTileExists(tokens, rows) || bf16_tile > rows) continue;
      for (const int slices : {1, 2, 3, 4})
        choices.push_back(Large({tokens, rows, slices, 1, 1, bf16_tile}));
      choices.push_back(Large({tokens, rows, 1, 1, 2, bf16_tile}));
      if (bf16_tile > 0) continue;
      for (const int share : {2, -2, 4}) choices.push_back(Large({tokens, rows, 1, share, 1}));
    }
  return choices;
}

std::vector<GpuChoice> FewTokens() {
  std::vector<GpuChoice> choices(5);
  for (GpuChoice& choice : choices) choice.kernel = GpuKernel::kSmall;
  choices[1].small.slices = 4;
  choices[2].small.clusters = 1;
  choices[3].small.halves = 2;
  choices[4].small.quantized = 1;
  return choices;
}

std::vector<GpuChoice> AnyTokens() {
  std::vector<GpuChoice> choices;
  for (const TileChoice& tile : {TileChoice{16, 128, 1, 1, 1},
                                 {32, 128, 4, 1, 1},
                                 {64, 128, 1, 2, 1},
                                 {128, 128, 2, 1, 1},
                                 {128, 256, 1, 1, 1},
                                 {128, 128, 1, 1, 2},
                                 {128, 128, 1, 1, 4}}) {
    choices.emplace_back();
    choices.back().kernel = GpuKernel::kTile;
    choices.back().tile = tile;
  }
  for (const GpuKernel kernel : {GpuKernel::kMma, GpuKernel::kPlain}) {
    choices.emplace_back();
    choices.back().kernel = kernel;
  }
  return choices;
}

// A choice that is not heard would test another kernel.
bool Takes(const LinearGroup& group, const GpuChoice& choice) {
  struct Seen {
    GpuKernel wanted;
    bool any = false;
  } seen{choice.kernel};
  const auto take = [](const GpuStep& step, void* to) {
    Seen& s = *static_cast<Seen*>(to);
    s.any = s.any || step.kernel == s.wanted;
    return LinearStatus();
  };
  return ForEachStep(group, choice, CurrentGpu(), take, &seen) && seen.any;
}

void Agree(int64_t tokens, const std::vector<Shape>& shapes,
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
    CHECK(Takes(device.group(), choice));
    device.Poison();
    REQUIRE(device.Run(choice) == "");
    CHECK(device.Damage() == "");
    CHECK(Disagreement(device, test, magnitudes) == "");
  }
}

}  // namespace

TEST_CASE("rings that go round with FP8 of many tokens") { Agree(140, {Fp8(200)}, ManyTokens(0)); }

TEST_CASE("rings that go round with BF16 beside FP8") {
  Agree(140, {Fp8(200), Bf16(40)}, ManyTokens(32));
}

TEST_CASE("rings that go round with few tokens") {
  Agree(13, {Fp8(200)}, FewTokens());
  Agree(7, {Fp8(200), Bf16(40)}, FewTokens());
}

TEST_CASE("rings that go round in other kernels") { Agree(70, {Fp8(200), Bf16(40)}, AnyTokens()); }
