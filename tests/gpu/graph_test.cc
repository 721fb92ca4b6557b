// SPDX-License-Identifier: Apache-2.0
// LinearGpu in CUDA graphs.
#include <cuda_runtime_api.h>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// Eight calls of LinearGpu.
class Captured {
 public:
  explicit Captured(DeviceGroup* device) {
    REQUIRE(cudaStreamCreate(&stream_) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal) == cudaSuccess);
    for (int i = 0; i < 8; ++i)
      REQUIRE(LinearGpu(device->group(), device->workspace(), device->workspace_size(), stream_));
    REQUIRE(cudaStreamEndCapture(stream_, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&exec_, graph, 0) == cudaSuccess);
    cudaGraphDestroy(graph);
  }
  ~Captured() {
    cudaGraphExecDestroy(exec_);
    cudaStreamDestroy(stream_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  void Run() {
    REQUIRE(cudaGraphLaunch(exec_, stream_) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace

TEST_CASE("a captured graph follows new values of x") {
  constexpr int64_t kColumns = 1024;
  const std::vector<Shape> groups[] = {
      {Fp8(700), Bf16(64)}, {Fp8(1088)}, {Bf16(300)}, {Fp8(192, 64), With(Fp8(100), true)}};
  for (const std::vector<Shape>& shapes : groups)
    for (const int64_t tokens : {3, 30, 90, 300, 1100})
      for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16})
        for (const bool invariant : {false, true}) {
          INFO(tokens << " tokens, " << shapes.size() << " segments, " << shapes[0].rows << " rows"
                      << (type == LinearOutput::kF32 ? ", F32" : ", BF16")
                      << (invariant ? ", batch_invariant" : ""));
          TestGroup test(11, tokens, kColumns, shapes);
          DeviceGroup::Layout layout;
          layout.y_type = type;
          DeviceGroup device(test.group(), layout);
          device.group().batch_invariant = invariant;
          Captured graph(&device);
          for (uint32_t seed = 20; seed < 22; ++seed) {
            TestGroup other(seed, tokens, kColumns, {});
            for (int64_t m = 0; m < tokens; ++m)
              for (int64_t k = 0; k < kColumns; ++k) test.x(m)[k] = other.x(m)[k];
            if (seed == 21) test.x(0)[9] = 0x7F80;  // counted anew
            RunOnCpu(&test);
            device.SetX(test.group());
            device.Poison();
            graph.Run();
            CHECK(device.Damage() == "");
            CHECK(device.Nonfinite() == seed - 20);
            for (size_t i = 0; i < shapes.size(); ++i)
              if (seed == 20 || shapes[i].scheme != LinearScheme::kBf16)  // Inf - Inf in any order
                CHECK(RelativeError(device.Y(i), test.Y(i)) < BoundOf(type));
          }
        }
}
