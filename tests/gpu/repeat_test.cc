// SPDX-License-Identifier: Apache-2.0
// A hundred runs leave the same bytes: outputs, gaps and guards.
#include <tuple>

#include "kernels/linear_gpu.h"
#include "kernels/lt_linear.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr LinearOutput kTypes[] = {LinearOutput::kF32, LinearOutput::kBf16};

DeviceGroup::Layout OutputsIn(LinearOutput type) {
  DeviceGroup::Layout layout;
  layout.y_type = type;
  return layout;
}

std::vector<std::vector<uint8_t>> BytesOf(const DeviceGroup& device) {
  std::vector<std::vector<uint8_t>> bytes;
  for (size_t n = 0; n < device.size(); ++n) bytes.push_back(device.Raw(n));
  return bytes;
}

void RunsAlike(DeviceGroup* device, const GpuChoice& choice,
               const std::vector<std::vector<uint8_t>>& bytes) {
  for (int i = 0; i < 100; ++i) {
    device->Poison();
    REQUIRE(device->Run(choice) == "");
    for (size_t n = 0; n < bytes.size(); ++n) REQUIRE(device->Raw(n) == bytes[n]);
  }
}

// A choice that must be heard.
void RunsAlike(DeviceGroup* device, const GpuChoice& choice) {
  INFO(ExplainGpu(device->group(), choice));
  CHECK(Unheard(device->group(), choice) == "");
  device->Poison();
  REQUIRE(device->Run(choice) == "");
  RunsAlike(device, choice, BytesOf(*device));
}

}  // namespace

TEST_CASE("a hundred runs give the same bits") {
  for (const LinearOutput type : kTypes)
    for (const int64_t tokens : {1, 8, 16, 32, 64, 128, 300})
      for (const GpuKernel kernel :
           {GpuKernel::kSmall, GpuKernel::kTile, GpuKernel::kLarge, GpuKernel::kMma}) {
        TestGroup test(5, tokens, 2048, {Fp8(1100), Bf16(64)});
        DeviceGroup device(test.group(), OutputsIn(type));
        RunsAlike(&device, Only(kernel));
      }
  TestGroup test(5, 5, 2048, {Fp8(100), Bf16(64)});
  DeviceGroup device(test.group(), OutputsIn(LinearOutput::kBf16));
  RunsAlike(&device, Only(GpuKernel::kPlain));
}

TEST_CASE("a hundred runs of BF16 beside FP8 and alone give the same bits") {
  // Stages with two boxes of BF16, clusters with BF16, and BF16 alone.
  for (const LinearOutput type : kTypes)
    for (const auto& [rows, slices, fp8] : {std::tuple{128, 1, 1100}, {64, 4, 300}, {64, 2, 0}}) {
      std::vector<Shape> shapes = {Bf16(513)};
      if (fp8 > 0) shapes.push_back(Fp8(fp8));
      TestGroup test(8, 64, 2048, shapes);
      DeviceGroup device(test.group(), OutputsIn(type));
      RunsAlike(&device, InLarge({64, rows, slices, 1, fp8 > 0 ? 1 : 2, 0}));
    }
}

TEST_CASE("a hundred runs of clusters, one tile and turns give the same bits") {
  for (const LinearOutput type : kTypes)
    for (const int64_t tokens : {64, 128}) {
      TestGroup test(7, tokens, 4096, {Fp8(1088)});
      DeviceGroup device(test.group(), OutputsIn(type));
      const int tile = tokens == 64 ? 64 : 128;
      for (const int slices : {2, 4, 8}) RunsAlike(&device, InLarge({tile, 64, slices, 1, 1}));
      for (const auto& [rows, work] : {std::pair{96, LargeWork::kTurns},
                                       {128, LargeWork::kTurns},
                                       {80, LargeWork::kOneTile}}) {
        const GpuChoice choice = InLarge({64, rows, 1, 1, 1});
        CHECK(LargePlanOf(device.group(), choice).work == work);
        RunsAlike(&device, choice);
      }
    }
}

TEST_CASE("a hundred runs whose y leaves in boxes give the same bits") {
  TestGroup test(9, 2056, 336, {Fp8(1048, 40, 48), Fp8(1112, 0, 48)});
  DeviceGroup device(test.group(), OutputsIn(LinearOutput::kBf16));
  for (const LargeChoice& large : {LargeChoice{128, 128, 1, 2, 1},
                                   {128, 128, 1, -2, 1},
                                   {128, 128, 1, 4, 1},
                                   {128, 192, 1, 1, 1},
                                   {256, 128, 1, 1, 1},
                                   {256, 96, 1, 2, 1}}) {
    CHECK(LargePlanOf(device.group(), InLarge(large)).sends);
    RunsAlike(&device, InLarge(large));
  }
}

TEST_CASE("x quantized by each cluster or before gives the same bits, a hundred times") {
  for (const LinearOutput type : kTypes)
    for (const int64_t tokens : {8, 16, 32}) {
      TestGroup test(6, tokens, 2048, {Fp8(1088)});
      DeviceGroup device(test.group(), OutputsIn(type));
      REQUIRE(device.Run(InSmall({.quantized = 0})) == "");
      const std::vector<std::vector<uint8_t>> bytes = BytesOf(device);
      RunsAlike(&device, InSmall({.quantized = 1}), bytes);  // the same codes, the same order
    }
}

TEST_CASE("a hundred runs of cuBLASLt give the same bits") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  Shape channel = Fp8(528);
  channel.scheme = LinearScheme::kFp8Channel;
  for (const LinearOutput type : kTypes)
    for (const Shape& shape : {Bf16(528), channel}) {
      TestGroup test(10, 200, 1024, {shape});
      DeviceGroup device(test.group(), OutputsIn(type));
      REQUIRE(device.Prepare(Only(GpuKernel::kLt)) == "");
      RunsAlike(&device, Only(GpuKernel::kLt));
    }
}
