// SPDX-License-Identifier: Apache-2.0
// Every GPU kernel against the reference, in shapes that end inside tiles, blocks and boxes.
#include "kernels/linear_gpu.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

[[maybe_unused]] const bool kSet = (skip_all = GpuRefuses, true);

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"one tile", 1, 128, {Fp8(64)}},
      {"a tail of rows", 3, 256, {Fp8(1)}},
      {"eight rows, as a router shard has", 2, 2048, {Fp8(8)}},
      {"rows that end in a second tile", 5, 512, {Fp8(65)}},
      {"Qwen3-Next in_proj_ba", 8, 2048, {Fp8(64)}},
      {"BF16 with few rows", 4, 2048, {Bf16(64)}},
      {"BF16 with one row", 7, 512, {Bf16(1)}},
      {"BF16, columns end inside a box", 9, 200, {Bf16(72)}},
      {"columns end inside a block", 6, 136, {Fp8(130)}},
      {"fewer columns than a box", 2, 64, {Fp8(70), Bf16(70)}},
      {"eight columns", 2, 8, {Fp8(70)}},
      {"FP8 and BF16 in one group", 1, 2048, {Fp8(1536), Bf16(64)}},
      {"shared expert, router and gate", 16, 2048, {Fp8(1024), Bf16(512), Bf16(1)}},
      {"BF16 between FP8", 12, 384, {Fp8(100), Bf16(30), Fp8(20)}},
      {"q, k and v", 17, 2048, {Fp8(512), Fp8(64), Fp8(64)}},
      {"more segments than a launch takes",
       5,
       256,
       {Fp8(64), Fp8(32), Bf16(8), Fp8(8), Fp8(64), Fp8(128), Fp8(5), Bf16(3), Fp8(9), Fp8(77)}},
      {"many tiles for each cluster", 8, 512, {Fp8(12352)}},
      {"many tiles, 16 tokens", 16, 1024, {Fp8(9000)}},
      {"many tiles, 32 tokens", 32, 1024, {Fp8(9000)}},
      {"deep K", 4, 7168, {Fp8(576)}},
      {"deep K, 32 tokens", 32, 7168, {Fp8(300)}},
      {"odd number of blocks", 11, 128 * 17, {Fp8(256)}},
      {"a bias", 3, 256, {With(Fp8(100), true), With(Bf16(50), true)}},
      {"a bias, 33 tokens", 33, 256, {With(Fp8(100), true), With(Bf16(50), true)}},
      {"scales from 1e-4 to 1e4", 13, 1024, {With(Fp8(384), false, true)}},
      {"scales from 1e-4 to 1e4, 100 tokens", 100, 1024, {With(Fp8(384), false, true)}},
      {"activation scales that are powers of two", 4, 512, {With(Fp8(64), false, false, true)}},
      {"powers of two, 70 tokens", 70, 512, {With(Fp8(64), false, false, true)}},
      {"192 rows that begin in the middle of a block", 4, 512, {Fp8(192, 64)}},
      {"a shard that begins inside blocks both ways", 9, 320, {Fp8(192, 96, 64)}},
      {"two FP8 segments that want x by different groups", 3, 256, {Fp8(64, 0, 64), Fp8(64)}},
      {"columns that are no multiple of 16", 21, 1000, {Fp8(333), Bf16(20)}},
      {"odd columns", 10, 333, {Fp8(100), Bf16(20)}},
  };
  for (const int64_t tokens :
       {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 500})
    cases.push_back({"tokens around tile sizes", tokens, 640, {Fp8(200), Bf16(72)}});
  for (const int32_t phase : {1, 8, 31, 63, 64, 65, 72, 100, 120, 127}) {
    cases.push_back({"phases", 5, 328, {Fp8(150, phase)}});
    cases.push_back({"phases", 5, 328, {Fp8(90, 127 - phase, phase)}});
    cases.push_back({"phases, 40 tokens", 40, 328, {Fp8(150, phase, 127 - phase)}});
    cases.push_back({"phases, 130 tokens", 130, 328, {Fp8(300, phase, phase / 8 * 8)}});
  }
  cases.push_back({"wide tiles", 700, 512, {Fp8(9000, 37)}});
  cases.push_back({"wide tiles of both kinds", 515, 384, {Fp8(5000), Bf16(4100)}});
  cases.push_back({"many tokens", 4095, 256, {Fp8(300)}});
  for (const int64_t tokens : {20, 30, 40, 150})
    cases.push_back({"BF16 beside a large weight", tokens, 6272, {Fp8(2048), Bf16(40)}});
  cases.push_back({"so much in BF16 that it is apart", 1200, 2048, {Fp8(64), Bf16(4100)}});
  return cases;
}

// In kSmall, with so many clusters (0: by rule).
void AgreeInSmall(uint32_t seed, const Case& c, int64_t y_gap, const std::vector<int>& clusters) {
  std::vector<GpuChoice> choices;
  for (const int slices : {1, 2, 4, 8, 16})
    for (const int halves : {1, 2})
      for (const int quantized : {0, 1})
        for (const int of : clusters) {
          choices.push_back(InSmall(
              {.slices = slices, .halves = halves, .clusters = of, .quantized = quantized}));
        }
  Agree(seed, c, y_gap, choices);
}

}  // namespace

TEST_CASE("every kernel agrees with the CPU and writes its outputs alone") {
  uint32_t seed = 0;
  for (const Case& c : Cases()) {
    ++seed;
    TestGroup test(seed, c.tokens, c.in, c.shapes);
    RunOnCpu(&test);
    const Outputs magnitudes = Magnitudes(seed, c.tokens, c.in, c.shapes);
    for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
      for (const bool aligned : {true, false}) {
        DeviceGroup::Layout layout;
        layout.y_type = type;
        layout.aligned = aligned;
        layout.y_gap = aligned ? 8 : seed % 3 == 0 ? -1 : 1;
        DeviceGroup device(test.group(), layout);
        for (const GpuKernel kernel :
             {GpuKernel::kAny, GpuKernel::kSmall, GpuKernel::kFewRows, GpuKernel::kTile,
              GpuKernel::kLarge, GpuKernel::kMma, GpuKernel::kPlain}) {
          if (!aligned && kernel != GpuKernel::kAny) continue;
          device.Poison();
          INFO(c.sentence << ": " << c.tokens << " tokens, " << c.in << " columns, "
                          << NameOf(kernel) << (aligned ? "" : ", not aligned")
                          << (type == LinearOutput::kF32 ? ", F32" : ", BF16") << "\n"
                          << ExplainGpu(device.group(), Only(kernel)));
          REQUIRE(device.Run(Only(kernel)) == "");
          CHECK(device.Damage() == "");
          CHECK(device.Nonfinite() == 0);
          CHECK(Disagreement(device, test, magnitudes) == "");
        }
      }
    }
  }
}

TEST_CASE("every tile of many tokens, however its CTAs share, agrees with the CPU") {
  std::vector<GpuChoice> choices;
  for (const int tokens : {64, 128, 256})
    for (const int rows : {32, 64, 80, 96, 112, 128, 160, 192}) {
      if (!LargeTileExists(tokens, rows)) continue;
      for (const int slices : {1, 2, 3, 4, 6, 8})
        choices.push_back(InLarge({tokens, rows, slices, 1, 2}));
      for (const int share : {2, -2, 4}) choices.push_back(InLarge({tokens, rows, 1, share, 2}));
      for (const int slices : {1, 2}) choices.push_back(InLarge({tokens, rows, slices, 1, 1}));
    }
  // Rows end inside tiles, blocks and groups of eight; the second shard begins inside a block. K
  // goes several times round every ring; there are more tiles than CTAs.
  for (const Case& c : {Case{"even", 300, 1152, {Fp8(1000)}},
                        {"few", 19, 1152, {Fp8(1000)}},
                        {"long", 70, 8448, {Fp8(200)}},
                        {"many", 600, 384, {Fp8(1500)}},
                        {"odd", 333, 656, {Fp8(301, 37, 48), Fp8(520, 0, 48)}}})
    Agree(77, c, 8, choices);
}

TEST_CASE("y that leaves while the next tile is multiplied agrees with the CPU, wherever it lies") {
  std::vector<GpuChoice> shared, alone;
  for (const int tokens : {128, 256})
    for (const int rows : {64, 80, 96, 112, 128, 160, 192}) {
      if (!LargeTileExists(tokens, rows)) continue;
      for (const int share : {2, -2, 4}) shared.push_back(InLarge({tokens, rows, 1, share, 1}));
      alone.push_back(InLarge({tokens, rows, 1, 1, 1}));
    }
  // More tiles than CTAs whatever the tile; the last tokens are half a warp's. Rows begin and end
  // inside tiles, boxes and groups of eight; y begins anywhere; BF16, a bias and float32, which
  // warps store, take turns with what leaves in boxes.
  const Case c = {"tiles in turn", 2056, 336, {Fp8(1048, 40, 48), Fp8(1112, 0, 48)}};
  Agree(81, c, 8, shared);
  for (const int gap : {0, 1}) Agree(81, c, gap, alone);
  Agree(82, {"rows", 2056, 336, {Fp8(1051, 37, 48), Fp8(1099, 0, 48)}}, 8, alone);
  Agree(83, {"kinds", 2056, 208, {Fp8(1048), Bf16(600), With(Fp8(800), true)}}, 8, alone);
}

TEST_CASE("every tile of many tokens takes BF16 beside FP8 and alone") {
  std::vector<GpuChoice> choices;
  for (const int tokens : {64, 128, 256})
    for (const int rows : {32, 64, 80, 96, 112, 128, 160, 192})
      for (const int bf16_tile : {16, 32, 64}) {
        if (!LargeTileExists(tokens, rows) || bf16_tile > rows) continue;
        for (const int slices : {1, 2, 3, 4, 8})
          choices.push_back(InLarge({tokens, rows, slices, 1, 1, bf16_tile}));
        choices.push_back(InLarge({tokens, rows, 1, 1, 2, bf16_tile}));
      }
  // Rows end inside tiles of BF16 and groups of eight; columns inside boxes, and inside the first
  // of two boxes of a stage; K goes several times round every ring; more tiles than CTAs; a slice
  // of K has no box of BF16; FP8 begins inside a block both ways.
  for (const Case& c : {Case{"even", 300, 1152, {Fp8(500), Bf16(200)}},
                        {"few", 19, 4224, {Fp8(200), Bf16(70), Bf16(1)}},
                        {"many", 600, 384, {Fp8(700), Bf16(900)}},
                        {"odd", 333, 650, {Fp8(301, 37, 48), Bf16(75), Fp8(70, 0, 48)}},
                        {"short", 70, 64, {Fp8(100, 0, 112), Bf16(100)}},
                        {"biases", 70, 328, {With(Fp8(100), true), With(Bf16(50), true)}},
                        {"alone", 130, 1096, {Bf16(301), Bf16(8)}}})
    Agree(80, c, 8, choices);
}

TEST_CASE("few tokens, x quantized by each cluster or before, agree with the CPU") {
  // Whole tiles, which are stored without a look; tiles that end inside; BF16 beside FP8.
  const std::vector<Shape> groups[] = {
      {Fp8(256)}, {Fp8(301, 37, 48)}, {Fp8(320), Fp8(72, 64)}, {Fp8(128), Bf16(40)}};
  for (const int64_t tokens : {1, 3, 8, 11, 16, 19, 32})
    for (const std::vector<Shape>& shapes : groups)
      AgreeInSmall(78, {"few tokens", tokens, shapes[0].k_phase > 0 ? 1104 : 1152, shapes}, 8, {0});
}

TEST_CASE("one block of K, but many rows of scales, agrees with the CPU") {
  for (const int64_t tokens : {1, 13, 30})
    for (const std::vector<Shape>& shapes :
         {std::vector<Shape>{Fp8(640)}, {Fp8(301, 37), Fp8(400)}, {PerChannel(640)}})
      Agree(85, {"one block", tokens, 128, shapes}, 8, {InSmall({.quantized = 1}), GpuChoice()});
}

TEST_CASE("few tokens, many tiles of rows in each cluster, agree with the CPU") {
  // Room for partial sums is used again and again, by each warpgroup's tiles and each warp's.
  const std::vector<Shape> groups[] = {{Fp8(896)},
                                       {Fp8(301, 37, 48), Fp8(520, 0, 48)},
                                       {Fp8(640), Bf16(200), With(Fp8(70), true)},
                                       {Bf16(900)}};
  for (const int64_t tokens : {1, 2, 5, 8, 9, 16, 27})
    for (const std::vector<Shape>& shapes : groups)
      AgreeInSmall(84, {"few tokens", tokens, shapes[0].k_phase > 0 ? 2128 : 2176, shapes},
                   tokens % 2 == 0 ? 8 : 1, {1, 2, 3});
}

TEST_CASE("more tiles of tokens, each multiplied by itself, agree with the CPU") {
  // Rows end inside tiles, the second shard begins inside a block both ways, x inside a block;
  // BF16 alone and beside FP8; biases; more tiles than clusters.
  const std::vector<Shape> groups[] = {
      {Fp8(256)},           {Fp8(301, 37, 48)},  {Fp8(320), Fp8(72, 64)},
      {Fp8(128), Bf16(40)}, {Bf16(65), Bf16(1)}, {With(Fp8(100), true), With(Bf16(50), true)}};
  for (const int64_t tokens : {33, 40, 64, 65, 100, 300})
    for (const std::vector<Shape>& shapes : groups)
      AgreeInSmall(79, {"tiles of tokens", tokens, shapes[0].k_phase > 0 ? 2128 : 2176, shapes},
                   tokens % 2 == 0 ? 8 : 1, {0, 2});
}

TEST_CASE("schemes, types and columns that fast kernels do not like run") {
  for (const int64_t tokens : {1, 5, 14, 32, 40, 130})
    for (const LinearScheme scheme : {LinearScheme::kFp8Channel, LinearScheme::kFp8Tensor})
      for (const bool fixed : {false, true}) {
        Shape s = Fp8(150);
        s.scheme = scheme;
        s.fixed = fixed;
        TestGroup test(static_cast<uint32_t>(tokens), tokens, 333, {s});
        RunOnCpu(&test);
        DeviceGroup device(test.group(), {});
        for (const GpuKernel kernel : {GpuKernel::kPlain, GpuKernel::kAny, GpuKernel::kMma}) {
          device.Poison();
          REQUIRE(device.Run(Only(kernel)) == "");
          CHECK(RelativeError(device.Y(0), test.Y(0)) <
                (kernel == GpuKernel::kPlain ? 1e-5 : kF32Bound));
          CHECK(device.Damage() == "");
        }
      }
  for (const LinearWeight type : {LinearWeight::kF16, LinearWeight::kF32}) {
    Shape s = Bf16(33);
    s.weight_type = type;
    TestGroup test(1, 6, 500, {s, Fp8(64)});
    RunOnCpu(&test);
    DeviceGroup device(test.group(), {});
    REQUIRE(device.Run() == "");
    CHECK(RelativeError(device.Y(0), test.Y(0)) < 1e-5);
    CHECK(RelativeError(device.Y(1), test.Y(1)) < kF32Bound);
  }
  TestGroup test(3, 9, 300, {Fp8(90)});
  test.segment(0).block_n = 64;  // reads the scales of 128 x 128 as some others: the same on both
  test.segment(0).block_k = 200;
  test.segment(0).rows = 64;
  RunOnCpu(&test);
  DeviceGroup device(test.group(), {});
  REQUIRE(device.Run() == "");
  CHECK(RelativeError(device.Y(0), test.Y(0)) < 1e-5);
}

TEST_CASE("NaN and Inf stay in the outputs that they take part in") {
  for (const int64_t tokens : {4, 20, 50, 150})
    for (const GpuKernel kernel : {GpuKernel::kAny, GpuKernel::kTile, GpuKernel::kLarge,
                                   GpuKernel::kMma, GpuKernel::kPlain}) {
      TestGroup test(9, tokens, 512, {Fp8(100), Bf16(40)});
      test.x(1)[300] = 0x7FC0;
      test.x(3)[5] = 0xFF80;  // -Inf
      static_cast<uint8_t*>(
          const_cast<void*>(test.segment(0).weight))[7 * test.segment(0).weight_stride] = 0xFF;
      RunOnCpu(&test);
      DeviceGroup device(test.group(), {});
      INFO(tokens << " tokens, " << NameOf(kernel));
      REQUIRE(device.Run(Only(kernel)) == "");
      CHECK(device.Nonfinite() == 2);
      CHECK(RelativeError(device.Y(0), test.Y(0)) < kF32Bound);
      const std::vector<float> y = device.Y(1), exact = test.Y(1);
      for (size_t i = 0; i < y.size(); ++i)
        if (!std::isfinite(exact[i]))
          CHECK(!std::isfinite(y[i]));
        else
          CHECK(std::fabs(y[i] - exact[i]) <= kF32Bound * (1 + std::fabs(exact[i])));
    }
}

TEST_CASE("what cannot run is refused and nothing is written") {
  TestGroup test(1, 4, 256, {Fp8(64)});
  DeviceGroup device(test.group(), {});
  CHECK(LinearGpu(device.group(), nullptr, 0, nullptr).code == LinearCode::kWorkspace);
  CHECK(LinearGpu(device.group(), static_cast<char*>(device.workspace()) + 16,
                  device.workspace_size(), nullptr)
            .code == LinearCode::kWorkspace);
  CHECK(LinearGpu(device.group(), device.workspace(), device.workspace_size() - 1, nullptr).code ==
        LinearCode::kWorkspace);
  device.segment(0).y_stride = 1;
  CHECK(LinearGpu(device.group(), device.workspace(), device.workspace_size(), nullptr).code ==
        LinearCode::kBadSize);
  device.segment(0).y_stride = 72;
  CHECK(device.Damage() == "");
  CHECK(device.Raw(0) == std::vector<uint8_t>(device.Raw(0).size(), 0xFB));
}
