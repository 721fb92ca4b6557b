// SPDX-License-Identifier: Apache-2.0
// Modules of a plan → the memory of the current GPU, read by several threads at once.
//
//   std::vector<LoadRequest> wanted = {{module, rank}, …};
//   Diagnostics findings;
//   std::unique_ptr<DeviceModel> model = DeviceModel::Load(plan, wanted, {}, &findings);
//   if (!model) …                                       // findings say why
//   model->modules()[0].segments                        // set y, then kernels/linear_gpu.h
//
// Each reader has two pinned buffers: it reads into one (pread) while the other is copied to the
// GPU. Only the rank's rows and columns are read. Host memory: readers × 2 × buffer, 134 MB as
// given; with more readers buffers shrink so that it stays below 240 MB (256 MB with all else).
// Device memory: the weights and at most 272 bytes a tensor beside.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/load_gpu.h"
#include "kernels/load_jobs.h"

namespace ferrule {

// Bytes a second of a part of the work, of the same jobs, readers and buffers.
struct LoadSpeed {
  double both = 0, page_cache = 0, pcie = 0;
  uint64_t bytes = 0;  // that were loaded, in `seconds`
  double seconds = 0;
  uint64_t pinned = 0;  // bytes of host memory
};

class DeviceModel {
 public:
  // Null with findings: files that cannot be read, scales (FR507) and weights (FR508) that cannot
  // be, a GPU without the memory.
  static std::unique_ptr<DeviceModel> Load(const Plan& plan, std::span<const LoadRequest> requests,
                                           const DeviceLoadOptions& options, Diagnostics* out);
  ~DeviceModel();
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  const std::vector<DeviceModule>& modules() const { return modules_; }  // as requested
  const LoadSpeed& speed() const { return speed_; }
  // The limits: reads jobs of up to `most` bytes again without copying, and copies without reading,
  // to a buffer on the GPU for each reader. False with a finding; the weights are as they were.
  bool MeasureLimits(const Plan& plan, std::span<const LoadRequest> requests,
                     const DeviceLoadOptions& options, uint64_t most, Diagnostics* out);

  // Bytes that are free on the current GPU; 0 where there is none.
  static uint64_t FreeMemory();

 private:
  DeviceModel() = default;
  void* memory_ = nullptr;
  std::vector<DeviceModule> modules_;
  LoadSpeed speed_;
};

}  // namespace ferrule
