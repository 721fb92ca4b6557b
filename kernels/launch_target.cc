// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch_target.h"

namespace ferrule {
namespace {

unsigned Together(const cudaLaunchConfig_t& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i)
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension)
      return config.attrs[i].val.clusterDim.x;
  return 1;
}

}  // namespace

cudaError_t LaunchNodes::Record(const cudaLaunchConfig_t& config, const void* kernel,
                                cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaGraphNode_t* last = nullptr;  // what the stream's next launch comes after
  size_t count = 0;
#if CUDART_VERSION >= 13000
  const cudaError_t error =
      cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &last, nullptr, &count);
#else
  const cudaGraphEdgeData* edges = nullptr;
  const cudaError_t error =
      cudaStreamGetCaptureInfo_v3(stream, &status, nullptr, nullptr, &last, &edges, &count);
#endif
  if (error != cudaSuccess) return error;
  if (status != cudaStreamCaptureStatusActive || count != 1)
    return cudaErrorStreamCaptureInvalidated;
  nodes_.push_back({*last, kernel, Together(config)});
  return cudaSuccess;
}

cudaError_t LaunchNodes::Set(const cudaLaunchConfig_t& config, const void* kernel,
                             void** parameters) {
  if (next_ == nodes_.size() || nodes_[next_].kernel != kernel ||
      nodes_[next_].together != Together(config))
    return cudaErrorGraphExecUpdateFailure;
  cudaKernelNodeParams node = {};
  node.func = const_cast<void*>(kernel);
  node.gridDim = config.gridDim;
  node.blockDim = config.blockDim;
  node.sharedMemBytes = static_cast<unsigned>(config.dynamicSmemBytes);
  node.kernelParams = parameters;
  return cudaGraphExecKernelNodeSetParams(graph_, nodes_[next_++].node, &node);
}

}  // namespace ferrule
