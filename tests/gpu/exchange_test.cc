// SPDX-License-Identifier: Apache-2.0
// Kernels for one tile a cluster: CTAs that share out K send one another sums, or one has all of K.
// Few cases, so that compute-sanitizer gets through them.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Wanted {
  GpuChoice choice;
  LargeWork work;
};

// Every tile that has such a kernel.
std::vector<Wanted> Choices(int bf16_tile) {
  std::vector<Wanted> choices;
  for (const int tokens : {64, 128})
    for (const int rows : {32, 64, 80, 96, 112, 128, 160, 192})
      for (const LargeWork work :
           {LargeWork::kOneTile, LargeWork::kTurns, LargeWork::kTwo, LargeWork::kFour}) {
        if (!LargeTileExists(tokens, rows) || !LargeWorks(tokens, rows, work)) continue;
        GpuChoice choice;
        choice.kernel = GpuKernel::kLarge;
        choice.large = {tokens, rows, PeersOf(work), 1, 1, bf16_tile};
        choices.push_back({choice, work});
      }
  return choices;
}

// Of the one launch of kLarge.
LargeWork WorkOf(const LinearGroup& group, const GpuChoice& choice) {
  LargeWork work = LargeWork::kTiles;
  const auto take = [](const GpuStep& step, void* to) {
    if (step.kernel == GpuKernel::kLarge) *static_cast<LargeWork*>(to) = step.large.work;
    return LinearStatus();
  };
  REQUIRE(ForEachStep(group, choice, CurrentGpu(), take, &work));
  return work;
}

}  // namespace

TEST_CASE("clusters of one tile agree with the CPU, twice with the same bits") {
  struct Row {
    const char* sentence;
    int64_t tokens, in;
    int bf16_tile;
    std::vector<Shape> shapes;
  };
  Shape biased = Fp8(100);
  biased.bias = true;
  // Shards that begin inside a block both ways; rows that end inside tiles and groups of eight; a
  // last tile of tokens with few, or with fewer than a warp keeps; K in as many blocks as slices.
  for (const Row& row :
       {Row{"two shards", 70, 656, 0, {Fp8(301, 37, 48), Fp8(200, 0, 48)}},
        Row{"rows in eights", 131, 512, 0, {Fp8(328)}}, Row{"a bias", 33, 640, 0, {biased}},
        Row{"BF16 beside FP8", 150, 650, 32, {Fp8(200), Bf16(75)}},
        Row{"BF16 in tiles of 16", 68, 1100, 16, {Bf16(40), Fp8(264)}}}) {
    TestGroup test(91, row.tokens, row.in, row.shapes);
    RunOnCpu(&test);
    const Outputs magnitudes = Magnitudes(91, row.tokens, row.in, row.shapes);
    for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
      DeviceGroup::Layout layout;
      layout.y_type = type;
      DeviceGroup device(test.group(), layout);
      for (const auto& [choice, work] : Choices(row.bf16_tile)) {
        INFO(row.sentence << "\n" << ExplainGpu(device.group(), choice));
        CHECK(WorkOf(device.group(), choice) == work);
        device.Poison();
        REQUIRE(device.Run(choice) == "");
        CHECK(device.Damage() == "");
        CHECK(Disagreement(device, test, magnitudes) == "");
        const Outputs first = OutputsOf(device);
        device.Poison();
        REQUIRE(device.Run(choice) == "");
        CHECK(OtherBits(device, first, 0) == "");
      }
    }
  }
}
