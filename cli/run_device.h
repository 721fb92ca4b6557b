// SPDX-License-Identifier: Apache-2.0
// Modules on the GPU for `ferrule run --device cuda`: as many at a time as its memory holds. Only
// with CUDA.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/progress_line.h"
#include "kernels/device_model.h"

namespace ferrule::cli {

// For DeviceLoadOptions: "loading [####      ] 1.2 of 3.4 GB" on `line`, which must outlive it.
std::function<void(uint64_t, uint64_t)> LoadBar(ProgressLine* line);

class DeviceRunner {
 public:
  // `order`: what will be asked for, in this order. `line` shows how far loading is.
  DeviceRunner(const Plan& plan, std::vector<LoadRequest> order, ProgressLine* line)
      : plan_(plan), order_(std::move(order)), line_(line) {
    options_.progress = LoadBar(line);
  }

  // The next of the order; null with findings where it cannot be loaded. Valid until the next call.
  const DeviceModule* Next(Diagnostics* out);

  // "loaded 3.2 GB in 0.14 s, 25.1 GB/s (page cache 40.2, PCIe 55.0)", or why the limits were not
  // measured: that is no error.
  std::string Summary() const;

 private:
  const Plan& plan_;
  const std::vector<LoadRequest> order_;
  ProgressLine* const line_;
  DeviceLoadOptions options_;
  size_t next_ = 0, first_ = 0, end_ = 0;  // of order_; first_ … end_ - 1 are on the GPU
  std::unique_ptr<DeviceModel> model_;
  uint64_t bytes_ = 0;
  double seconds_ = 0;
  LoadSpeed limits_;        // of the first batch
  std::string unmeasured_;  // why there are none
};

}  // namespace ferrule::cli
