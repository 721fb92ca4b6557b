// SPDX-License-Identifier: Apache-2.0
// Launches whose x is what the launch before wrote, so that one that starts too early shows.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

namespace ferrule::test {

// `tokens` of x go kLinks times through the same linears, whose rows add up to its columns; of more
// than one token the last holds a NaN. Work of one stream.
class Chain {
 public:
  static constexpr int kLinks = 20;
  struct Way {
    GpuChoice choice;
    // 2: back and forth between two, so that a launch could also write too early. kLinks + 1: each
    // y stays, so that each can be looked at.
    int buffers = 2;
    bool counts = false;  // nonfinite_tokens of each link
  };

  Chain(int64_t tokens, int64_t size, const std::vector<Shape>& shapes);
  ~Chain();
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  DeviceGroup& device() { return device_; }
  LinearGroup Link(const Way& way, int i, std::vector<LinearSegment>* segments);
  // x is put back, and what is written afterwards poisoned; then all links, each awaited or not.
  void Run(const Way& way, bool waits);
  // Run, captured; the caller destroys it.
  cudaGraphExec_t Capture(const Way& way);
  void Replay(cudaGraphExec_t graph);  // waits

  std::vector<uint16_t> Last(const Way& way) const;  // y of the last link, [tokens, stride]
  std::vector<uint16_t> All(const Way& way) const;   // of all buffers
  std::vector<int64_t> Counts() const;               // of all links
  // Tokens without a NaN hold numbers, and others than zero: no link is blind to its x.
  bool Alive(const std::vector<uint16_t>& y) const;
  int64_t nonfinite() const { return tokens_ > 1 ? 1 : 0; }

 private:
  size_t elements() const { return static_cast<size_t>(tokens_ * stride_); }  // of a buffer

  const int64_t tokens_, size_, stride_;
  TestGroup test_;
  DeviceGroup device_;
  uint16_t* buffers_ = nullptr;
  int64_t* counts_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

}  // namespace ferrule::test
