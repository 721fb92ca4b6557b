// SPDX-License-Identifier: Apache-2.0
// Nothing fits: tokens, rows and columns end inside tiles and boxes, shards begin inside blocks,
// y begins anywhere. Each kernel once or twice, for compute-sanitizer.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

TEST_CASE("tails of tokens, rows, columns and blocks in every kernel") {
  struct Row {
    const char* sentence;
    Case c;
    std::vector<GpuChoice> choices;
  };
  const Case few = {"few", 5, 200, {With(Fp8(83, 37, 48), true), Fp8(45, 101, 48), Bf16(3)}};
  const Case tiles = {"tiles", 35, 200, {With(Fp8(83, 37, 48), true), Fp8(45, 101, 48)}};
  const Case eights = {"eights", 11, 208, {With(Fp8(83, 37, 48), true), Fp8(45, 101, 48)}};
  const Case alone = {"alone", 3, 208, {With(Bf16(21), true), Bf16(3)}};
  const Case odd = {"odd", 37, 333, {With(Fp8(83, 37, 48), true), Bf16(3), Fp8(45, 101, 48)}};
  const Case many = {"many", 131, 333, {With(Fp8(211, 37, 48), true), Fp8(45, 101, 48)}};
  const Case boxes = {"boxes", 449, 141, {Fp8(1051, 37, 16), Fp8(1112, 40, 16)}};
  const Case rows = {"rows", 37, 208, {With(PerChannel(83), true), PerTensor(45), PerChannel(64)}};
  for (const Row& row :
       {Row{"x quantized inside", few, {InSmall({.quantized = 0}), InSmall({.halves = 2})}},
        Row{"x quantized before", tiles, {InSmall({.quantized = 1}), InSmall({.slices = 2})}},
        Row{"few rows", eights, {InFewRows({1, 1}), InFewRows({2, 1})}},
        Row{"few rows of BF16", alone, {InFewRows({1, 2}), InFewRows({2, 1})}},
        Row{"tiles", odd, {InTile({}), InTile({16, 128, 2, 1, 1}), InTile({128, 256, 1, 1, 1})}},
        Row{"BF16 beside FP8", odd, {InLarge({64, 32, 1, 1, 1}), InLarge({128, 96, 2, 1, 1})}},
        Row{"slices", many, {InLarge({64, 112, 2, 1, 1}), InLarge({128, 64, 3, 1, 1})}},
        Row{"turns", many, {InLarge({64, 96, 1, 1, 1}), InLarge({64, 128, 1, 4, 1})}},
        Row{"boxes", boxes, {InLarge({128, 64, 1, 4, 1}), InLarge({256, 96, 1, 1, 1})}},
        Row{"scales of rows", rows, {InSmall({.slices = 2}), InLarge({128, 96, 1, 1, 1})}},
        Row{"scales of rows, shared out",
            rows,
            {InLarge({64, 96, 1, 1, 1}), InLarge({64, 64, 2, 1, 1})}},
        Row{"others", odd, {Only(GpuKernel::kMma), Only(GpuKernel::kPlain)}}}) {
    INFO(row.sentence);
    TestGroup test(58, row.c.tokens, row.c.in, row.c.shapes);
    RunOnCpu(&test);
    const Outputs magnitudes = Magnitudes(58, row.c.tokens, row.c.in, row.c.shapes);
    for (const int gap : {0, 1}) {  // of 0, y of whole eights leaves in boxes
      DeviceGroup::Layout layout;
      layout.y_type = LinearOutput::kBf16;
      layout.y_gap = gap;
      DeviceGroup device(test.group(), layout);
      for (const GpuChoice& choice : row.choices) {
        INFO(ExplainGpu(device.group(), choice));
        CHECK(Unheard(device.group(), choice) == "");
        REQUIRE(device.Run(choice) == "");
        CHECK(device.Damage() == "");
        CHECK(Disagreement(device, test, magnitudes) == "");
      }
    }
  }
}
