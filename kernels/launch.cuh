// SPDX-License-Identifier: Apache-2.0
// Launches that may begin before the kernels before them are over (programmatic dependent launch):
// a kernel says itself, by WaitForEarlier, when it needs what they wrote.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <type_traits>

#include "kernels/launch_target.h"

namespace ferrule {

// Programmatic launch came with compute capability 9.0.
inline bool HasPdl() {
  static std::atomic<int> known[64];  // 1: yes, 2: no; writing it twice does no harm
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= 64) return false;
  if (known[device] == 0) {
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess)
      return false;
    known[device] = major >= 9 ? 1 : 2;
  }
  return known[device] == 1;
}

// The attribute that allows it.
inline cudaLaunchAttribute EarlyStart() {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return attribute;
}

template <typename... Parameters>
cudaError_t LaunchPdl(void (*kernel)(Parameters...), dim3 grid, int threads, const LaunchTarget& to,
                      std::type_identity_t<Parameters>... arguments) {
  cudaLaunchAttribute attribute = EarlyStart();
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.attrs = &attribute;
  config.numAttrs = HasPdl() ? 1 : 0;
  void* parameters[] = {&arguments...};
  return Submit(to, &config, reinterpret_cast<const void*>(kernel), parameters);
}

// Attributes of a kernel belong to a device: where they are set already.
struct DeviceFlags {
  bool set[64] = {};
};

// All of the shared memory, and clusters of up to 16. Setting it twice does no harm.
template <typename Parameters>
cudaError_t AllowAllShared(void (*kernel)(Parameters), DeviceFlags* ready, bool large_clusters) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess || (device < 64 && ready->set[device])) return error;
  const auto set = [&](cudaFuncAttribute attribute, int value) {
    if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, attribute, value);
  };
  set(cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024);
  if (large_clusters) set(cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  // Else the next launch may have to wait for another split of shared memory and cache.
  set(cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  if (error == cudaSuccess && device < 64) ready->set[device] = true;
  return error;
}

// In clusters of `together` CTAs, with so many bytes of shared memory.
template <typename Parameters>
cudaError_t LaunchCluster(void (*kernel)(Parameters), dim3 grid, int threads, unsigned together,
                          size_t shared, const LaunchTarget& to, const Parameters& parameters) {
  cudaLaunchAttribute attributes[2] = {EarlyStart(), {}};
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {together, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.attrs = attributes;
  config.numAttrs = 2;
  void* pointer = const_cast<Parameters*>(&parameters);  // it is only read
  return Submit(to, &config, reinterpret_cast<const void*>(kernel), &pointer);
}

}  // namespace ferrule
