// SPDX-License-Identifier: Apache-2.0
// A launch that may begin before the kernels before it are over (programmatic dependent launch):
// the kernel says itself, by WaitForEarlier, when it needs what they wrote.
#pragma once

#include <cuda_runtime.h>

namespace ferrule {

template <typename... Parameters, typename... Arguments>
cudaError_t LaunchPdl(void (*kernel)(Parameters...), dim3 grid, int threads, cudaStream_t stream,
                      const Arguments&... arguments) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace ferrule
