// SPDX-License-Identifier: Apache-2.0
// Which calls a GpuCall launches as its graph, which change the graph, and which are LinearGpu:
// with a CUDA in here that only takes notes, so that it is tested where there is no GPU.
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "kernels/gpu_linear.h"
#include "kernels/launch_target.h"
#include "kernels/linear_gpu.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

struct Notes {
  std::vector<std::string> what;  // since Take
  bool capturing = false;         // the caller's stream
  bool upload_fails = false;
  int uploads = 0;
  size_t next_exec = 6;  // the first graph's
  int open = 0;          // graphs and streams that are not given back
  std::string Take() {
    std::string all;
    for (const std::string& one : what) all += (all.empty() ? "" : ", ") + one;
    what.clear();
    return all;
  }
} notes;

cudaGraphNode_t node_of_last_launch = nullptr;
size_t launches = 0;

template <typename T>
T Handle(size_t i) {
  return reinterpret_cast<T>(i);
}
size_t Number(const void* handle) { return reinterpret_cast<size_t>(handle); }

void Launch(const LaunchTarget& to, size_t kernel, unsigned together, const void* argument,
            cudaError_t* error) {
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {together, 1, 1};
  cudaLaunchConfig_t config = {};
  config.attrs = &cluster;
  config.numAttrs = 1;
  void* parameters[] = {&argument};
  if (*error == cudaSuccess) *error = Submit(to, &config, Handle<const void*>(kernel), parameters);
}

constexpr size_t kQuantizer = 1, kProduct = 2, kOther = 3;

}  // namespace

// ---- CUDA ----
extern "C" {
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  ++notes.open;
  *stream = Handle<cudaStream_t>(77);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return --notes.open, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode mode) {
  CHECK(mode == cudaStreamCaptureModeThreadLocal);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  ++notes.open;
  *graph = Handle<cudaGraph_t>(5);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = notes.capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t, unsigned long long) {
  ++notes.open;
  *exec = Handle<cudaGraphExec_t>(notes.next_exec++);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  ++notes.uploads;
  return notes.upload_fails ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return --notes.open, cudaSuccess; }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return --notes.open, cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::string which = Number(exec) == 6 ? "" : " " + std::to_string(Number(exec));
  notes.what.push_back("graph" + which + " on " + std::to_string(Number(stream)));
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
  notes.what.push_back("kernel " + std::to_string(Number(kernel)) + " on " +
                       std::to_string(Number(config->stream)));
  node_of_last_launch = Handle<cudaGraphNode_t>(100 + ++launches);
  return cudaSuccess;
}
#if CUDART_VERSION >= 13000
cudaError_t cudaStreamGetCaptureInfo(
#else
cudaError_t cudaStreamGetCaptureInfo_v3(
#endif
    cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long*, cudaGraph_t*,
    const cudaGraphNode_t** nodes, const cudaGraphEdgeData**, size_t* count) {
  *status = cudaStreamCaptureStatusActive;
  *nodes = &node_of_last_launch;
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* params) {
  CHECK(Number(exec) == 6);  // the first alone
  CHECK(Number(node) > 100);
  notes.what.push_back("change of " + std::to_string(Number(params->func)) + " to " +
                       std::to_string(Number(*static_cast<void**>(params->kernelParams[0]))));
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "CUDA says no"; }
}

// ---- LinearGpu: a product, from 32 tokens on quantized before, beyond 1000 by cuBLASLt ----
namespace ferrule {

const char* GpuRefuses() { return nullptr; }

LinearStatus SubmitGpu(const LinearGroup& group, const GpuChoice&, void* workspace, size_t,
                       const LaunchTarget& to) {
  if (workspace == nullptr) return {LinearCode::kWorkspace, -1, "the workspace is null"};
  cudaError_t error = cudaSuccess;
  if (group.tokens >= 32) Launch(to, kQuantizer, 1, group.x, &error);
  if (group.tokens > 1000) {
    if (to.nodes != nullptr && !to.nodes->recording())
      return {LinearCode::kUnsupported, -1, "not in a graph"};
    if (to.nodes != nullptr) to.nodes->Fix();
    notes.what.push_back("cuBLASLt");
    return {};
  }
  Launch(to, group.tokens > 500 ? kOther : kProduct, group.tokens > 200 ? 2 : 1,
         group.segments[0].y, &error);
  if (group.segment_count > 1) Launch(to, kProduct, 1, group.segments[1].y, &error);
  if (error == cudaSuccess) return {};
  return {LinearCode::kDevice, -1, "CUDA says no"};
}

LinearStatus LinearGpu(const LinearGroup&, void* workspace, size_t, void* stream) {
  notes.what.push_back("LinearGpu on " + std::to_string(Number(stream)));
  if (workspace == nullptr) return {LinearCode::kWorkspace, -1, "the workspace is null"};
  return {};
}

}  // namespace ferrule

namespace {

// x at 1000 + `at`, y at 2000 + `at`: addresses that nobody follows.
struct Asked {
  Asked(int64_t tokens, size_t at, int32_t segments = 1) {
    for (LinearSegment& s : of) {
      s.weight = Handle<const void*>(4096);
      s.rows = 64;
      s.weight_stride = 128;
      s.y = Handle<void*>(2000 + at);
      s.y_stride = 64;
    }
    group.x = Handle<const void*>(1000 + at);
    group.tokens = tokens;
    group.in = group.x_stride = 128;
    group.segments = of;
    group.segment_count = segments;
  }
  LinearSegment of[2];
  LinearGroup group;
};

void* const kWorkspace = Handle<void*>(1 << 20);

std::unique_ptr<GpuCall> Prepared(const Asked& asked) {
  std::unique_ptr<GpuCall> call;
  notes.next_exec = 6;
  REQUIRE(GpuCall::Create(asked.group, kWorkspace, 512, &call));
  notes.Take();
  return call;
}

std::string Run(GpuCall* call, const Asked& asked, size_t size = 512) {
  REQUIRE(call->Run(asked.group, kWorkspace, size, Handle<void*>(9)));
  return notes.Take();
}

}  // namespace

TEST_CASE("a prepared call is one launch, with other pointers after changes of its kernels") {
  const Asked here(64, 0), there(64, 8);
  {
    std::unique_ptr<GpuCall> call;
    notes.next_exec = 6;
    REQUIRE(GpuCall::Create(here.group, kWorkspace, 512, &call));
    CHECK(notes.Take() == "kernel 1 on 77, kernel 2 on 77");  // captured, not run
    CHECK(Run(call.get(), here) == "graph on 9");
    CHECK(Run(call.get(), there) == "change of 1 to 1008, change of 2 to 2008, graph on 9");
    CHECK(Run(call.get(), there, 600) == "graph on 9");
    CHECK(Run(call.get(), here) == "change of 1 to 1000, change of 2 to 2000, graph on 9");
    Asked other(64, 0);
    other.of[0].bias = Handle<const float*>(64);
    CHECK(Run(call.get(), other) == "change of 1 to 1000, change of 2 to 2000, graph on 9");
    CHECK(Run(call.get(), other, 511) == "change of 1 to 1000, change of 2 to 2000, graph on 9");
  }
  CHECK(notes.open == 0);
}

TEST_CASE("one kernel with other pointers is launched, its graph left as it is") {
  const Asked here(8, 0), there(8, 8);
  const std::unique_ptr<GpuCall> call = Prepared(here);
  CHECK(Run(call.get(), there) == "LinearGpu on 9");
  CHECK(Run(call.get(), here) == "graph on 9");
}

TEST_CASE("where kernels are others LinearGpu runs, and the graph is made right again after it") {
  const Asked here(64, 0);
  const std::unique_ptr<GpuCall> call = Prepared(here);
  const std::string again = "change of 1 to 1000, change of 2 to 2000, graph on 9";
  SECTION("another kernel") {
    CHECK(Run(call.get(), Asked(501, 0)) == "change of 1 to 1000, LinearGpu on 9");
    CHECK(Run(call.get(), here) == again);
  }
  SECTION("clusters of another size") {
    CHECK(Run(call.get(), Asked(201, 0)) == "change of 1 to 1000, LinearGpu on 9");
    CHECK(Run(call.get(), here) == again);
  }
  SECTION("fewer kernels, of which the first is another") {
    CHECK(Run(call.get(), Asked(8, 0)) == "LinearGpu on 9");
    CHECK(Run(call.get(), here) == again);
  }
  SECTION("more segments") {
    CHECK(Run(call.get(), Asked(64, 0, 2)) == "LinearGpu on 9");
    CHECK(Run(call.get(), here) == "graph on 9");
  }
  SECTION("cuBLASLt") {
    CHECK(Run(call.get(), Asked(1001, 0)) == "change of 1 to 1000, LinearGpu on 9");
    CHECK(Run(call.get(), here) == again);
  }
  SECTION("other tokens, the same kernels") {
    CHECK(Run(call.get(), Asked(65, 0)) == again);
    CHECK(Run(call.get(), here) == again);
  }
  SECTION("no tokens") {
    CHECK(Run(call.get(), Asked(0, 0)) == "LinearGpu on 9");
    CHECK(Run(call.get(), here) == "graph on 9");
  }
  SECTION("a stream that is captured") {
    notes.capturing = true;
    CHECK(Run(call.get(), here) == "LinearGpu on 9");
    notes.capturing = false;
    CHECK(Run(call.get(), here) == "graph on 9");
  }
}

TEST_CASE("a graph with cuBLASLt in it is launched or left") {
  const Asked here(2000, 0), there(2000, 8);
  const std::unique_ptr<GpuCall> call = Prepared(here);
  CHECK(Run(call.get(), here) == "graph on 9");
  CHECK(Run(call.get(), there) == "LinearGpu on 9");
  CHECK(Run(call.get(), here) == "graph on 9");
}

TEST_CASE("pointers that were captured too are one launch, whatever the kernels are") {
  // cuBLASLt in it; one kernel; two, of which the first graph could be changed.
  for (const int64_t tokens : {2000, 8, 64}) {
    INFO(tokens << " tokens");
    const Asked here(tokens, 0), there(tokens, 8), elsewhere(tokens, 16), more(tokens, 24, 2);
    {
      const std::unique_ptr<GpuCall> call = Prepared(here);
      REQUIRE(call->Add(there.group, kWorkspace, 512));
      REQUIRE(call->Add(more.group, kWorkspace, 512));
      CHECK(notes.Take().find("graph") == std::string::npos);  // captured, not run
      for (int i = 0; i < 2; ++i) {
        CHECK(Run(call.get(), there) == "graph 7 on 9");
        CHECK(Run(call.get(), here) == "graph on 9");
        CHECK(Run(call.get(), more) == "graph 8 on 9");
      }
      if (tokens == 64) {
        CHECK(Run(call.get(), elsewhere) == "change of 1 to 1016, change of 2 to 2016, graph on 9");
        CHECK(Run(call.get(), here) == "change of 1 to 1000, change of 2 to 2000, graph on 9");
      } else {
        CHECK(Run(call.get(), elsewhere) == "LinearGpu on 9");
      }
      CHECK(Run(call.get(), there) == "graph 7 on 9");
    }
    CHECK(notes.open == 0);
  }
}

TEST_CASE("what cannot be captured too is refused, and what was stays") {
  const Asked here(8, 0), none(0, 0);
  const std::unique_ptr<GpuCall> call = Prepared(here);
  CHECK(call->Add(Asked(8, 8).group, nullptr, 0).code == LinearCode::kWorkspace);
  Asked wrong(8, 8);
  wrong.of[0].rows = -1;
  CHECK(call->Add(wrong.group, kWorkspace, 512).code == LinearCode::kBadSize);
  notes.upload_fails = true;
  CHECK(call->Add(Asked(8, 8).group, kWorkspace, 512).code == LinearCode::kDevice);
  notes.upload_fails = false;
  CHECK(call->Add(none.group, kWorkspace, 512));  // nothing to launch
  notes.Take();
  CHECK(Run(call.get(), Asked(8, 8)) == "LinearGpu on 9");
  CHECK(Run(call.get(), here) == "graph on 9");
}

TEST_CASE("a call that cannot be prepared says why and keeps nothing") {
  std::unique_ptr<GpuCall> call;
  CHECK(GpuCall::Create(Asked(64, 0).group, nullptr, 0, &call).code == LinearCode::kWorkspace);
  CHECK(call == nullptr);
  Asked wrong(64, 0);
  wrong.of[0].rows = -1;
  CHECK(GpuCall::Create(wrong.group, kWorkspace, 512, &call).code == LinearCode::kBadSize);
  notes.upload_fails = true;
  const LinearStatus failed = GpuCall::Create(Asked(64, 0).group, kWorkspace, 512, &call);
  notes.upload_fails = false;
  CHECK(failed.code == LinearCode::kDevice);
  CHECK(std::string(failed.message) == "CUDA says no");
  CHECK(call == nullptr);
  CHECK(notes.open == 0);
}

TEST_CASE("kernels are loaded by a capture that reaches the device and is never launched") {
  notes.Take();
  notes.uploads = 0;
  REQUIRE(LoadKernels(Asked(64, 0, 2).group, GpuChoice(), kWorkspace, 512));
  CHECK(notes.Take() == "kernel 1 on 77, kernel 2 on 77, kernel 2 on 77");
  CHECK(notes.uploads == 1);
  CHECK(notes.open == 0);
  REQUIRE(LoadKernels(Asked(2000, 0).group, GpuChoice(), kWorkspace, 512));
  CHECK(notes.Take() == "kernel 1 on 77, cuBLASLt");  // its kernels too
  CHECK(LoadKernels(Asked(64, 0).group, GpuChoice(), nullptr, 0).code == LinearCode::kWorkspace);
  notes.upload_fails = true;
  CHECK(LoadKernels(Asked(64, 0).group, GpuChoice(), kWorkspace, 512).code == LinearCode::kDevice);
  notes.upload_fails = false;
  CHECK(notes.open == 0);
}
