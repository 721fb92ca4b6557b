// SPDX-License-Identifier: Apache-2.0
// The steps of a group on the GPU, in words.
#include <string>

#include "kernels/gpu_linear.h"
#include "kernels/linear_gpu.h"

namespace ferrule {
namespace {

std::string Number(int64_t value) { return std::to_string(value); }

struct Explanation {
  const LinearGroup& group;
  std::string text;
};

void Segments(const GpuStep& step, std::string* text) {
  *text += step.count == 1 ? "segment" : "segments";
  for (int i = 0; i < step.count; ++i) *text += " " + Number(step.segments[i]);
}

LinearStatus Describe(const GpuStep& step, void* context) {
  Explanation& e = *static_cast<Explanation*>(context);
  std::string& text = e.text;
  switch (step.kernel) {
    case GpuKernel::kCount:
      text += "count_nonfinite: tokens with a NaN or an Inf\n";
      return {};
    case GpuKernel::kQuantize:
      text += "quantize: x to E4M3, " + Number(step.blocks) + " blocks a token\n";
      return {};
    case GpuKernel::kSmall: {
      const SmallPlan& p = step.small;
      text += "small_m_linear: ";
      Segments(step, &text);
      text += ", " + Number(step.tiles) + " tiles of 64 rows x " + Number(p.token_tile) +
              " tokens, K in " + Number(int64_t{1} << p.log_slices) + " slices, " +
              Number(p.clusters) + " clusters, ring of " + Number(p.ring) + "\n";
      return {};
    }
    case GpuKernel::kTile: {
      const TilePlan& p = step.tile;
      text += "tile_linear: ";
      Segments(step, &text);
      text += ", " + Number(step.tiles * p.token_tiles) + " tiles of " + Number(p.row_tile) +
              " rows x " + Number(p.token_tile) + " tokens, K in " + Number(p.slices) +
              " slices, ring of " + Number(p.stages) + "\n";
      return {};
    }
    case GpuKernel::kLarge: {
      const LargePlan& p = step.large;
      text += "large_m_linear: ";
      Segments(step, &text);
      text += ", " + Number(p.row_tiles * p.token_tiles) + " tiles of " + Number(p.row_tile) +
              " rows x " + Number(p.token_tile) + " tokens, K in " + Number(p.slices) +
              " slices, ring of " + Number(p.stages);
      if (p.share_x > 1) text += ", two CTAs share x";
      if (p.share_w > 1) text += ", two CTAs share W";
      text += "\n";
      return {};
    }
    case GpuKernel::kAny:
    case GpuKernel::kPlain:
      break;
  }
  const char* reason = SlowReason(e.group, e.group.segments[step.segments[0]]);
  text += "plain_linear: ";
  Segments(step, &text);
  text += std::string(", slow: ") + (reason == nullptr ? "asked for" : reason) + "\n";
  return {};
}

}  // namespace

std::string ExplainGpu(const LinearGroup& group, const GpuChoice& choice) {
  const LinearStatus status = Validate(group);
  if (!status) return status.message;
  if (group.tokens == 0) return "nothing to do";
  Explanation explanation{group, {}};
  const LinearStatus steps = ForEachStep(group, choice, Describe, &explanation);
  return steps ? explanation.text : explanation.text + steps.message;
}

std::string ExplainGpu(const LinearGroup& group) { return ExplainGpu(group, GpuChoice()); }

}  // namespace ferrule
