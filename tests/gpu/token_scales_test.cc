// SPDX-License-Identifier: Apache-2.0
// FP8 with one scale of x for each token, or for all, and of W for each row, or for all, in the
// kernels that are made for blocks.
#include <cmath>
#include <string>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// Whole tiles; rows that end inside tiles and eights; both kinds in one launch; biases; x with the
// caller's scale; K that ends inside a block.
std::vector<Case> Cases(int64_t tokens) {
  return {{"rows", tokens, 1152, {PerChannel(256)}},
          {"tensor", tokens, 1152, {PerTensor(256)}},
          {"ends inside", tokens, 1104, {PerChannel(301), PerTensor(77), PerChannel(35)}},
          {"biases", tokens, 1040, {With(PerChannel(264), true), With(PerTensor(40), true)}},
          {"odd biases", tokens, 528, {With(PerChannel(99), true)}},
          {"fixed", tokens, 656, {PerChannel(130, true)}},
          {"tensor, fixed", tokens, 656, {PerTensor(130, true)}}};
}

// Whether Hopper's kernels take it all.
bool IsFast(const DeviceGroup& device) {
  const std::string steps = ExplainGpu(device.group());
  return steps.find("mma_linear") == std::string::npos &&
         steps.find("plain_linear") == std::string::npos;
}

}  // namespace

TEST_CASE("scales of tokens, rows and tensors with few tokens agree with the CPU") {
  std::vector<GpuChoice> choices;
  for (const int slices : {1, 2, 4})
    for (const int halves : {1, 2})
      choices.push_back(InSmall({.slices = slices, .halves = halves, .quantized = 1}));
  choices.push_back(InSmall({.clusters = 1, .quantized = 1}));
  for (const int64_t tokens : {1, 3, 8, 11, 16, 19, 32})
    for (const Case& c : Cases(tokens))
      for (const int gap : {1, 8}) Agree(101, c, gap, choices, kUniformCodes, true);
}

TEST_CASE("scales of tokens, rows and tensors in tiles of few tokens agree with the CPU") {
  for (const int64_t tokens : {33, 70})
    for (const Case& c : Cases(tokens))
      Agree(102, c, 8, {InSmall({.slices = 1}), InSmall({.slices = 4})}, kUniformCodes, true);
}

TEST_CASE("scales of tokens, rows and tensors with many tokens agree with the CPU") {
  for (const int64_t tokens : {5, 70, 300})
    for (const Case& c : Cases(tokens))
      for (const int gap : {-1, 0, 8})  // of fewer rows there are not two tiles to share x
        Agree(103, c, gap, ManyTokens(tokens, 0), kUniformCodes, c.shapes[0].rows >= 256);
}

TEST_CASE("more tiles than CTAs, with scales of rows or tensors, agree with the CPU") {
  std::vector<GpuChoice> choices;
  for (const int tokens : {64, 128, 256})
    for (const int rows : {64, 96, 128})
      if (LargeTileExists(tokens, rows))
        for (const int share : {1, 2, -2}) choices.push_back(InLarge({tokens, rows, 1, share, 1}));
  Agree(104, {"turns", 2056, 336, {PerChannel(1048), With(PerTensor(1112), true)}}, 0, choices,
        kUniformCodes, true);
  Agree(109, {"tensors", 2056, 336, {PerTensor(1048), PerTensor(1112)}}, 0, choices, kUniformCodes,
        true);
}

TEST_CASE("by rule scales of tokens go to fast kernels, whatever is beside them") {
  for (const int64_t tokens : {1, 9, 40, 130, 700})
    for (const std::vector<Shape>& shapes :
         {std::vector<Shape>{PerChannel(384)},
          {PerChannel(128), PerChannel(64), PerChannel(64), PerTensor(72), PerChannel(8)},
          {PerChannel(200), Bf16(16), PerTensor(40, true)},
          {PerChannel(200), Fp8(256), Bf16(24), PerTensor(40)},
          {With(PerChannel(96), true), With(Bf16(48), true)}})
      for (const int gap : {0, 1}) {
        TestGroup test(105, tokens, 1280, shapes);
        CHECK(IsFast(DeviceGroup(test.group(), {})));
        Agree(105, {"by rule", tokens, 1280, shapes}, gap, {GpuChoice()}, kUniformCodes);
      }
}

TEST_CASE("normal codes with scales of rows agree with the CPU as far as tensor cores can") {
  for (const int64_t tokens : {2, 33, 200}) {
    Shape s = PerChannel(192);
    s.normal = true;
    Agree(106, {"normal", tokens, 2048, {s}}, 8, {GpuChoice()}, kNormalCodes);
  }
}

TEST_CASE("scales of rows: the same bits a hundred times") {
  for (const int64_t tokens : {1, 16, 64, 300}) {
    TestGroup test(107, tokens, 2048, {With(PerChannel(520), true), PerTensor(72)});
    DeviceGroup device(test.group(), {});
    CHECK(IsFast(device));
    REQUIRE(device.Run() == "");
    const Outputs first = OutputsOf(device);
    for (int i = 0; i < 100; ++i) {
      device.Poison();
      REQUIRE(device.Run() == "");
      CHECK(OtherBits(device, first, 0) == "");
    }
  }
}

TEST_CASE("a NaN in a row's scale, a token or a weight stays in its row or token") {
  for (const int64_t tokens : {4, 40, 150}) {
    TestGroup test(108, tokens, 512, {PerChannel(136)});
    const_cast<float*>(test.segment(0).scale)[7] = std::nanf("");
    test.x(2)[100] = 0x7F80;  // Inf
    static_cast<uint8_t*>(const_cast<void*>(test.segment(0).weight))[0] = 0x7F;
    DeviceGroup device(test.group(), {});
    CHECK(IsFast(device));
    REQUIRE(device.Run() == "");
    CHECK(device.Nonfinite() == 1);
    const std::vector<float> y = device.Y(0);
    for (int64_t m = 0; m < tokens; ++m)
      for (int64_t n = 0; n < 136; ++n)
        CHECK(std::isnan(y[static_cast<size_t>(m * 136 + n)]) == (m == 2 || n == 7 || n == 0));
  }
}
