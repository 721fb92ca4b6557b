// SPDX-License-Identifier: Apache-2.0
// Weights of many modules, loaded from a checkpoint as planned into the memory of the current GPU.
//
//   std::string error;
//   std::unique_ptr<ferrule::GpuWeights> weights =
//       ferrule::GpuWeights::Load(plan, {"model.layers.3.self_attn.qkv_proj", …}, rank, {},
//       &error);
//   if (!weights) …                                      // `error` is ready to print
//   weights->modules()[0].segments                       // set y, then <ferrule/linear_gpu.h>
//
// Several threads read at once (pread), only the rank's rows and columns, each into one of two
// pinned buffers while the other is copied. Host memory: readers × 2 × buffer, 134 MB as given;
// with more readers buffers shrink so that it stays below 240 MB (256 MB with all else). Device
// memory: the weights and at most 272 bytes a tensor beside. kernels/load.h is the same for the
// CPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/linear.h"

namespace ferrule {

class ModelPlan;    // ferrule.h
class DeviceModel;  // inside

struct DeviceModule {
  std::string name;
  int64_t rows = 0, in = 0, first_column = 0;  // as of LoadedLinear, load.h
  std::vector<LinearSegment> segments;         // pointers in device memory, without y
  uint64_t bytes = 0;                          // of weights, scales and biases
};

struct DeviceLoadOptions {
  int readers = 8;            // 1 … 64
  uint64_t buffer = 8 << 20;  // bytes at most; each reader has two
  // Called about ten times a second by the thread that called Load, and at the end.
  std::function<void(uint64_t done, uint64_t all)> progress;
};

// Owns the device memory. May be read from many threads at once.
class GpuWeights {
 public:
  // Modules by name, real or fused ones, each for `rank` of the plan's tensor-parallel size. Null
  // with a message in `error` (if not null) when there is no such module, the plan has errors, a
  // file cannot be read or holds what cannot be, or the GPU is not there or has not the memory.
  static std::unique_ptr<GpuWeights> Load(const ModelPlan& plan,
                                          const std::vector<std::string>& names, int rank,
                                          const DeviceLoadOptions& options, std::string* error);
  ~GpuWeights();
  GpuWeights(const GpuWeights&) = delete;
  GpuWeights& operator=(const GpuWeights&) = delete;

  const std::vector<DeviceModule>& modules() const;  // in the order of `names`

 private:
  explicit GpuWeights(std::unique_ptr<DeviceModel> model);
  std::unique_ptr<DeviceModel> model_;
};

}  // namespace ferrule
