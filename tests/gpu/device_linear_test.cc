// SPDX-License-Identifier: Apache-2.0
// A module in host memory, copied to the GPU and run there.
#include "kernels/device_linear.h"

#include "kernels/lt_linear.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/kernels/group.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

TEST_CASE("a module on the GPU gives what it gives on the CPU") {
  Shape channel;
  channel.scheme = LinearScheme::kFp8Channel;
  channel.rows = 40;
  Shape phase;
  phase.rows = 192;
  phase.n_phase = 64;
  phase.k_phase = 48;
  phase.bias = true;
  Shape odd;
  odd.rows = 33;
  odd.n_phase = 127;
  odd.k_phase = 5;
  Shape bf16;
  bf16.scheme = LinearScheme::kBf16;
  bf16.rows = 17;
  Shape f32 = bf16;
  f32.weight_type = LinearWeight::kF32;
  for (const int64_t tokens : {1, 20, 150})
    for (const int64_t in : {333, 520}) {
      TestGroup test(7, tokens, in, {phase, bf16, odd, channel, f32});
      LoadedLinear linear;
      linear.in = in;
      for (int32_t i = 0; i < test.group().segment_count; ++i) {
        linear.segments.push_back(test.segment(static_cast<size_t>(i)));
        linear.rows += linear.segments.back().rows;
      }
      const int64_t stride = linear.rows + 3;
      const std::vector<float> empty(static_cast<size_t>(tokens * stride), -7.0f);
      std::vector<float> cpu = empty, gpu = empty;
      REQUIRE(linear.Run(test.group().x, tokens, test.group().x_stride, cpu.data(), stride));
      std::unique_ptr<DeviceLinear> device;
      REQUIRE(DeviceLinear::Create(linear, &device));
      CHECK(device->rows() == linear.rows);
      CHECK(device->Run(test.group().x, tokens, test.group().x_stride, gpu.data(), linear.rows - 1)
                .code == LinearCode::kBadSize);
      REQUIRE(device->Run(test.group().x, tokens, test.group().x_stride, gpu.data(), stride));
      INFO(tokens << " tokens, " << in << " columns");
      CHECK(RelativeError(gpu, cpu) < 4e-4);
      for (int64_t m = 0; m < tokens; ++m)
        for (int64_t n = linear.rows; n < stride; ++n)
          REQUIRE(gpu[static_cast<size_t>(m * stride + n)] == -7.0f);
    }
}

TEST_CASE("what cuBLASLt does faster is made ready by the first call") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  const Shape much = PerChannel(20976);  // a product that no other test has
  TestGroup test(8, 100, 512, {much});
  LoadedLinear linear;
  linear.in = 512;
  linear.segments.push_back(test.segment(0));
  linear.rows = much.rows;
  std::unique_ptr<DeviceLinear> device;
  REQUIRE(DeviceLinear::Create(linear, &device));
  LinearSegment segment = device->segments()[0];
  segment.y = nullptr;  // of the host; what runs has its own, aligned
  segment.y_stride = much.rows;
  segment.y_type = LinearOutput::kF32;
  LtShape shape;
  REQUIRE(LtRefuses(test.group(), segment, &shape) == nullptr);
  size_t bytes = 0;
  CHECK_FALSE(LtReady(shape, &bytes));
  std::vector<float> cpu(static_cast<size_t>(100 * much.rows)), gpu = cpu;
  REQUIRE(linear.Run(test.group().x, 100, test.group().x_stride, cpu.data(), much.rows));
  LinearStatus prepared;
  REQUIRE(RunFromHost(device->segments(), much.rows, 512, test.group().x, 100,
                      test.group().x_stride, gpu.data(), much.rows, &prepared));
  CHECK(prepared);
  CHECK(LtReady(shape, &bytes));
  CHECK(RelativeError(gpu, cpu) < 4e-4);
}
