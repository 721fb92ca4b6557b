// SPDX-License-Identifier: Apache-2.0
// The first launch of a process inside a capture: PrepareGpu has loaded what it needs. Each case is
// a process of its own, this program again, as kernels are loaded once.
#include <cuda_runtime_api.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"
#include "tests/skip.h"

extern char** environ;

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Row {
  const char* sentence;
  int64_t tokens;
  std::vector<Shape> shapes;
};
const Row rows[] = {
    {"few tokens", 3, {Fp8(700), Bf16(64)}},
    {"many tokens, x quantized before", 200, {Fp8(1024), Bf16(64)}},
    {"scales of rows", 200, {PerChannel(512)}},
    {"cuBLASLt, or our own where it is not there", 200, {PerChannel(10496)}},
    {"much BF16", 200, {Bf16(2048)}},
};

}  // namespace

// Run by the case after it alone: FERRULE_FIRST is the row.
TEST_CASE("first launch of a process", "[.]") {
  const char* which = std::getenv("FERRULE_FIRST");
  if (which == nullptr) return Skip("the case after it runs it, in processes of its own");
  const Row& row = rows[std::atoi(which)];
  INFO(row.sentence);
  TestGroup test(51, row.tokens, 1024, row.shapes);
  RunOnCpu(&test);
  DeviceGroup device(test.group(), {});
  device.Poison();
  REQUIRE(PrepareGpu(device.group()));
  const size_t size = WorkspaceSizeGpu(device.group());
  void* workspace = nullptr;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaMalloc(&workspace, size + 1) == cudaSuccess);
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  // What allocates or waits is an error while a stream is captured like this.
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  REQUIRE(LinearGpu(device.group(), workspace, size, stream));
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphLaunch(exec, stream) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  for (size_t i = 0; i < device.size(); ++i)
    CHECK(RelativeError(device.Y(i), test.Y(i)) < kF32Bound);
  CHECK(device.Damage() == "");
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  cudaFree(workspace);
}

TEST_CASE("the first launch of a process may be a captured one, where it was prepared") {
  for (size_t i = 0; i < std::size(rows); ++i) {
    INFO(rows[i].sentence);
    REQUIRE(setenv("FERRULE_FIRST", std::to_string(i).c_str(), 1) == 0);
    std::string program = "/proc/self/exe", name = "first launch of a process";
    char* arguments[] = {program.data(), name.data(), nullptr};
    pid_t child = 0;
    int status = 0;
    REQUIRE(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ) == 0);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  unsetenv("FERRULE_FIRST");
}
