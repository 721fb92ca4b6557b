// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_steps.h"

#include <algorithm>

#include "kernels/cluster_count.h"
#include "kernels/gpu_segments.h"
#include "kernels/gpu_table.h"
#include "kernels/large_rule.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

constexpr int64_t kPlainTokens = int64_t{4} * 65535;  // of a grid's second dimension
constexpr int64_t kQuantizeBlocks = 65535;
// More tokens than one tile of kSmall: so few BF16 rows that every cluster may read x anew.
// Measured on H200 for 64 rows of 2048 columns: 3.0 us against 3.9 at 64 tokens, 3.0 against 4.2 at
// 128.
constexpr int64_t kSmallBf16Rows = 64;

class Walk {
 public:
  Walk(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target,
       LinearStatus (*take)(const GpuStep&, void*), void* context)
      : group_(group), choice_(choice), target_(target), take_(take), context_(context) {}

  LinearStatus Run() {
    if (group_.nonfinite_tokens != nullptr) {
      GpuStep step;
      step.kernel = GpuKernel::kCount;
      if (!Take(step)) return status_;
    }
    bool bf16 = false;  // those that are fast have gone with the first FP8 ones of blocks
    for (int32_t i = 0; i < group_.segment_count; ++i)
      if (IsFast(i) && !IsBf16(At(i)) && FirstOfItsKind(i)) {
        const bool together = ScalesOfBlocks(At(i)) && !bf16;
        if (!Fast(RecipeOf(At(i)), together)) return status_;
        bf16 = bf16 || together;
      }
    if (!bf16 && !Fast(XRecipe(), true)) return status_;
    return Slow();
  }

 private:
  const LinearSegment& At(int32_t i) const { return group_.segments[i]; }

  bool Take(const GpuStep& step) {
    if (step.kernel == GpuKernel::kQuantize) held_ = step.tight ? XRecipe() : step.recipe;
    if (step.kernel == GpuKernel::kQuantize && choice_.x_is_quantized) return true;
    status_ = take_(step, context_);
    return static_cast<bool>(status_);
  }

  // Asked several times of each segment, and found out once of the first ones.
  bool IsFast(int32_t i) {
    if (i >= kGpuSegments) return FindFast(i);
    if (fast_[i] == Answer::kUnknown) fast_[i] = FindFast(i) ? Answer::kYes : Answer::kNo;
    return fast_[i] == Answer::kYes;
  }

  bool FindFast(int32_t i) const {
    return target_.sm == kHopper && choice_.kernel != GpuKernel::kPlain &&
           choice_.kernel != GpuKernel::kMma && At(i).rows > 0 &&
           !(HasTokenScales(RecipeOf(At(i))) && ForBlocks()) &&
           SlowReason(group_, At(i)) == nullptr && !UsesLt(i, nullptr);
  }

  // Whether a kernel is asked for that has only scales of blocks.
  bool ForBlocks() const {
    return choice_.kernel == GpuKernel::kTile || choice_.kernel == GpuKernel::kFewRows;
  }

  // cuBLASLt was prepared for it and is wanted.
  bool UsesLt(int32_t i, LtShape* shape) const {
    LtShape own;
    size_t workspace = 0;
    if (target_.lt_ready == nullptr || !WantsLt(group_, i, choice_, target_.sm, &own) ||
        !target_.lt_ready(own, &workspace))
      return false;
    if (shape != nullptr) *shape = own;
    return true;
  }

  // No segment before it, of those that are fast (or, for the slow ones, not), shares its x.
  bool FirstOfItsKind(int32_t i) {
    for (int32_t j = 0; j < i; ++j)
      if (At(j).rows > 0 && IsFast(j) == IsFast(i) && Tight(j) == Tight(i) &&
          RecipeOf(At(j)) == RecipeOf(At(i)))
        return false;
    return true;
  }

  bool Tight(int32_t i) const {
    return At(i).scheme == LinearScheme::kFp8Block && UsesLt(i, nullptr);
  }

  // All fast segments that read x by `recipe`, and the BF16 ones, so many at a time.
  bool Fast(const XRecipe& recipe, bool with_bf16) {
    bool quantized = false;
    GpuStep step;
    for (int32_t i = 0; i <= group_.segment_count; ++i) {
      const bool end = i == group_.segment_count;
      if (step.count > 0 && (end || step.count == kGpuSegments)) {
        if (!Emit(&step, recipe, &quantized)) return false;
        step.count = 0;
      }
      if (end || !IsFast(i)) continue;
      if (IsBf16(At(i)) ? with_bf16 : RecipeOf(At(i)) == recipe) step.segments[step.count++] = i;
    }
    return true;
  }

  bool Emit(GpuStep* step, const XRecipe& recipe, bool* quantized) {
    int fp8 = 0, small_fp8 = 0, small_bf16 = 0;
    int64_t fp8_rows = 0, bf16_rows = 0;
    for (int n = 0; n < step->count; ++n) {
      const LinearSegment& s = At(step->segments[n]);
      fp8 += IsBf16(s) ? 0 : 1;
      (IsBf16(s) ? small_bf16 : small_fp8) += TileCount(s, kSmallTile);
      (IsBf16(s) ? bf16_rows : fp8_rows) += s.rows;
    }
    step->recipe = fp8 > 0 ? recipe : XRecipe();
    step->blocks = static_cast<int>(DivideUp(group_.in + step->recipe.phase, kBlock));
    const bool token_scales = HasTokenScales(step->recipe);
    GpuChoice choice = choice_;
    step->measured_up_to = 0;
    if (fp8 == 0 && choice.large.bf16_tile == LargeChoice::kApart) choice = {};  // by rule
    if (group_.batch_invariant) {
      choice = Invariant(*step);
    } else if (choice.kernel == GpuKernel::kAny && fp8 == step->count &&
               (!token_scales || group_.tokens > kSmallTokens)) {  // few were measured otherwise
      Measured(step, &choice);
    }
    if (!token_scales && UseFewRows(*step, choice, fp8)) {
      step->few_rows = PlanFewRows(FewRowsOf(*step), choice.few_rows);
      step->tiles = static_cast<int>(FewRowsOf(*step).tiles);
      step->kernel = GpuKernel::kFewRows;
      step->why = choice_.kernel != GpuKernel::kAny ? "asked for"
                  : fp8 > 0
                      ? "few tokens and columns: x is read and quantized where it is multiplied"
                      : "few tokens and rows: x is read where it is multiplied";
      if (step->few_rows.fits) return Take(*step);
    }
    const bool repeats = LargePays({group_.tokens, step->blocks, small_fp8, small_bf16,
                                    (fp8_rows + 2 * bf16_rows) * group_.in, token_scales});
    if (UseSmall(*step, choice) && (!repeats || choice.kernel == GpuKernel::kSmall)) {
      const SmallShape shape{static_cast<int>(group_.tokens), step->blocks, small_fp8, small_bf16,
                             token_scales};
      step->small = PlanSmall(shape, choice.small);
      step->tiles = small_fp8 + small_bf16;
      step->kernel = GpuKernel::kSmall;
      PutBf16(step, false);  // its tiles are numbered last
      step->why = WhySmall(*step);
      if (step->small.fits && step->small.quantized && !QuantizeOnce(*step, quantized))
        return false;
      if (step->small.fits) return Take(*step);
    }
    if (group_.tokens > kSmallTokens && choice.kernel != choice_.kernel &&
        choice.kernel == GpuKernel::kSmall) {  // the table's, which does not take it
      choice.kernel = GpuKernel::kAny;
      step->measured_up_to = 0;
    }
    step->why = WhyTile(*step, choice, repeats);
    if (fp8 > 0 && !QuantizeOnce(*step, quantized)) return false;
    if (token_scales || UseLarge(choice)) {
      if (fp8 == step->count) return Large(*step, false, choice.large);
      if (fp8 == 0) {  // of few rows: CTAs in pairs, so that loads overlap. Measured for 1 … 16384
        if (choice.kernel == GpuKernel::kAny) choice.large = {64, 64, 0, 1, 2, 64};
        return Large(*step, false, choice.large);
      }
      if (choice.large.bf16_tile == LargeChoice::kApart ||
          (choice.large.bf16_tile == 0 && Apart(group_, bf16_rows)))
        return Large(*step, true, choice.large) && Bf16Alone(*step);
      if (choice.kernel == GpuKernel::kAny)
        choice.large = LargeBesideBf16(group_.tokens, fp8_rows + bf16_rows);
      return Large(*step, false, choice.large);
    }
    return Tile(step, choice.tile);
  }

  // What the table says of one segment holds for several that are cut into no more tiles than one
  // of as many rows.
  void Measured(GpuStep* step, GpuChoice* choice) const {
    int64_t rows = 0;
    for (int n = 0; n < step->count; ++n) rows += At(step->segments[n]).rows;
    GpuChoice measured;
    const int up_to = LookUpGpu(rows, group_.in, group_.tokens, &measured);
    // cuBLASLt is not there, or does not take it: our own tiles that were measured beside it.
    if (measured.kernel == GpuKernel::kLt) measured.kernel = GpuKernel::kLarge;
    const int tile = measured.kernel == GpuKernel::kLarge  ? measured.large.row_tile
                     : measured.kernel == GpuKernel::kTile ? measured.tile.row_tile
                                                           : kSmallTile;
    int64_t tiles = 0;
    for (int n = 0; n < step->count; ++n) {
      const LinearSegment& s = At(step->segments[n]);
      tiles += measured.kernel == GpuKernel::kLarge ? LargeTileCount(s, tile) : TileCount(s, tile);
    }
    if (up_to == 0 || (step->count > 1 && tiles != DivideUp(rows, tile))) return;
    step->measured_up_to = up_to;
    *choice = measured;
  }

  const char* WhySmall(const GpuStep& step) const {
    if (choice_.kernel != GpuKernel::kAny && group_.tokens > kSmallTokens) return "asked for";
    if (group_.tokens > kSmallTokens && step.recipe.kind == XKind::kPlain)
      return "few rows: x is read where it is multiplied";
    if (group_.tokens > kSmallTokens)
      return step.small.quantized
                 ? "measured: x is read where it is multiplied, quantized once before"
                 : "measured: x is read and quantized where it is multiplied";
    if (step.recipe.kind == XKind::kPlain) return "few tokens: x is read where it is multiplied";
    return step.small.quantized
               ? "few tokens: x is read where it is multiplied, quantized once before"
               : "few tokens: x is read and quantized where it is multiplied";
  }

  // What is said of kTile, or of kSmall that could not be.
  const char* WhyTile(const GpuStep& step, const GpuChoice& choice, bool repeats) const {
    if (group_.batch_invariant) return "batch_invariant: one order of sums for any tokens";
    if (choice_.kernel != GpuKernel::kAny) return "asked for";
    if (group_.tokens > kSmallTokens)
      return step.recipe.kind == XKind::kPlain ? "BF16: sums stay in the tensor cores"
                                               : "more than 32 tokens";
    if (choice.kernel != GpuKernel::kAny && choice.kernel != GpuKernel::kSmall) return "measured";
    if (!XAligned(group_) || group_.in % 8 != 0 || step.recipe.phase % 8 != 0)
      return "small_m_linear wants x, columns and k_phase in eights";
    if (repeats && HasTokenScales(step.recipe)) return "many boxes of W";
    return repeats ? "quantizing once costs less than in each cluster"
                   : "x does not fit into the shared memory of small_m_linear";
  }

  // One kernel, one tile and as many slices of K whatever the number of tokens, so that the sums of
  // a token are made in one order: slices that fill the GPU with one tile of tokens, which is as
  // far as reading the weights is the limit.
  GpuChoice Invariant(const GpuStep& step) const {
    GpuChoice choice;
    choice.kernel = GpuKernel::kTile;
    choice.tile.token_tile = choice.tile.row_tile = 128;
    int row_tiles = 0;
    for (int n = 0; n < step.count; ++n) row_tiles += TileCount(At(step.segments[n]), 128);
    choice.tile.slices = 1;
    for (const int slices : {2, 4, 8})
      if (row_tiles * slices <= Multiprocessors()) choice.tile.slices = slices;
    choice.tile.share = 1;
    return choice;
  }

  bool QuantizeOnce(const GpuStep& step, bool* quantized) {
    if (*quantized) return true;
    GpuStep quantize;
    quantize.kernel = GpuKernel::kQuantize;
    quantize.recipe = step.recipe;
    quantize.blocks = static_cast<int>(LayOutX(step.recipe, 1, group_.in).blocks);
    quantize.why = "once for all FP8 segments";
    *quantized = Take(quantize);
    return *quantized;
  }

  bool Tile(GpuStep* step, const TileChoice& choice) {
    TileShape shape;
    shape.tokens = group_.tokens;
    shape.blocks = step->blocks;
    shape.row_blocks = shape.wide_tiles = 0;
    shape.fp8 = shape.bf16 = false;
    for (int n = 0; n < step->count; ++n) {
      const LinearSegment& s = At(step->segments[n]);
      (IsBf16(s) ? shape.bf16 : shape.fp8) = true;
      shape.row_blocks += TileCount(s, 128);
      shape.wide_tiles += TileCount(s, 256);
    }
    step->tile = PlanTile(shape, choice);
    step->tiles =
        static_cast<int>(step->tile.row_tile == 256 ? shape.wide_tiles : shape.row_blocks);
    step->kernel = GpuKernel::kTile;
    return Take(*step);
  }

  bool UseLarge(const GpuChoice& choice) const {
    return choice.kernel == GpuKernel::kAny ? group_.tokens > kSmallTokens / 2
                                            : choice.kernel == GpuKernel::kLarge;
  }

  // Puts the BF16 segments before the others, or behind them.
  void PutBf16(GpuStep* step, bool first) const {
    std::stable_partition(step->segments, step->segments + step->count,
                          [&](int32_t i) { return IsBf16(At(i)) == first; });
  }

  // The segments of a step, or those in FP8 alone.
  bool Large(const GpuStep& all, bool fp8_alone, const LargeChoice& choice) {
    GpuStep step = all;
    step.kernel = GpuKernel::kLarge;
    step.count = 0;
    LargeShape shape;
    shape.tokens = group_.tokens;
    shape.blocks = all.blocks;
    for (int i = 0; i < all.count; ++i) {
      if (fp8_alone && IsBf16(At(all.segments[i]))) continue;
      step.segments[step.count++] = all.segments[i];
    }
    PutBf16(&step, true);  // its tiles take longer
    for (int i = 0; i < step.count; ++i) {
      const LinearSegment& s = At(step.segments[i]);
      shape.bf16[shape.segments] = IsBf16(s);
      shape.rows_of_tiles[shape.segments++] = s.rows - FirstRow(s, kBlock);
    }
    step.large = PlanLarge(shape, choice);
    step.tiles = step.large.row_tiles;
    return Take(step);
  }

  // The BF16 segments of a step.
  bool Bf16Alone(const GpuStep& all) {
    GpuStep step = all;
    step.count = 0;
    for (int i = 0; i < all.count; ++i)
      if (IsBf16(At(all.segments[i]))) step.segments[step.count++] = all.segments[i];
    bool quantized = false;
    return step.count == 0 || Emit(&step, XRecipe(), &quantized);
  }

  FewRowsShape FewRowsOf(const GpuStep& step) const {
    int64_t tiles = 0;
    for (int n = 0; n < step.count; ++n) tiles += DivideUp(At(step.segments[n]).rows, kFewRowsTile);
    return {group_.tokens, step.blocks, tiles};
  }

  bool UseFewRows(const GpuStep& step, const GpuChoice& choice, int fp8) const {
    if ((fp8 > 0 && fp8 < step.count) || !XAligned(group_) || group_.in % 16 != 0) return false;
    if (choice.kernel != GpuKernel::kAny) return choice.kernel == GpuKernel::kFewRows;
    return FewRowsPay(FewRowsOf(step), fp8 == 0);
  }

  bool UseSmall(const GpuStep& step, const GpuChoice& choice) const {
    if (choice.kernel == GpuKernel::kTile || choice.kernel == GpuKernel::kLarge) return false;
    if (group_.tokens > kSmallTokens && choice.kernel != GpuKernel::kSmall &&
        (choice.kernel != GpuKernel::kAny || !FewRows(step)))
      return false;
    return group_.tokens <= int64_t{kSmallTokens} * kSmallTokenTiles && XAligned(group_) &&
           group_.in % 8 == 0 && step.recipe.phase % 8 == 0;
  }

  // More than 32 tokens: whether kSmall takes them by rule, so that BF16 has more CTAs. Beside FP8
  // that each cluster quantizes anew it does not pay: 2048 -> 1024 in FP8, 512 and 1 in BF16 took
  // 9.8 us at 64 tokens, 4.9 in kLarge.
  bool FewRows(const GpuStep& step) const {
    int64_t rows = 0;
    for (int n = 0; n < step.count; ++n) {
      const LinearSegment& s = At(step.segments[n]);
      if (!IsBf16(s)) return false;
      rows += s.rows;
    }
    return group_.tokens <= kBlock && rows <= kSmallBf16Rows;
  }

  // Whether the quantizer repeats the scale of the first segment that reads what it quantizes:
  // others come behind that, whose cuBLASLt works in the same place.
  bool RepeatsScale(int32_t first) const {
    LtShape shape;
    return !choice_.x_is_quantized && UsesLt(first, &shape) && LtScaleBytes(At(first), shape) > 0;
  }

  // Segments that are run one by one.
  LinearStatus Slow() {
    for (int32_t i = 0; i < group_.segment_count; ++i) {
      if (At(i).rows == 0 || IsFast(i)) continue;
      if (group_.tokens > kPlainTokens)
        return {LinearCode::kUnsupported, i,
                "more than 262140 tokens, and no fast kernel takes it"};
      const XRecipe recipe = RecipeOf(At(i));
      if (recipe.kind == XKind::kPlain) {
        if (!One(i, recipe, false)) return status_;
      } else if (FirstOfItsKind(i)) {
        GpuStep step;
        step.kernel = GpuKernel::kQuantize;
        step.recipe = recipe;
        step.why = "for all segments that read x alike";
        step.tight = Tight(i);
        step.blocks = static_cast<int>(LayOutX(recipe, 1, group_.in).blocks);
        if (step.blocks > kQuantizeBlocks)
          return {LinearCode::kUnsupported, i, "more than 65535 blocks in a row of x"};
        const bool there = held_ == recipe && !step.tight;
        if (!there && RepeatsScale(i)) step.repeats = i;
        if (!there && !Take(step)) return status_;
        for (int32_t j = i; j < group_.segment_count; ++j)
          if (At(j).rows > 0 && !IsFast(j) && RecipeOf(At(j)) == recipe && Tight(j) == step.tight &&
              !One(j, recipe, j == step.repeats))
            return status_;
      }
    }
    return {};
  }

  bool One(int32_t i, const XRecipe& recipe, bool repeated) {
    GpuStep step;
    step.segments[0] = i;
    step.count = 1;
    step.recipe = recipe;
    if (UsesLt(i, &step.lt)) {
      step.kernel = GpuKernel::kLt;
      step.tight = Tight(i);
      step.repeated = repeated;
      GpuChoice measured;
      if (step.tight && choice_.kernel == GpuKernel::kAny)
        step.measured_up_to = LookUpGpu(At(i).rows, group_.in, group_.tokens, &measured);
      step.why = step.recipe.kind == XKind::kPlain ? "BF16: much work"
                 : step.tight                      ? "blocks: many tokens"
                 : target_.sm == kHopper           ? "scales of rows and tokens: much work"
                                                   : "scales of rows and tokens: many tokens";
    } else if (choice_.kernel != GpuKernel::kPlain && MmaReason(group_, At(i)) == nullptr) {
      step.kernel = GpuKernel::kMma;
      step.invariant = group_.batch_invariant;
      const char* slow = SlowReason(group_, At(i));
      step.why = slow != nullptr         ? slow
                 : target_.sm == kHopper ? "asked for"
                                         : "the GPU is no Hopper";
    }
    return Take(step);
  }

  const LinearGroup& group_;
  const GpuChoice& choice_;
  const GpuTarget& target_;
  LinearStatus (*take_)(const GpuStep&, void*);
  void* context_;
  LinearStatus status_;
  XRecipe held_;  // how the x in the workspace was quantized; kPlain: not as others can use
  enum class Answer : uint8_t { kUnknown, kYes, kNo };
  Answer fast_[kGpuSegments] = {};
};

// As many as the boxes of the kernels that so many tokens are given to: all of their rows are in
// memory then, those behind the last token with whatever lies there, which no output is made from.
// Where many CTAs ask for boxes that are in part outside of a matrix, TMA is slow (H200,
// 5120 -> 34816 in tiles of 32 rows: 85 us at 32 tokens, 61 at 64).
int64_t RowsOfBoxes(int64_t tokens) {
  for (const int64_t box : {8, 16, 64, 128})
    if (tokens <= box) return box;
  return RoundUp(tokens, 256);
}

}  // namespace

XLayout LayOutX(const XRecipe& recipe, int64_t tokens, int64_t columns, bool tight) {
  XLayout x;
  x.blocks = recipe.kind == XKind::kGroup ? BlockCount(recipe, columns) : 1;
  x.pitch = recipe.kind == XKind::kGroup ? RoundUp(x.blocks * recipe.group, kBlock)
                                         : RoundUp(columns, kBlock);
  x.scale_stride = tight ? tokens : RoundUp(tokens, 128);
  x.rows = RowsOfBoxes(tokens);
  x.scales = static_cast<size_t>(RoundUp(x.rows * x.pitch, 256));
  x.bytes = x.scales + static_cast<size_t>(x.blocks * x.scale_stride) * sizeof(float);
  return x;
}

LinearStatus ForEachStep(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target,
                         LinearStatus (*take)(const GpuStep& step, void* context), void* context) {
  const PlanFor plan(target.room);
  return Walk(group, choice, target, take, context).Run();
}

}  // namespace ferrule
