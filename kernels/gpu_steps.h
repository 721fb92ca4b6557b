// SPDX-License-Identifier: Apache-2.0
// A group → the kernels that run it on the GPU, in order. Looks at sizes, strides and the alignment
// of pointers, never at data; no CUDA, so that it is tested and explained where there is no GPU.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cluster_count.h"
#include "kernels/few_rows_plan.h"
#include "kernels/gpu_plan.h"
#include "kernels/large_plan.h"
#include "kernels/linear.h"
#include "kernels/lt_shape.h"
#include "kernels/quantize.h"

namespace ferrule {

enum class GpuKernel : uint8_t {
  kAny,       // as a choice: by rule
  kCount,     // counts tokens that are not finite
  kSmall,     // kernels/small_m_linear.cu
  kFewRows,   // kernels/few_rows_linear.cu
  kQuantize,  // kernels/quantize.cu, for the steps after it
  kTile,      // kernels/tile_linear.cu
  kLarge,     // kernels/large_m_linear.cuh
  kMma,       // kernels/mma_linear.cu, one segment
  kLt,        // kernels/lt_linear.h, one segment
  kPlain,     // kernels/plain_linear.cu, one segment
};

// The GPU that a group is for.
struct GpuTarget {
  int sm = 90;  // compute capability: 80 for 8.0
  // Whether cuBLASLt was prepared for a product, and the workspace that it needs; null: it is not
  // there.
  bool (*lt_ready)(const LtShape& shape, size_t* workspace) = nullptr;
  // The most workspace of those prepared for it with as many tokens or fewer; set where that is.
  size_t (*lt_most)(const LtShape& shape) = nullptr;
  const GpuRoom* room = nullptr;  // null: an H200's
};

// What the caller, a test or a benchmark, wants instead of the rules.
struct GpuChoice {
  GpuKernel kernel = GpuKernel::kAny;  // any but kCount and kQuantize: where it can
  SmallChoice small;
  FewRowsChoice few_rows;
  TileChoice tile;
  LargeChoice large;
  bool x_is_quantized = false;  // by the call before, with this workspace: no kQuantize
};

struct GpuStep {
  GpuKernel kernel = GpuKernel::kPlain;
  int32_t segments[kGpuSegments] = {};
  int count = 0;
  XRecipe recipe;  // of its FP8 segments, kPlain when it has none
  int blocks = 0;  // of K, with `recipe`'s phase
  int tiles = 0;   // of all segments
  SmallPlan small;
  FewRowsPlan few_rows;
  TilePlan tile;
  LargePlan large;
  LtShape lt;              // of kLt
  bool tight = false;      // kQuantize, kLt: scales of x without gaps between blocks
  int32_t repeats = -1;    // kQuantize: the segment whose one scale it repeats for cuBLASLt
  bool repeated = false;   // kLt: that was done
  bool invariant = false;  // kMma: the same sums for any number of tokens
  // For people: why this kernel; the row of the table that says so (0: none).
  const char* why = "";
  int measured_up_to = 0;
};

// FP8 without blocks: x has one scale a token, or the caller's for all.
inline bool HasTokenScales(const XRecipe& recipe) {
  return recipe.kind == XKind::kToken || recipe.kind == XKind::kStatic;
}

// Where a quantized x lies in the workspace.
struct XLayout {
  int64_t blocks = 0, pitch = 0, scale_stride = 0;
  int64_t rows = 0;   // of codes that there is room for, >= tokens: boxes of TMA are whole
  size_t scales = 0;  // offset; codes are at 0
  size_t bytes = 0;
};
XLayout LayOutX(const XRecipe& recipe, int64_t tokens, int64_t columns, bool tight = false);

// Calls `take` for each step of a valid group with tokens, until one fails.
LinearStatus ForEachStep(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target,
                         LinearStatus (*take)(const GpuStep& step, void* context), void* context);

// The same for people, a line each (kernels/gpu_explain.cc).
std::string ExplainSteps(const LinearGroup& group, const GpuChoice& choice,
                         const GpuTarget& target);

}  // namespace ferrule
