// SPDX-License-Identifier: Apache-2.0
// GpuCall: the launches of a call, captured once as a graph that is launched at once; other
// pointers go into the graph's kernels, or have a graph of their own.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda_error.h"
#include "kernels/gpu_linear.h"
#include "kernels/launch_target.h"
#include "kernels/linear_gpu.h"

namespace ferrule {
namespace {

// More kernels than so many: to change one and launch the graph costs the host what launching the
// kernel does, 3.0 to 3.4 us against 3.1 to 3.6 (an H200's machine); two 3.2 to 4.3 against 6.2
// to 6.7.
constexpr size_t kWorthAChange = 1;

// A call of RunGpu as a graph.
struct Captured {
  LaunchNodes nodes;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  // What the graph's kernels have as arguments.
  LinearGroup group;
  std::vector<LinearSegment> segments;
  void* workspace = nullptr;
  size_t workspace_size = 0;
  bool known = false;  // false: a change was broken off

  ~Captured() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }

  LinearStatus Capture(const LinearGroup& first, const GpuChoice& choice, void* memory,
                       size_t size) {
    cudaStream_t stream = nullptr;
    cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) return CudaStatus(error);
    error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    LinearStatus status = CudaStatus(error);
    if (error == cudaSuccess) {
      status = SubmitGpu(first, choice, memory, size, LaunchTarget(stream, &nodes));
      error = cudaStreamEndCapture(stream, &graph);
    }
    if (error == cudaSuccess) error = cudaGraphInstantiate(&exec, graph, 0);
    if (error == cudaSuccess) error = cudaGraphUpload(exec, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
    if (!status) {
      static_cast<void>(cudaGetLastError());
      return status;
    }
    if (error != cudaSuccess) return CudaStatus(error);
    nodes.Change(exec);
    segments.resize(static_cast<size_t>(first.segment_count));
    Remember(first, memory, size);
    return {};
  }

  // Of as many segments as the first.
  void Remember(const LinearGroup& other, void* memory, size_t size) {
    group = other;
    std::copy_n(other.segments, segments.size(), segments.begin());
    workspace = memory;
    workspace_size = size;
    known = true;
  }

  bool Holds(const LinearGroup& other, const void* memory, size_t size) const {
    return known && other.segment_count == static_cast<int32_t>(segments.size()) &&
           memory == workspace && size >= workspace_size && other.x == group.x &&
           other.tokens == group.tokens && other.in == group.in &&
           other.x_stride == group.x_stride && other.nonfinite_tokens == group.nonfinite_tokens &&
           other.batch_invariant == group.batch_invariant &&
           std::equal(segments.begin(), segments.end(), other.segments);
  }

  bool CanChange() const { return !nodes.fixed() && nodes.size() > kWorthAChange; }

  // Whether the graph's kernels have these arguments now.
  bool Change(const LinearGroup& other, void* memory, size_t size) {
    if (!CanChange() || other.segment_count != static_cast<int32_t>(segments.size())) return false;
    known = false;
    nodes.Rewind();
    if (!SubmitGpu(other, GpuChoice(), memory, size, LaunchTarget(nullptr, &nodes)) ||
        !nodes.complete())
      return false;
    Remember(other, memory, size);
    return true;
  }
};

}  // namespace

struct GpuCall::Graph : Captured {};

LinearStatus LoadKernels(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                         size_t workspace_size) {
  return Captured().Capture(group, choice, workspace, workspace_size);
}

GpuCall::GpuCall() = default;
GpuCall::~GpuCall() = default;

LinearStatus GpuCall::Create(const LinearGroup& group, void* workspace, size_t workspace_size,
                             std::unique_ptr<GpuCall>* call) {
  call->reset();
  std::unique_ptr<GpuCall> made(new GpuCall);
  const LinearStatus status = made->Add(group, workspace, workspace_size);
  if (status) *call = std::move(made);
  return status;
}

LinearStatus GpuCall::Add(const LinearGroup& group, void* workspace, size_t workspace_size) {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  if (const char* reason = GpuRefuses()) return {LinearCode::kUnsupported, -1, reason};
  if (group.tokens == 0) return {};
  auto graph = std::make_unique<Graph>();
  const LinearStatus captured = graph->Capture(group, GpuChoice(), workspace, workspace_size);
  const bool launches = graph->nodes.size() > 0 || graph->nodes.fixed();  // else it has no rows
  if (captured && launches) graphs_.push_back(std::move(graph));
  return captured;
}

LinearStatus GpuCall::Run(const LinearGroup& group, void* workspace, size_t workspace_size,
                          void* stream) {
  const auto onto = static_cast<cudaStream_t>(stream);
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  if (graphs_.empty() || group.tokens == 0 || group.segments == nullptr ||
      cudaStreamIsCapturing(onto, &capturing) != cudaSuccess ||
      capturing != cudaStreamCaptureStatusNone)
    return LinearGpu(group, workspace, workspace_size, stream);
  Graph* to_launch = nullptr;
  for (const std::unique_ptr<Graph>& graph : graphs_)
    if (to_launch == nullptr && graph->Holds(group, workspace, workspace_size))
      to_launch = graph.get();
  if (to_launch == nullptr && graphs_.front()->Change(group, workspace, workspace_size))
    to_launch = graphs_.front().get();
  if (to_launch == nullptr) return LinearGpu(group, workspace, workspace_size, stream);
  return CudaStatus(cudaGraphLaunch(to_launch->exec, onto));
}

}  // namespace ferrule
