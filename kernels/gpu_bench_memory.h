// SPDX-License-Identifier: Apache-2.0
// Device memory of the benchmark: weights, x and y that are made once, and the groups in them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gpu_bench.h"

namespace ferrule {

// The head of a large model in BF16 is 2.5 GB, and its y of 4,096 tokens 2 GB.
constexpr size_t kBenchFp8Bytes = size_t{800} << 20;
constexpr size_t kBenchWideBytes = size_t{2600} << 20;
constexpr size_t kBenchXBytes = size_t{160} << 20;
constexpr size_t kBenchYBytes = size_t{2400} << 20;
constexpr size_t kBenchScales = size_t{1} << 20;  // floats; the last is the static scale of x

// The segments of one call.
struct BenchCall {
  std::vector<LinearSegment> segments;
  LinearGroup group;
};

struct GpuBench::Memory {
  uint8_t* fp8 = nullptr;
  uint8_t* wide = nullptr;  // BF16; as F16 and F32 other finite numbers
  uint8_t* x = nullptr;     // BF16
  uint8_t* y = nullptr;
  float* scales = nullptr;
  double* sums = nullptr;
  void* workspace = nullptr;
  size_t workspace_size = size_t{256} << 20;
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;

  ~Memory();
  cudaError_t Take();
  // The group of copy `copy` of a shape's weights, its outputs from `y_at` on. Rows of weights and
  // of x are a multiple of 16 bytes apart, as the loader lays them out.
  void Describe(const BenchShape& shape, int64_t tokens, int copy, LinearOutput type, uint8_t* y_at,
                BenchCall* call) const;
};

// Of the outputs that Describe lays out: each segment's begin at a multiple of 16.
size_t BenchYBytes(const BenchShape& shape, int64_t tokens, LinearOutput type);
size_t BenchXBytes(const BenchShape& shape, int64_t tokens);
// Of a shape's weights, so that none of them is in the cache when it is read again; 0: not one
// fits.
int BenchCopies(const BenchShape& shape);

}  // namespace ferrule
