// SPDX-License-Identifier: Apache-2.0
// Put before CUDA's functions and LinearGpu when the command line is linked (`--wrap`): a GPU whose
// memory is the host's and whose linears are LinearCpu's, so that `run --device cuda` runs where
// there is none. Its cuBLASLt fails from 64 tokens on. The environment makes it small, slow or
// talkative: HOST_GPU_MB, its memory; HOST_GPU_COPY_MS, what a copy takes; HOST_GPU_REPORT, a file
// that gets the most pinned memory there was, in bytes.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/linear.h"

namespace {

using ferrule::LinearCode;
using ferrule::LinearGroup;
using ferrule::LinearStatus;

int64_t prepared_tokens = 0;  // of the last group that PrepareGpu was asked for
const void* prepared_y = nullptr;

size_t FromEnvironment(const char* name, size_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoul(text);
}

// Memory of one kind, and how much of it there is at once.
class Memory {
 public:
  explicit Memory(size_t most) : most_(most) {}

  cudaError_t Allocate(void** memory, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    *memory = nullptr;
    if (bytes > most_ - used_) return cudaErrorMemoryAllocation;
    *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    sizes_[*memory] = bytes;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return cudaSuccess;
  }

  void Free(void* memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (memory == nullptr) return;
    used_ -= sizes_.at(memory);
    sizes_.erase(memory);
    std::free(memory);
  }

  size_t left() const { return most_ - used_; }
  size_t peak() const { return peak_; }

 private:
  const size_t most_;
  size_t used_ = 0, peak_ = 0;
  std::map<void*, size_t> sizes_;
  std::mutex mutex_;
};

Memory on_device(FromEnvironment("HOST_GPU_MB", 1 << 10) << 20), pinned(SIZE_MAX);

const struct Report {
  ~Report() {
    const char* const path = std::getenv("HOST_GPU_REPORT");
    if (path != nullptr) std::ofstream(path) << pinned.peak() << '\n';
  }
} report;

void TakeTime() {
  static const size_t milliseconds = FromEnvironment("HOST_GPU_COPY_MS", 0);
  if (milliseconds > 0) std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

void Copy2D(void* to, size_t pitch, const void* from, size_t stride, size_t width, size_t rows) {
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(static_cast<char*>(to) + r * pitch, static_cast<const char*>(from) + r * stride,
                width);
}

}  // namespace

extern "C" {

cudaError_t __wrap_cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t __wrap_cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "this host");
  return cudaSuccess;
}
cudaError_t __wrap_cudaDriverGetVersion(int* version) {
  *version = 12340;
  return cudaSuccess;
}
cudaError_t __wrap_cudaSetDevice(int) { return cudaSuccess; }
cudaError_t __wrap_cudaMemGetInfo(size_t* free_bytes, size_t* all) {
  *free_bytes = *all = on_device.left();
  return cudaSuccess;
}

cudaError_t __wrap_cudaMalloc(void** memory, size_t bytes) {
  return on_device.Allocate(memory, bytes);
}
cudaError_t __wrap_cudaFree(void* memory) {
  on_device.Free(memory);
  return cudaSuccess;
}
cudaError_t __wrap_cudaMallocHost(void** memory, size_t bytes) {
  return pinned.Allocate(memory, bytes);
}
cudaError_t __wrap_cudaFreeHost(void* memory) {
  pinned.Free(memory);
  return cudaSuccess;
}

// Streams and events: everything has happened when it is asked for.
cudaError_t __wrap_cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = nullptr;
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }

cudaError_t __wrap_cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t __wrap_cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  TakeTime();
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t __wrap_cudaMemcpy2D(void* to, size_t pitch, const void* from, size_t stride,
                                size_t width, size_t rows, cudaMemcpyKind) {
  Copy2D(to, pitch, from, stride, width, rows);
  return cudaSuccess;
}
cudaError_t __wrap_cudaMemcpy2DAsync(void* to, size_t pitch, const void* from, size_t stride,
                                     size_t width, size_t rows, cudaMemcpyKind, cudaStream_t) {
  TakeTime();
  Copy2D(to, pitch, from, stride, width, rows);
  return cudaSuccess;
}
cudaError_t __wrap_cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

}  // extern "C"

// ferrule's own under the names that --wrap gives them.
const char* NothingRefused() __asm__("__wrap__ZN7ferrule10GpuRefusesEv");
const char* NothingRefused() { return nullptr; }

cudaError_t NoNan(const uint8_t*, int64_t, int64_t, int64_t,
                  uint32_t*) __asm__("__wrap__ZN7ferrule14LaunchCountNanEPKhlllPj");
cudaError_t NoNan(const uint8_t*, int64_t, int64_t, int64_t, uint32_t*) { return cudaSuccess; }

LinearStatus Prepare(const LinearGroup&) __asm__(
    "__wrap__ZN7ferrule10PrepareGpuERKNS_11LinearGroupE");
LinearStatus Prepare(const LinearGroup& group) {
  prepared_tokens = group.tokens;
  prepared_y = group.segments[0].y;
  if (group.tokens < 64) return {};
  return {LinearCode::kDevice, -1, "cuBLASLt does not start"};
}

LinearStatus RunOnHost(const LinearGroup&, void*, size_t,
                       void*) __asm__("__wrap__ZN7ferrule9LinearGpuERKNS_11LinearGroupEPvmS3_");
LinearStatus RunOnHost(const LinearGroup& group, void*, size_t, void*) {
  if (group.tokens != prepared_tokens || group.segments[0].y != prepared_y)
    return {LinearCode::kUnsupported, -1, "PrepareGpu was not called before"};
  const size_t size = ferrule::WorkspaceSize(group);
  std::vector<uint8_t> raw(size + ferrule::kWorkspaceAlignment);
  void* workspace = raw.data();
  size_t space = raw.size();
  std::align(ferrule::kWorkspaceAlignment, size, workspace, space);
  return ferrule::LinearCpu(group, workspace, space);
}
