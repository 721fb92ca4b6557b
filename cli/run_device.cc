// SPDX-License-Identifier: Apache-2.0
#include "cli/run_device.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule::cli {
namespace {

constexpr uint64_t kMeasured = uint64_t{1} << 30;  // bytes that are read again for the limits

}  // namespace

std::function<void(uint64_t, uint64_t)> LoadBar(ProgressLine* line) {
  return [line](uint64_t done, uint64_t all) {
    constexpr int kWidth = 30;
    const double part = all == 0 ? 1 : static_cast<double>(done) / static_cast<double>(all);
    const std::string full(static_cast<size_t>(part * kWidth), '#');
    line->Show(fmt::format("loading [{:<{}}] {:.1f} of {:.1f} GB", full, kWidth,
                           static_cast<double>(done) * 1e-9, static_cast<double>(all) * 1e-9));
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
    line_->Begin();
    model_ = DeviceModel::Load(plan_, batch, options_, out);
    line_->End();
    if (!model_) return nullptr;
    bytes_ += model_->speed().bytes;
    seconds_ += model_->speed().seconds;
    if (first_ == 0) {
      Diagnostics own;
      if (model_->MeasureLimits(plan_, batch, options_, kMeasured, &own))
        limits_ = model_->speed();
      else
        unmeasured_ = own.findings().empty() ? "no reason" : own.findings()[0].message;
    }
  }
  return &model_->modules()[next_++ - first_];
}

std::string DeviceRunner::Summary() const {
  const std::string limits = unmeasured_.empty()
                                 ? fmt::format("page cache {:.1f}, PCIe {:.1f}",
                                               limits_.page_cache * 1e-9, limits_.pcie * 1e-9)
                                 : fmt::format("limits not measured: {}", unmeasured_);
  const double bytes = static_cast<double>(bytes_);
  return fmt::format("loaded {:.2f} GB in {:.2f} s, {:.1f} GB/s ({})", bytes * 1e-9, seconds_,
                     bytes * 1e-9 / std::max(seconds_, 1e-9), limits);
}

}  // namespace ferrule::cli
