// SPDX-License-Identifier: Apache-2.0
// Times a linear group on the GPU the way a decoding server meets it: calls of a CUDA graph, one
// after the other, each with other weights, so that nothing of them is in the cache; x is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/gpu_steps.h"

namespace ferrule {

struct BenchSegment {
  int64_t rows = 0;
  LinearScheme scheme = LinearScheme::kFp8Block;  // blocks of 128 × 128
  bool bf16() const { return scheme == LinearScheme::kBf16; }
};
struct BenchShape {
  std::string name;
  int64_t in = 0;
  std::vector<BenchSegment> segments;
};

struct BenchResult {
  std::string failure;      // empty: it ran
  double microseconds = 0;  // of one call, median of the replays
  double spread = 0;        // slowest replay / fastest - 1
  double error = 0;         // relative, float32 outputs against the plain kernel's
  bool same_bits = false;   // of two runs
  int copies = 0;           // of the weights
  bool gave_up = false;     // `microseconds` is that of one replay
  double floor_us = 0;      // bytes / `bandwidth` or flops / `rate`, whichever is more
};

class GpuBench {
 public:
  struct Device {
    std::string name, driver;
    double bandwidth = 0;  // bytes a second that reading reaches, measured
    double fp8_rate = 1476e12;
  };
  // Takes device memory for weights, once. Null with a reason.
  static std::unique_ptr<GpuBench> Create(std::string* failure);
  ~GpuBench();
  const Device& device() const { return device_; }
  // `choice.x_is_quantized`: the products alone, which cannot be checked. With `enough` > 0 a call
  // whose second replay takes longer than so many microseconds is not measured further: `gave_up`.
  BenchResult Run(const BenchShape& shape, int64_t tokens, const GpuChoice& choice, bool check,
                  double enough = 0);
  // Microseconds of host time that one call takes, launches included.
  double HostCost(const BenchShape& shape, int64_t tokens);

 private:
  struct Memory;
  explicit GpuBench(std::unique_ptr<Memory> memory);
  std::unique_ptr<Memory> memory_;
  Device device_;
};

}  // namespace ferrule
