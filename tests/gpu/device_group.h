// SPDX-License-Identifier: Apache-2.0
// A group in host memory → the same group on the GPU, with its own strides, NaN in every gap, and
// guard bytes around every output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gpu_linear.h"

namespace ferrule::test {

class DeviceGroup {
 public:
  struct Layout {
    bool aligned = true;  // rows 16 bytes apart, as fast kernels want; else as the host's
    LinearOutput y_type = LinearOutput::kF32;
    int64_t y_gap = 8;  // elements between the rows of y, beyond the next multiple of 8; < 0: none
  };
  DeviceGroup(const LinearGroup& host, const Layout& layout);
  ~DeviceGroup();
  DeviceGroup(const DeviceGroup&) = delete;
  DeviceGroup& operator=(const DeviceGroup&) = delete;

  LinearGroup& group() { return group_; }
  size_t size() const { return segments_.size(); }
  LinearSegment& segment(size_t i) { return segments_[i]; }
  const LinearSegment& segment(size_t i) const { return segments_[i]; }
  void* workspace() { return workspace_; }
  size_t workspace_size() const { return workspace_size_; }
  void SetX(const LinearGroup& host);  // new values of the same sizes
  void Poison();                       // outputs, guards, workspace
  // RunGpu on the null stream, waits; empty or what went wrong.
  std::string Run(const GpuChoice& choice = {});
  std::vector<float> Y(size_t segment) const;
  std::vector<uint8_t> Raw(size_t segment) const;  // with its guards
  std::string Damage() const;                      // empty, or where a guard or a gap was written
  int64_t Nonfinite() const;

 private:
  void* Allocate(size_t bytes);
  const void* Upload(const void* host, int64_t rows, int64_t row_bytes, int64_t host_stride,
                     int64_t stride);

  LinearGroup group_;
  std::vector<LinearSegment> segments_;
  std::vector<void*> memory_;
  std::vector<std::vector<uint8_t>> poison_;
  void* workspace_ = nullptr;
  size_t workspace_size_ = 0;
  void* x_ = nullptr;
};

}  // namespace ferrule::test
