// SPDX-License-Identifier: Apache-2.0
// A module in host memory, copied to the GPU and run there.
#include "kernels/device_linear.h"

#include "tests/catch.h"
#include "tests/kernels/group.h"

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
      REQUIRE(device->Run(test.group().x, tokens, test.group().x_stride, gpu.data(), stride));
      INFO(tokens << " tokens, " << in << " columns");
      CHECK(RelativeError(gpu, cpu) < 4e-4);
      for (int64_t m = 0; m < tokens; ++m)
        for (int64_t n = linear.rows; n < stride; ++n)
          REQUIRE(gpu[static_cast<size_t>(m * stride + n)] == -7.0f);
    }
}
