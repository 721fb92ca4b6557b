// SPDX-License-Identifier: Apache-2.0
// Where launches go: onto a stream, or into the kernels of a graph that was captured before.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace ferrule {

class LaunchNodes;

struct LaunchTarget {
  LaunchTarget(cudaStream_t to_stream) : stream(to_stream) {}  // NOLINT: a stream is a target
  // While it is recorded the stream, which is being captured, gets the launches too; then none.
  LaunchTarget(cudaStream_t to_stream, LaunchNodes* to_nodes)
      : stream(to_stream), nodes(to_nodes) {}
  cudaStream_t stream = nullptr;
  LaunchNodes* nodes = nullptr;
};

// The kernels of a graph in the order of their launches. Recorded once; then the same launches with
// other arguments, in the same order, change the graph. Not for two threads at once.
class LaunchNodes {
 public:
  // The launch that `stream`, which is being captured, has taken last.
  cudaError_t Record(const cudaLaunchConfig_t& config, const void* kernel, cudaStream_t stream);

  // The stream has taken something that cannot be changed later.
  void Fix() { fixed_ = true; }
  bool fixed() const { return fixed_; }

  // The end of recording: `graph` is what was captured.
  void Change(cudaGraphExec_t graph) { graph_ = graph; }
  bool recording() const { return graph_ == nullptr; }

  // Of the first launch next.
  void Rewind() { next_ = 0; }
  // cudaErrorGraphExecUpdateFailure: it is no launch of the next kernel, and nothing was changed.
  cudaError_t Set(const cudaLaunchConfig_t& config, const void* kernel, void** parameters);
  bool complete() const { return next_ == nodes_.size(); }
  size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    cudaGraphNode_t node;
    const void* kernel;
    unsigned together;  // CTAs of a cluster: a graph's kernel keeps to that
  };
  std::vector<Node> nodes_;
  size_t next_ = 0;
  bool fixed_ = false;
  cudaGraphExec_t graph_ = nullptr;
};

// A launch, `config` without its stream; `parameters` as cudaLaunchKernelExC wants them.
inline cudaError_t Submit(const LaunchTarget& to, cudaLaunchConfig_t* config, const void* kernel,
                          void** parameters) {
  if (to.nodes != nullptr && !to.nodes->recording())
    return to.nodes->Set(*config, kernel, parameters);
  config->stream = to.stream;
  const cudaError_t error = cudaLaunchKernelExC(config, kernel, parameters);
  if (error != cudaSuccess || to.nodes == nullptr) return error;
  return to.nodes->Record(*config, kernel, to.stream);
}

}  // namespace ferrule
