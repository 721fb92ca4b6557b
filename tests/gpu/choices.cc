// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/choices.h"

namespace ferrule::test {
namespace {

// What was asked for and what is done, one word after the other.
struct Answer {
  std::string text;
  void Compare(const char* what, int asked, int done) {
    if (asked > 0 && asked != done)
      text += std::string(text.empty() ? "" : ", ") + what + " " + std::to_string(done) + ", not " +
              std::to_string(asked);
  }
};

void CompareSmall(const SmallChoice& asked, const SmallPlan& plan, Answer* answer) {
  answer->Compare("slices", asked.slices, 1 << plan.log_slices);
  answer->Compare("halves", asked.halves, plan.halves);
  answer->Compare("clusters", asked.clusters, plan.clusters);
  if (asked.quantized != SmallChoice::kByRule)
    answer->Compare("1 + quantized", 1 + asked.quantized, 1 + (plan.quantized ? 1 : 0));
}

void CompareFewRows(const FewRowsChoice& asked, const FewRowsPlan& plan, Answer* answer) {
  answer->Compare("slices", asked.slices, plan.slices);
  answer->Compare("blocks a warp", asked.each, plan.each);
}

void CompareTile(const TileChoice& asked, const TilePlan& plan, Answer* answer) {
  answer->Compare("tokens", asked.token_tile, plan.token_tile);
  answer->Compare("rows", asked.row_tile, plan.row_tile);
  answer->Compare("slices", asked.slices, plan.slices);
  answer->Compare("share", asked.share, plan.share);
}

void CompareLarge(const LargeChoice& asked, const LargePlan& plan, bool fp8, Answer* answer) {
  answer->Compare("tokens", asked.token_tile, plan.token_tile);
  answer->Compare("rows", asked.row_tile, plan.row_tile);
  answer->Compare("slices", asked.slices, plan.slices);
  answer->Compare("resident", asked.resident, plan.resident);
  answer->Compare("rows of BF16", asked.bf16_tile, plan.bf16_tile);
  if (asked.share == 0 || !fp8) return;
  answer->Compare("CTAs that share x", asked.share > 1 ? 2 : 1, plan.share_x);
  answer->Compare("CTAs that share W", asked.share == -2 || asked.share == 4 ? 2 : 1, plan.share_w);
}

}  // namespace

const char* NameOf(GpuKernel kernel) {
  switch (kernel) {
    case GpuKernel::kSmall:
      return "small";
    case GpuKernel::kFewRows:
      return "few_rows";
    case GpuKernel::kTile:
      return "tile";
    case GpuKernel::kLarge:
      return "large";
    case GpuKernel::kMma:
      return "mma";
    case GpuKernel::kLt:
      return "cuBLASLt";
    case GpuKernel::kPlain:
      return "plain";
    case GpuKernel::kAny:
    case GpuKernel::kCount:
    case GpuKernel::kQuantize:
      break;
  }
  return "any";
}

GpuChoice Only(GpuKernel kernel) {
  GpuChoice choice;
  choice.kernel = kernel;
  return choice;
}

GpuChoice InSmall(const SmallChoice& small) {
  GpuChoice choice = Only(GpuKernel::kSmall);
  choice.small = small;
  return choice;
}

GpuChoice InFewRows(const FewRowsChoice& few_rows) {
  GpuChoice choice = Only(GpuKernel::kFewRows);
  choice.few_rows = few_rows;
  return choice;
}

GpuChoice InTile(const TileChoice& tile) {
  GpuChoice choice = Only(GpuKernel::kTile);
  choice.tile = tile;
  return choice;
}

GpuChoice InLarge(const LargeChoice& large) {
  GpuChoice choice = Only(GpuKernel::kLarge);
  choice.large = large;
  return choice;
}

std::vector<GpuChoice> ManyTokens(int64_t all_tokens, int bf16_tile) {
  std::vector<GpuChoice> choices;
  for (const int tokens : {64, 128, 256})
    for (const int rows : {32, 64, 80, 96, 112, 128, 160, 192}) {
      if (!LargeTileExists(tokens, rows) || bf16_tile > rows) continue;
      for (const int slices : {1, 2, 3, 4})
        choices.push_back(InLarge({tokens, rows, slices, 1, 1, bf16_tile}));
      if (LargeResident(tokens, rows) > 1)
        choices.push_back(InLarge({tokens, rows, 1, 1, 2, bf16_tile}));
      if (bf16_tile > 0) continue;
      for (const int share : {2, -2, 4})
        if (share == 2 || all_tokens > tokens)
          choices.push_back(InLarge({tokens, rows, 1, share, 1}));
    }
  return choices;
}

std::vector<GpuChoice> FewTokens(bool bf16) {
  std::vector<GpuChoice> choices(4, Only(GpuKernel::kSmall));
  choices[1].small.slices = 4;
  choices[2].small.clusters = 1;
  choices[3].small.halves = 2;
  if (!bf16) choices.push_back(InSmall({.quantized = 1}));
  return choices;
}

std::vector<GpuChoice> AnyTokens(bool bf16) {
  std::vector<GpuChoice> choices;
  for (const TileChoice& tile : {TileChoice{16, 128, 1, 1, 1},
                                 {32, 128, 4, 1, 1},
                                 {64, 128, 1, 2, 1},
                                 {128, 128, 2, 1, 1},
                                 {128, 256, 1, 1, 1},
                                 {128, 128, 1, 1, 2},
                                 {128, 128, 1, 1, 4}})
    if (tile.share == 1 || !bf16) choices.push_back(InTile(tile));
  for (const GpuKernel kernel : {GpuKernel::kMma, GpuKernel::kPlain})
    choices.push_back(Only(kernel));
  return choices;
}

std::string Unheard(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target) {
  if (choice.kernel == GpuKernel::kAny) return "";
  struct Seen {
    const GpuChoice& choice;
    bool any = false;
    Answer answer;
  } seen{choice, false, {}};
  const auto take = [](const GpuStep& step, void* to) {
    Seen& s = *static_cast<Seen*>(to);
    if (step.kernel != s.choice.kernel) return LinearStatus();
    s.any = true;
    if (step.kernel == GpuKernel::kSmall) CompareSmall(s.choice.small, step.small, &s.answer);
    if (step.kernel == GpuKernel::kFewRows)
      CompareFewRows(s.choice.few_rows, step.few_rows, &s.answer);
    if (step.kernel == GpuKernel::kTile) CompareTile(s.choice.tile, step.tile, &s.answer);
    if (step.kernel == GpuKernel::kLarge)
      CompareLarge(s.choice.large, step.large, step.large.bf16_tile == 0, &s.answer);
    return LinearStatus();
  };
  const LinearStatus status = ForEachStep(group, choice, target, take, &seen);
  if (!status) return status.message;
  return seen.any ? seen.answer.text : std::string("no launch of ") + NameOf(choice.kernel);
}

LargePlan LargePlanOf(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target) {
  LargePlan plan;
  const auto take = [](const GpuStep& step, void* to) {
    if (step.kernel == GpuKernel::kLarge) *static_cast<LargePlan*>(to) = step.large;
    return LinearStatus();
  };
  static_cast<void>(ForEachStep(group, choice, target, take, &plan));
  return plan;
}

}  // namespace ferrule::test
