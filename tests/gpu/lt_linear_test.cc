// SPDX-License-Identifier: Apache-2.0
// What cuBLASLt takes over, against the CPU, eager and in a graph; skipped where there is none.
#include "kernels/lt_linear.h"

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Workspace {
  explicit Workspace(size_t bytes) { REQUIRE(cudaMalloc(&memory, bytes + 1) == cudaSuccess); }
  ~Workspace() { cudaFree(memory); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* memory = nullptr;
};

int LtSteps(const LinearGroup& group, const GpuChoice& choice) {
  int count = 0;
  const auto take = [](const GpuStep& step, void* to) {
    *static_cast<int*>(to) += step.kernel == GpuKernel::kLt ? 1 : 0;
    return LinearStatus();
  };
  REQUIRE(ForEachStep(group, choice, CurrentGpu(), take, &count));
  return count;
}

struct Row {
  const char* sentence;
  LinearScheme scheme;
  bool fixed;    // a static scale of x
  int64_t rows;  // products of which none was prepared
};

// Null, or why cuBLASLt does not take the product.
const char* CheckAgainstCpu(const Row& row, int64_t tokens, LinearOutput type) {
  INFO(row.sentence << ", " << tokens << " tokens, "
                    << (type == LinearOutput::kF32 ? "F32" : "BF16"));
  const GpuChoice only = Only(GpuKernel::kLt);
  Shape shape;
  shape.scheme = row.scheme;
  shape.fixed = row.fixed;
  shape.rows = row.rows;
  // Whose sums are kept apart from block to block, so that bounds are close.
  const bool close = row.scheme == LinearScheme::kFp8Block || row.scheme == LinearScheme::kBf16;
  shape.normal = close;
  TestGroup test(21, tokens, 1024, {shape});
  const Outputs magnitudes = Magnitudes(21, tokens, 1024, {shape});
  std::vector<float> scales;  // without gaps, as a checkpoint has them
  if (row.scheme == LinearScheme::kFp8Block) {
    LinearSegment& s = test.segment(0);
    for (int64_t i = 0; i < 6; ++i)
      scales.insert(scales.end(), s.scale + i * s.scale_stride, s.scale + i * s.scale_stride + 8);
    s.scale = scales.data();
    s.scale_stride = 8;
  }
  DeviceGroup::Layout layout;
  layout.y_type = type;
  DeviceGroup device(test.group(), layout);
  CHECK(LtSteps(device.group(), only) == 0);  // not prepared yet
  REQUIRE(PrepareGpu(device.group(), only));
  if (LtSteps(device.group(), only) == 0) {
    LtShape lt;
    const char* why = LtRefuses(device.group(), device.segment(0), &lt);
    return why == nullptr ? "it has no algorithm" : why;
  }
  RunOnCpu(&test);
  const std::vector<float> exact = test.Y(0);
  const size_t size = WorkspaceSizeGpu(device.group(), only);
  const Workspace workspace(size);
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  const auto check = [&] {
    REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(RelativeError(device.Y(0), exact) < BoundOf(type));
    if (close) CHECK(Disagreement(device, test, magnitudes, kNormalCodes) == "");
    CHECK(device.Damage() == "");
  };
  device.Poison();
  REQUIRE(RunGpu(device.group(), only, workspace.memory, size, stream));
  check();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  for (int i = 0; i < 3; ++i) REQUIRE(RunGpu(device.group(), only, workspace.memory, size, stream));
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  device.Poison();
  REQUIRE(cudaGraphLaunch(exec, stream) == cudaSuccess);
  check();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return nullptr;
}

}  // namespace

TEST_CASE("cuBLASLt's products agree with the CPU, once prepared") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  const Row rows[] = {{"BF16", LinearScheme::kBf16, false, 656},
                      {"per channel", LinearScheme::kFp8Channel, false, 672},
                      {"per tensor, tokens by themselves", LinearScheme::kFp8Tensor, false, 688},
                      {"per tensor, static", LinearScheme::kFp8Tensor, true, 704}};
  for (const Row& row : rows)
    for (const int64_t tokens : {64, 132, 300})
      for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
        INFO(row.sentence);
        CHECK(CheckAgainstCpu(row, tokens, type) == nullptr);
      }
}

// Of blocks, releases of cuBLASLt know other outputs, and older ones none.
TEST_CASE("cuBLASLt's products of FP8 blocks agree with the CPU, once prepared") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  const char* why = nullptr;
  int ran = 0;
  for (const int64_t tokens : {64, 132, 300})
    for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
      const char* refusal =
          CheckAgainstCpu({"blocks", LinearScheme::kFp8Block, false, 720}, tokens, type);
      if (refusal == nullptr) ++ran;
      if (refusal != nullptr) why = refusal;
    }
  if (ran == 0) Skip(why);
}

// Their scales of W are repeated, and cuBLASLt works, in one place, one after the other.
TEST_CASE("cuBLASLt's products of one group agree with the CPU, whichever comes first") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  const GpuChoice only = Only(GpuKernel::kLt);
  const Shape tensor = PerTensor(816), wide = PerTensor(1648), channel = PerChannel(752);
  for (const std::vector<Shape>& shapes : {std::vector<Shape>{tensor, wide, channel},
                                           {channel, wide, tensor},
                                           {wide, channel, tensor}})
    for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
      TestGroup test(22, 100, 1024, shapes);
      RunOnCpu(&test);
      DeviceGroup::Layout layout;
      layout.y_type = type;
      DeviceGroup device(test.group(), layout);
      REQUIRE(PrepareGpu(device.group(), only));
      if (LtSteps(device.group(), only) != 3)
        return Skip("cuBLASLt has no algorithm for one of them");
      INFO(ExplainGpu(device.group(), only));
      const size_t size = WorkspaceSizeGpu(device.group(), only);
      const Workspace workspace(size);
      for (int i = 0; i < 3; ++i) {
        device.Poison();
        REQUIRE(RunGpu(device.group(), only, workspace.memory, size, nullptr));
        REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
        for (size_t n = 0; n < shapes.size(); ++n)
          CHECK(RelativeError(device.Y(n), test.Y(n)) < BoundOf(type));
        CHECK(device.Damage() == "");
      }
    }
}

TEST_CASE("x that is quantized once serves cuBLASLt and a kernel of our own") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  TestGroup test(23, 1100, 256, {PerChannel(4096), PerChannel(64), PerTensor(3840)});
  RunOnCpu(&test);
  DeviceGroup device(test.group(), {});
  REQUIRE(device.Prepare({}) == "");
  if (LtSteps(device.group(), {}) != 2) return Skip("cuBLASLt has no algorithm for one of them");
  const std::string steps = ExplainGpu(device.group());
  INFO(steps);
  CHECK(steps.find("large_m_linear: ") != std::string::npos);
  CHECK(steps.find("quantize: ") == steps.rfind("quantize: "));
  device.Poison();
  REQUIRE(device.Run() == "");
  for (size_t n = 0; n < device.size(); ++n)
    CHECK(RelativeError(device.Y(n), test.Y(n)) < BoundOf(LinearOutput::kF32));
  CHECK(device.Damage() == "");
}
