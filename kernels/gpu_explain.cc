// SPDX-License-Identifier: Apache-2.0
// The steps of a group on the GPU, in words.
#include <string>

#include "kernels/gpu_segments.h"
#include "kernels/gpu_steps.h"
#include "kernels/kernel_table.h"

namespace ferrule {
namespace {

std::string Number(int64_t value) { return std::to_string(value); }

std::string Segments(const GpuStep& step) {
  std::string text = step.count == 1 ? "segment" : "segments";
  for (int i = 0; i < step.count; ++i) text += " " + Number(step.segments[i]);
  return text;
}

// "12 tiles of 64 rows x 8 tokens", without the number where it is not wanted.
std::string Tiles(int64_t tiles, int rows, int tokens, bool counts) {
  return (counts ? Number(tiles) + " tiles of " : std::string("tiles of ")) + Number(rows) +
         " rows x " + Number(tokens) + " tokens";
}

std::string Slices(int slices, int ring) {
  return ", K in " + Number(slices) + (slices == 1 ? " slice" : " slices") + ", ring of " +
         Number(ring);
}

const char* NameOf(GpuKernel kernel) {
  switch (kernel) {
    case GpuKernel::kCount:
      return "count_nonfinite";
    case GpuKernel::kQuantize:
      return "quantize";
    case GpuKernel::kSmall:
      return "small_m_linear";
    case GpuKernel::kFewRows:
      return "few_rows_linear";
    case GpuKernel::kTile:
      return "tile_linear";
    case GpuKernel::kLarge:
      return "large_m_linear";
    case GpuKernel::kMma:
      return "mma_linear";
    case GpuKernel::kLt:
      return "cuBLASLt";
    case GpuKernel::kAny:
    case GpuKernel::kPlain:
      break;
  }
  return "plain_linear";
}

std::string What(const GpuStep& step, bool counts) {
  switch (step.kernel) {
    case GpuKernel::kCount:
      return "tokens with a NaN or an Inf";
    case GpuKernel::kQuantize:
      return "x to E4M3, " + Number(step.blocks) + (step.blocks == 1 ? " block" : " blocks") +
             " a token" +
             (step.repeats >= 0 ? ", the scale of segment " + Number(step.repeats) + " for its rows"
                                : "");
    case GpuKernel::kSmall: {
      const SmallPlan& p = step.small;
      return Segments(step) + ", " +
             Tiles(int64_t{step.tiles} * p.token_tiles, kSmallTile, p.token_tile, counts) +
             Slices(1 << p.log_slices, p.ring) +
             (counts ? ", " + Number(int64_t{p.clusters} * p.token_tiles) + " clusters" : "");
    }
    case GpuKernel::kFewRows: {
      const FewRowsPlan& p = step.few_rows;
      return Segments(step) + ", " +
             Tiles(int64_t{step.tiles} * p.token_tiles, kFewRowsTile, p.token_tile, counts) +
             ", K in " + Number(p.slices) + (p.slices == 1 ? " slice of " : " slices of ") +
             Number(p.warps) + (p.warps == 1 ? " warp" : " warps");
    }
    case GpuKernel::kTile: {
      const TilePlan& p = step.tile;
      return Segments(step) + ", " +
             Tiles(step.tiles * p.token_tiles, p.row_tile, p.token_tile, counts) +
             Slices(p.slices, p.stages);
    }
    case GpuKernel::kLarge: {
      const LargePlan& p = step.large;
      const bool alone = step.recipe.kind == XKind::kPlain;  // all is BF16
      return Segments(step) + ", " +
             Tiles(p.row_tiles * p.token_tiles, alone ? p.bf16_tile : p.row_tile, p.token_tile,
                   counts) +
             (p.bf16_tile > 0 && !alone ? ", BF16 in tiles of " + Number(p.bf16_tile) + " rows"
                                        : "") +
             Slices(p.slices, p.stages) + (p.share_x > 1 ? ", two CTAs share x" : "") +
             (p.share_w > 1 ? ", two CTAs share W" : "");
    }
    case GpuKernel::kAny:
    case GpuKernel::kMma:
    case GpuKernel::kLt:
    case GpuKernel::kPlain:
      break;
  }
  return Segments(step);
}

struct Subject {
  const LinearGroup& group;
  const GpuChoice& choice;
  const GpuTarget& target;
};

// Of the segments of a step: "; not by cuBLASLt: …".
std::string WhyNotLt(const Subject& of, const GpuStep& step) {
  std::string text;
  if (step.kernel == GpuKernel::kLt) return text;
  for (int n = 0; n < step.count; ++n) {
    const int32_t i = step.segments[n];
    const char* reason = NotLt(of.group, i, of.choice, of.target);
    if (reason == nullptr) continue;
    text += "; not by cuBLASLt";
    if (step.count > 1) text += ", segment " + Number(i);
    text += std::string(": ") + reason;
  }
  return text;
}

std::string Why(const LinearGroup& group, const GpuStep& step) {
  if (step.kernel == GpuKernel::kPlain) {
    const char* reason = MmaReason(group, group.segments[step.segments[0]]);
    return std::string("slow: ") + (reason == nullptr ? "asked for" : reason);
  }
  if (step.measured_up_to == 0 || step.kernel == GpuKernel::kQuantize) return step.why;
  int64_t rows = 0;
  for (int n = 0; n < step.count; ++n) rows += group.segments[step.segments[n]].rows;
  return (HasTokenScales(step.recipe) ? "measured with block scales: " : "measured: ") +
         Number(rows) + " x " + Number(group.in) +
         (step.measured_up_to == kAnyTokens ? std::string(", more tokens")
                                            : ", up to " + Number(step.measured_up_to) + " tokens");
}

// What cuBLASLt has on a GPU, for GpuTarget::lt_ready.
template <int kSm>
bool Has(const LtShape& shape, size_t*) {
  return LtLacks(shape.scales, kSm) == nullptr;
}

struct Explanation {
  Subject of;
  std::string text;
};

LinearStatus Describe(const GpuStep& step, void* context) {
  Explanation& e = *static_cast<Explanation*>(context);
  e.text += std::string(NameOf(step.kernel)) + ": " + What(step, true);
  if (step.kernel == GpuKernel::kPlain || step.kernel == GpuKernel::kMma)
    e.text += ", " + Why(e.of.group, step);
  e.text += WhyNotLt(e.of, step);
  e.text += "\n";
  return {};
}

struct Lines {
  Subject of;
  std::vector<KernelLine> lines;
};

LinearStatus Collect(const GpuStep& step, void* context) {
  Lines& l = *static_cast<Lines*>(context);
  l.lines.push_back(
      {NameOf(step.kernel), What(step, false), Why(l.of.group, step) + WhyNotLt(l.of, step)});
  return {};
}

}  // namespace

std::string ExplainSteps(const LinearGroup& group, const GpuChoice& choice,
                         const GpuTarget& target) {
  const LinearStatus status = Validate(group);
  if (!status) return status.message;
  if (group.tokens == 0) return "nothing to do";
  Explanation explanation{{group, choice, target}, {}};
  const LinearStatus steps = ForEachStep(group, choice, target, Describe, &explanation);
  return steps ? explanation.text : explanation.text + steps.message;
}

GpuTarget GpuWithLt(int sm) {
  return {sm, sm == kHopper ? Has<kHopper> : sm < 89 ? Has<80> : Has<89>};
}

std::vector<KernelRange> KernelRanges(LinearGroup group, const GpuTarget& target, int64_t most) {
  const auto lines_of = [&](int64_t tokens) {
    group.tokens = tokens;
    const GpuChoice by_rule;
    Lines lines{{group, by_rule, target}, {}};
    const LinearStatus status = ForEachStep(group, by_rule, target, Collect, &lines);
    if (!status) lines.lines.push_back({"none", "", status.message});
    return lines.lines;
  };
  std::vector<KernelRange> ranges, fours;
  std::vector<KernelLine> lines = lines_of(1);
  for (int64_t tokens = 1; tokens <= most; ++tokens) {
    std::vector<KernelLine> next = lines_of(tokens + 1);
    if (ranges.empty() || lines != ranges.back().lines) {
      const bool alone = tokens % 4 == 0 && !ranges.empty() && next != lines;
      if (!alone) {
        ranges.push_back({tokens, tokens, 1, lines});
      } else if (fours.empty() || fours.back().last != tokens - 4 || fours.back().lines != lines) {
        fours.push_back({tokens, tokens, 4, lines});
      } else {
        fours.back().last = tokens;
      }
    }
    ranges.back().last = tokens;
    lines = std::move(next);
  }
  ranges.insert(ranges.end(), fours.begin(), fours.end());
  return ranges;
}

}  // namespace ferrule
