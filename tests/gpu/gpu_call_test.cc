// SPDX-License-Identifier: Apache-2.0
// Prepared calls: the bits of LinearGpu from one launch of a graph, wherever the pointers lead.
#include <cuda_runtime_api.h>

#include "kernels/linear_gpu.h"
#include "kernels/lt_linear.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// Linears in memory of their own, and what LinearGpu makes of them.
struct Known {
  Known(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes)
      : test(seed, tokens, in, shapes), device(test.group(), {}) {
    RunOnCpu(&test);
    REQUIRE(device.Run() == "");
    for (size_t i = 0; i < device.size(); ++i) bits.push_back(device.Raw(i));
    nonfinite = device.Nonfinite();
  }
  LinearStatus RunBy(GpuCall* call, void* stream = nullptr) {
    return call->Run(device.group(), device.workspace(), device.workspace_size(), stream);
  }
  void Check() {
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    for (size_t i = 0; i < device.size(); ++i) {
      CHECK(RelativeError(device.Y(i), test.Y(i)) < kF32Bound);
      CHECK(device.Raw(i) == bits[i]);
    }
    CHECK(device.Damage() == "");
    CHECK(device.Nonfinite() == nonfinite);
  }

  TestGroup test;
  DeviceGroup device;
  std::vector<std::vector<uint8_t>> bits;
  int64_t nonfinite = 0;
};

std::unique_ptr<GpuCall> Prepared(DeviceGroup* device) {
  std::unique_ptr<GpuCall> call;
  REQUIRE(GpuCall::Create(device->group(), device->workspace(), device->workspace_size(), &call));
  REQUIRE(call != nullptr);
  return call;
}

}  // namespace

TEST_CASE("a prepared call gives the bits of LinearGpu, wherever its pointers lead") {
  struct Row {
    const char* sentence;
    int64_t tokens, in;
    std::vector<Shape> shapes;
  };
  for (const Row& row : {Row{"one kernel", 3, 1024, {Fp8(700), Bf16(64)}},
                         Row{"two kernels", 90, 1024, {Fp8(700), Bf16(64)}},
                         Row{"CTAs that exchange sums", 130, 2048, {Fp8(1024)}},
                         Row{"x quantized in two ways", 20, 640, {Fp8(300), PerChannel(77)}},
                         Row{"more segments than a launch takes",
                             5,
                             256,
                             {Fp8(64), Fp8(64), Fp8(65), Fp8(64), Fp8(64), Bf16(3)}},
                         Row{"shards that begin inside blocks", 40, 656, {Fp8(301, 37, 48)}}}) {
    INFO(row.sentence);
    Known one(31, row.tokens, row.in, row.shapes), two(32, row.tokens, row.in, row.shapes);
    const std::unique_ptr<GpuCall> call = Prepared(&one.device);
    for (Known* known : {&one, &one, &two, &one, &two, &two}) {
      known->device.Poison();
      REQUIRE(known->RunBy(call.get()));
      known->Check();
    }
    // Changes of the graph leave launches that are under way alone.
    one.device.Poison();
    two.device.Poison();
    for (int i = 0; i < 50; ++i) REQUIRE((i % 2 == 0 ? one : two).RunBy(call.get()));
    one.Check();
    two.Check();
  }
}

TEST_CASE("a prepared call is LinearGpu where sizes are others or a stream is captured") {
  Known known(33, 90, 1024, {Fp8(700), Bf16(64)});
  const std::unique_ptr<GpuCall> call = Prepared(&known.device);
  for (const int64_t tokens : {89, 1, 300}) {
    INFO(tokens << " tokens");
    Known other(34, tokens, 1024, {Fp8(700), Bf16(64)});
    other.device.Poison();
    REQUIRE(other.RunBy(call.get()));
    other.Check();
  }
  Known fewer(35, 90, 1024, {Fp8(700)}), shorter(36, 90, 512, {Fp8(700), Bf16(64)});
  for (Known* other : {&fewer, &shorter, &known}) {
    other->device.Poison();
    REQUIRE(other->RunBy(call.get()));
    other->Check();
  }
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  for (int i = 0; i < 3; ++i) REQUIRE(known.RunBy(call.get(), stream));
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  known.device.Poison();
  REQUIRE(cudaGraphLaunch(exec, stream) == cudaSuccess);
  known.Check();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  known.device.Poison();
  REQUIRE(known.RunBy(call.get(), stream));
  known.Check();
  cudaStreamDestroy(stream);
}

TEST_CASE("a prepared call takes x that only slower kernels take, and no tokens") {
  Known known(37, 6, 512, {Fp8(200)});
  const std::unique_ptr<GpuCall> call = Prepared(&known.device);
  // From the second column on: not aligned as fast kernels want.
  LinearGroup cut = known.device.group();
  LinearSegment segment = known.device.segment(0);
  cut.x = static_cast<const uint16_t*>(cut.x) + 1;
  cut.in = 384;
  segment.k_phase = 0;
  cut.segments = &segment;
  REQUIRE(LinearGpu(cut, known.device.workspace(), known.device.workspace_size(), nullptr));
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  const std::vector<float> expected = known.device.Y(0);
  known.device.Poison();
  REQUIRE(call->Run(cut, known.device.workspace(), known.device.workspace_size(), nullptr));
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(known.device.Y(0) == expected);
  cut = known.device.group();
  cut.tokens = 0;
  known.device.Poison();
  REQUIRE(call->Run(cut, nullptr, 0, nullptr));
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(known.device.Raw(0) == std::vector<uint8_t>(known.device.Raw(0).size(), 0xFB));
  std::unique_ptr<GpuCall> none;
  REQUIRE(GpuCall::Create(cut, nullptr, 0, &none));
  REQUIRE(none->Run(cut, nullptr, 0, nullptr));
  REQUIRE(known.RunBy(none.get()));  // of another size than the one it was prepared for
  known.Check();
}

TEST_CASE("what a prepared call refuses leaves it as it was") {
  Known known(38, 90, 512, {Fp8(200)});
  DeviceGroup& device = known.device;
  std::unique_ptr<GpuCall> call;
  const LinearStatus small =
      GpuCall::Create(device.group(), device.workspace(), device.workspace_size() - 1, &call);
  CHECK(small.code == LinearCode::kWorkspace);
  CHECK(call == nullptr);
  call = Prepared(&device);
  device.Poison();
  CHECK(call->Run(device.group(), device.workspace(), device.workspace_size() - 1, nullptr).code ==
        LinearCode::kWorkspace);
  CHECK(call->Run(device.group(), nullptr, 0, nullptr).code == LinearCode::kWorkspace);
  LinearGroup wrong = device.group();
  wrong.x = nullptr;
  CHECK(call->Run(wrong, device.workspace(), device.workspace_size(), nullptr).code ==
        LinearCode::kNull);
  wrong = device.group();
  wrong.segments = nullptr;
  CHECK(call->Run(wrong, device.workspace(), device.workspace_size(), nullptr).code ==
        LinearCode::kNull);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(device.Raw(0) == std::vector<uint8_t>(device.Raw(0).size(), 0xFB));
  REQUIRE(known.RunBy(call.get()));
  known.Check();
}

TEST_CASE("a prepared call runs what cuBLASLt takes") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  const std::vector<Shape> shapes = {Bf16(2048)};  // much BF16 goes to cuBLASLt
  TestGroup test(39, 200, 1024, shapes);
  DeviceGroup prepared(test.group(), {});
  REQUIRE(PrepareGpu(prepared.group()));
  CHECK(ExplainGpu(prepared.group()).find("cuBLASLt: ") != std::string::npos);
  Known one(39, 200, 1024, shapes), two(40, 200, 1024, shapes);
  const std::unique_ptr<GpuCall> call = Prepared(&one.device);
  const auto all = [&] {
    for (Known* known : {&one, &two, &one, &one}) {
      known->device.Poison();
      REQUIRE(known->RunBy(call.get()));
      known->Check();
    }
  };
  all();
  REQUIRE(call->Add(two.device.group(), two.device.workspace(), two.device.workspace_size()));
  all();
}
