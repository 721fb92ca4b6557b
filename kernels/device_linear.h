// SPDX-License-Identifier: Apache-2.0
// A loaded module → the same module in the memory of the current GPU.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/load.h"

namespace ferrule {

// y = x · Wᵀ with x [tokens, in] BF16 and y [tokens, rows] float32 in host memory, segments
// (without y, in the order of the output) in the device's. Calls PrepareGpu, allocates and waits; a
// server that minds calls LinearGpu itself. `prepared`: what PrepareGpu answered; where it failed,
// y is that of slower kernels.
LinearStatus RunFromHost(const std::vector<LinearSegment>& segments, int64_t rows, int64_t in,
                         const void* x, int64_t tokens, int64_t x_stride, float* y,
                         int64_t y_stride, LinearStatus* prepared = nullptr);

class DeviceLinear {
 public:
  // Copies weights (rows 16 bytes apart, as fast kernels want), scales and biases. Waits.
  static LinearStatus Create(const LoadedLinear& linear, std::unique_ptr<DeviceLinear>* device);
  ~DeviceLinear();
  DeviceLinear(const DeviceLinear&) = delete;
  DeviceLinear& operator=(const DeviceLinear&) = delete;

  // Pointers in device memory, in the order of the output, without y.
  const std::vector<LinearSegment>& segments() const { return segments_; }
  int64_t rows() const { return rows_; }
  int64_t in() const { return in_; }

  // LoadedLinear::Run on the GPU.
  LinearStatus Run(const void* x, int64_t tokens, int64_t x_stride, float* y,
                   int64_t y_stride) const {
    return RunFromHost(segments_, rows_, in_, x, tokens, x_stride, y, y_stride);
  }

 private:
  DeviceLinear() = default;
  std::vector<LinearSegment> segments_;
  std::vector<void*> memory_;
  int64_t rows_ = 0, in_ = 0;
};

}  // namespace ferrule
