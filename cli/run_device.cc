// SPDX-License-Identifier: Apache-2.0
#include "cli/run_device.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule::cli {
namespace {

constexpr uint64_t kMeasured = uint64_t{1} << 30;  // bytes that are read again for the limits

}  // namespace

std::function<void(uint64_t, uint64_t)> LoadBar(bool show) {
  if (!show) return nullptr;
  return [](uint64_t done, uint64_t all) {
    constexpr int kWidth = 30;
    const double part = all == 0 ? 1 : static_cast<double>(done) / static_cast<double>(all);
    const int full = static_cast<int>(part * kWidth);
    fmt::print(stderr, "\rloading [{:<{}}] {:.1f} of {:.1f} GB{}", std::string(full, '#'), kWidth,
               static_cast<double>(done) * 1e-9, static_cast<double>(all) * 1e-9,
               done == all ? "\n" : "");
  };
}

const DeviceModule* DeviceRunner::Next(Diagnostics* out) {
  if (next_ >= end_) {
    model_.reset();
    // As many as fit, one at least; four fifths of the memory, so that x, y and workspaces do too.
    const uint64_t most = DeviceModel::FreeMemory() / 5 * 4;
    first_ = end_;
    uint64_t bytes = 0;
    while (end_ < order_.size()) {
      const auto list = ListJobs(plan_, {&order_[end_], 1}, options_.buffer, out);
      if (!list) return nullptr;
      if (end_ > first_ && bytes + list->memory > most) break;
      bytes += list->memory;
      ++end_;
    }
    const std::span<const LoadRequest> batch(&order_[first_], end_ - first_);
    model_ = DeviceModel::Load(plan_, batch, options_, out);
    if (!model_) return nullptr;
    bytes_ += model_->speed().bytes;
    seconds_ += model_->speed().seconds;
    if (first_ == 0) {
      if (!model_->MeasureLimits(plan_, batch, options_, kMeasured, out)) return nullptr;
      limits_ = model_->speed();
    }
  }
  return &model_->modules()[next_++ - first_];
}

std::string DeviceRunner::Summary() const {
  return fmt::format("loaded {:.2f} GB in {:.2f} s, {:.1f} GB/s (page cache {:.1f}, PCIe {:.1f})",
                     static_cast<double>(bytes_) * 1e-9, seconds_,
                     static_cast<double>(bytes_) * 1e-9 / std::max(seconds_, 1e-9),
                     limits_.page_cache * 1e-9, limits_.pcie * 1e-9);
}

}  // namespace ferrule::cli
