// SPDX-License-Identifier: Apache-2.0
// Weights of one module, loaded from a checkpoint as planned and ready to run.
//
//   std::string error;
//   std::unique_ptr<ferrule::LoadedLinear> qkv =
//       ferrule::LoadLinear(plan, "model.layers.3.self_attn.qkv_proj", rank, &error);
//   if (!qkv) …                                   // `error` is ready to print
//   std::vector<float> y(tokens * qkv->rows);
//   ferrule::LinearStatus status = qkv->Run(x, tokens, x_stride, y.data(), qkv->rows);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/linear.h"

namespace ferrule {

class ModelPlan;  // ferrule.h

// What one rank holds of a module. Owns its memory; movable; may be run from many threads at once.
struct LoadedLinear {
  std::string name;
  int64_t rows = 0;          // output rows of this rank, all segments
  int64_t in = 0;            // columns of x that this rank needs
  int64_t first_column = 0;  // of the whole x: 0 unless the module is row-split
  // In the order of the output, without y: Bind sets it. Weights point into `memory`.
  std::vector<LinearSegment> segments;
  std::vector<std::unique_ptr<std::byte[]>> memory;
  size_t bytes = 0;  // of weights, scales and biases

  // The segments with y set to their places in [tokens, rows] float32.
  std::vector<LinearSegment> Bind(float* y, int64_t y_stride) const;
  // y = x · Wᵀ on the CPU. `x` is BF16 [tokens, in], already cut to this rank's columns; `y` is
  // float32 [tokens, rows], its tokens `y_stride` >= `rows` apart: less is refused, as rows of
  // neighbouring tokens would overlap. Allocates its workspace; a server that minds calls LinearCpu
  // itself.
  LinearStatus Run(const void* x, int64_t tokens, int64_t x_stride, float* y, int64_t y_stride,
                   LinearPool* pool = nullptr) const;
};

// Loads the module `name` (a real or a fused one) for `rank` of the plan's tensor-parallel size.
// Null with a message in `error` (if not null) when there is no such module, the plan has errors,
// or a file cannot be read or holds scales that cannot be. Thread-safe.
std::unique_ptr<LoadedLinear> LoadLinear(const ModelPlan& plan, std::string_view name, int rank,
                                         std::string* error);

}  // namespace ferrule
