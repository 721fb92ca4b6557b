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

// The choice of a way to run a shape; peers run another shape (BF16) than the one that is asked
// for.
struct BenchWay {
  BenchShape shape;
  GpuChoice choice;
};

struct BenchCheck {
  std::string failure;     // empty: it ran
  double error = 0;        // relative, float32 outputs against the plain kernel's
  bool same_bits = false;  // of two runs
};

struct BenchTime {
  std::string failure;      // empty: it ran
  double microseconds = 0;  // of one call, median of the replays
  double spread = 0;        // slowest replay / fastest - 1
  int copies = 0;           // of the weights
  bool gave_up = false;     // `microseconds` is that of one replay
  double floor_us = 0;      // bytes / `bandwidth` or flops / `rate`, whichever is more
};

// Microseconds of host time that a call takes, launches included; below 0: it cannot run.
struct BenchHostCost {
  double call = -1;      // LinearGpu
  double prepared = -1;  // GpuCall::Run with the same arguments each time
  double moved = -1;     // with other x and y each time
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
  // Not of `choice.x_is_quantized`: those are the products alone, which cannot be checked.
  BenchCheck Check(const BenchWay& way, int64_t tokens);
  // The ways take turns, a replay each, so that all meet the same clocks: a replay of much work
  // lowers those of the next. Checks do so too: make them all before the first time. With
  // `enough` > 0 a way whose second replay takes longer than so many microseconds a call is not
  // measured further: `gave_up`. A time for each way, in their order.
  std::vector<BenchTime> Time(const std::vector<BenchWay>& ways, int64_t tokens, double enough = 0);
  BenchHostCost HostCost(const BenchShape& shape, int64_t tokens);
  // The same of launching a kernel that does nothing.
  double LaunchCost();

 private:
  struct Memory;
  struct Replay;
  // Why `way` does not run as asked; empty where it does.
  std::string Refuses(const BenchWay& way, int64_t tokens);
  std::string Capture(const BenchWay& way, int64_t tokens, Replay* replay);
  double FloorOf(const BenchShape& shape, int64_t tokens) const;
  explicit GpuBench(std::unique_ptr<Memory> memory);
  std::unique_ptr<Memory> memory_;
  Device device_;
};

}  // namespace ferrule
