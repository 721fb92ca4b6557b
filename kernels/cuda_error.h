// SPDX-License-Identifier: Apache-2.0
// Where cudaError_t ends: CUDA's result → LinearStatus. Included by GPU code only.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/linear.h"

namespace ferrule {

// kOk for cudaSuccess. The text is CUDA's own, static. The error is taken out of CUDA's memory (it
// would otherwise surface in the caller's next, innocent, call), unless the context is lost.
inline LinearStatus CudaStatus(cudaError_t error) {
  if (error == cudaSuccess) return {};
  static_cast<void>(cudaGetLastError());
  return {LinearCode::kDevice, -1, cudaGetErrorString(error)};
}

}  // namespace ferrule
