// SPDX-License-Identifier: Apache-2.0
// A group in host memory → the same group on the GPU, with its own strides, NaN in every gap, guard
// bytes around all that is written, and a copy of all that is read.
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
  const LinearGroup& group() const { return group_; }
  size_t size() const { return segments_.size(); }
  LinearSegment& segment(size_t i) { return segments_[i]; }
  const LinearSegment& segment(size_t i) const { return segments_[i]; }
  void* workspace() { return workspace_; }
  size_t workspace_size() const { return workspace_size_; }
  void SetX(const LinearGroup& host);  // new values of the same sizes
  // PrepareGpu, and a workspace for what is run by this choice then. Empty or what went wrong.
  std::string Prepare(const GpuChoice& choice);
  void Poison();  // outputs, nonfinite_tokens, workspace, and the guards around them
  // RunGpu on the null stream, waits; empty or what went wrong.
  std::string Run(const GpuChoice& choice = {});
  std::vector<float> Y(size_t segment) const;
  std::vector<uint8_t> Raw(size_t segment) const;  // with its guards
  // Empty, or the first place that was written and should not have been: a gap or a guard of an
  // output, a guard of nonfinite_tokens or the workspace, x, a weight, a scale or a bias.
  std::string Damage() const;
  int64_t Nonfinite() const;

 private:
  // What kernels read, and what it holds.
  struct Input {
    const char* name;
    const void* memory;
    std::vector<uint8_t> bytes;
  };
  // What they write beside outputs.
  struct Guarded {
    const char* name;
    uint8_t* memory;
    size_t size;  // without the guards before and after
  };

  void* Allocate(size_t bytes);
  void* AllocateGuarded(const char* name, size_t bytes);
  void AllocateWorkspace(size_t bytes);
  const void* Upload(const char* name, const void* host, int64_t rows, int64_t row_bytes,
                     int64_t host_stride, int64_t stride);

  LinearGroup group_;
  std::vector<LinearSegment> segments_;
  std::vector<void*> memory_;
  std::vector<std::vector<uint8_t>> poison_;
  std::vector<Input> inputs_;  // the first is x
  std::vector<Guarded> guarded_;
  void* workspace_ = nullptr;
  size_t workspace_size_ = 0;
  void* x_ = nullptr;
};

}  // namespace ferrule::test
