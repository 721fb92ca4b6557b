// SPDX-License-Identifier: Apache-2.0
// With batch_invariant a token's bits are its own: alone, among others, first or last of them.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

TEST_CASE("with batch_invariant a token gets the same bits among 1 to 300 tokens") {
  constexpr int64_t kAll = 300;
  Shape channel;
  channel.scheme = LinearScheme::kFp8Channel;
  channel.rows = 40;
  struct Row {
    const char* sentence;
    int64_t in;
    std::vector<Shape> shapes;
    LinearOutput y_type = LinearOutput::kF32;
  };
  constexpr uint32_t kSeed = 11;
  const std::vector<Row> rows = {
      {"few rows, K in eight slices", 2048, {Fp8(64)}},
      {"many rows, K in one", 512, {Fp8(17000)}},
      {"BF16 alone", 1000, {Bf16(300)}},
      {"a group of both with a shard", 1536, {Fp8(1024), Bf16(64), Fp8(192, 64)}},
      {"columns that begin inside a block", 320, {Fp8(200, 96, 64)}},
      {"without a fast kernel", 333, {channel, Fp8(33, 127, 5)}},
      {"BF16 outputs", 1536, {Fp8(1024), Bf16(64), Fp8(192, 64)}, LinearOutput::kBf16},
      {"biases", 640, {With(Fp8(200, 37), true), With(Bf16(40), true)}},
      {"more segments than a launch takes",
       512,
       {Fp8(64), Fp8(130), With(Bf16(9), true), Fp8(64, 64), Fp8(77)},
       LinearOutput::kBf16},
  };
  for (const Row& row : rows) {
    INFO(row.sentence);
    TestGroup host(kSeed, kAll, row.in, row.shapes);
    RunOnCpu(&host);
    const Outputs magnitudes = Magnitudes(kSeed, kAll, row.in, row.shapes);
    DeviceGroup::Layout layout;
    layout.y_type = row.y_type;
    DeviceGroup device(host.group(), layout);
    LinearGroup& group = device.group();
    group.batch_invariant = true;
    const void* x = group.x;
    REQUIRE(device.Run() == "");
    const Outputs all = OutputsOf(device);
    for (int64_t tokens = 1; tokens <= kAll; ++tokens)
      for (const int64_t first : {int64_t{0}, kAll - tokens}) {
        if (tokens > 130 && tokens % 37 != 0 && tokens != kAll) continue;
        INFO(tokens << " tokens from the " << first << "th on");
        device.Poison();
        group.tokens = tokens;
        group.x = static_cast<const uint16_t*>(x) + first * group.x_stride;
        REQUIRE(device.Run() == "");
        REQUIRE(OtherBits(device, all, first) == "");
        if (tokens != 1 && tokens != 17 && tokens != 129 && tokens != kAll) continue;
        CHECK(device.Damage() == "");
        // The error of BF16's own rounding is one of many outputs; these bits are also in `all`.
        if (tokens == 1 && row.y_type == LinearOutput::kBf16) continue;
        CHECK(Disagreement(device, host, magnitudes, kUniformCodes, first) == "");
      }
  }
}

TEST_CASE("small_m_linear gives a token the same bits in any place of any tile of 32") {
  constexpr int64_t kAll = 300;
  GpuChoice choice;
  choice.kernel = GpuKernel::kSmall;
  choice.small.slices = 4;
  choice.small.halves = 1;
  for (const int quantized : {0, 1}) {
    choice.small.quantized = quantized;
    TestGroup host(12, kAll, 1536, {Fp8(1024), Bf16(64), Fp8(192, 64)});
    TestGroup alone(13, kAll, 1536, {Fp8(320)});
    DeviceGroup device(quantized == 1 ? alone.group() : host.group(), {});
    LinearGroup& group = device.group();
    const void* x = group.x;
    REQUIRE(ExplainGpu(group, choice).find("small_m_linear") != std::string::npos);
    REQUIRE(device.Run(choice) == "");
    const Outputs all = OutputsOf(device);
    for (const int64_t tokens : {17, 31, 32, 33, 50, 64, 65, 129, 299})
      for (const int64_t first : {int64_t{0}, int64_t{1}, kAll - tokens}) {
        INFO(tokens << " tokens from the " << first << "th on, " << quantized);
        device.Poison();
        group.tokens = tokens;
        group.x = static_cast<const uint16_t*>(x) + first * group.x_stride;
        REQUIRE(device.Run(choice) == "");
        REQUIRE(OtherBits(device, all, first) == "");
      }
  }
}
