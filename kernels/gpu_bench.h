// SPDX-License-Identifier: Apache-2.0
// Times a linear group on the GPU the way a decoding server meets it: calls of a CUDA graph, one
// after the other, each with other weights, so that nothing of them is in the cache; x is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/gpu_steps.h"

namespace ferrule {

struct BenchSegment {
  int64_t rows = 0;
  LinearScheme scheme = LinearScheme::kFp8Block;   // blocks of 128 × 128
  LinearWeight weight_type = LinearWeight::kBf16;  // of kBf16
  int32_t n_phase = 0, k_phase = 0;                // of kFp8Block, as in LinearSegment
  int64_t scale_stride = 0;                        // of kFp8Block; 0: rows without gaps
  bool ue8m0 = false;
  bool static_x = false;  // x has one scale that is known, not one a token
  bool bf16() const { return scheme == LinearScheme::kBf16; }
  int64_t element() const { return !bf16() ? 1 : weight_type == LinearWeight::kF32 ? 4 : 2; }
  // Of kFp8Block: scales of a row of blocks.
  int64_t ScaleColumns(int64_t in) const { return (k_phase + in + 127) / 128; }
};
struct BenchShape {
  std::string name;
  int64_t in = 0;
  std::vector<BenchSegment> segments;
  int64_t rows() const {
    int64_t sum = 0;
    for (const BenchSegment& s : segments) sum += s.rows;
    return sum;
  }
};

// The choice of a way to run a shape; peers run another shape (BF16) than the one that is asked
// for, or more tokens.
struct BenchWay {
  BenchShape shape;
  GpuChoice choice;
  int64_t tokens = 0;      // 0: those asked for
  bool quantizer = false;  // alone, of x as the first FP8 segment wants it; not to be checked
};

struct BenchCheck {
  std::string failure;     // empty: it ran
  bool too_large = false;  // for the benchmark's memory: it was not checked
  double error = 0;        // relative, float32 outputs against the plain kernel's
  bool same_bits = false;  // of two runs
};

struct BenchTime {
  std::string failure;      // empty: it ran
  double microseconds = 0;  // of one call, median of the replays
  double spread = 0;        // slowest replay / fastest - 1
  int copies = 0;           // of the weights
  bool gave_up = false;     // `microseconds` is that of one replay
  double bytes_us = 0;      // bytes that are read and written at least / `bandwidth`
  double flops_us = 0;      // products / their rate; 0: the GPU's is not known
  double floor_us() const { return std::max(bytes_us, flops_us); }
};

// Microseconds of host time that a call takes, launches included; below 0: it cannot run.
struct BenchHostCost {
  double call = -1;      // LinearGpu
  double prepared = -1;  // GpuCall::Run with the same arguments each time
  double added = -1;     // with two x and y in turn, both captured
  double moved = -1;     // with x and y in turn of which neither was
};

// How long each way runs before a turn of its own: a GPU that has rested is faster than one at its
// power limit. Of 50 ms or more a turn is four replays, and there are two of them; else one, seven
// times.
struct BenchHeat {
  double seconds = 0.01;
  bool always = false;  // not only where a call of one of the ways takes more than 50 us
};

class GpuBench {
 public:
  struct Device {
    std::string name;
    std::string cuda;      // the newest version that the driver knows
    double bandwidth = 0;  // bytes a second that reading reaches, measured
    // FP8 products and sums a second, the most that was seen of an H200; of BF16 half as many. 0:
    // not known, for GPUs that are no Hopper.
    double fp8_rate = 0;
  };
  // Takes device memory for weights, once. Null with a reason.
  static std::unique_ptr<GpuBench> Create(std::string* failure);
  ~GpuBench();
  const Device& device() const { return device_; }
  // Not of `choice.x_is_quantized`: those are the products alone, which cannot be checked.
  BenchCheck Check(const BenchWay& way, int64_t tokens);
  // The ways take turns, a replay each, so that all meet the same clocks: a replay of much work
  // lowers those of the next. Checks do so too: make them all before the first time. A time for
  // each way, in their order.
  std::vector<BenchTime> Time(const std::vector<BenchWay>& ways, int64_t tokens, BenchHeat heat,
                              double enough = 0);
  BenchHostCost HostCost(const BenchShape& shape, int64_t tokens);
  // The same of launching a kernel that does nothing.
  double LaunchCost();

 private:
  struct Memory;
  struct Replay;
  // Why `way` does not run as asked; empty where it does.
  std::string Refuses(const BenchWay& way, int64_t tokens);
  std::string Capture(const BenchWay& way, int64_t tokens, Replay* replay);
  std::string CaptureQuantizer(const BenchWay& way, int64_t tokens, Replay* replay);
  void AddFloors(const BenchWay& way, int64_t tokens, BenchTime* time) const;
  explicit GpuBench(std::unique_ptr<Memory> memory);
  std::unique_ptr<Memory> memory_;
  Device device_;
};

}  // namespace ferrule
