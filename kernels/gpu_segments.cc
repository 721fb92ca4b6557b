// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_segments.h"

#include <algorithm>

#include "kernels/gpu_table.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

// FP8 with one scale of x a token. Where mma.sync does it cuBLASLt is the faster one from more
// tokens on: measured on H200 over 4096 × 4096, 12288 × 2048 and 34816 × 5120.
constexpr int64_t kLtFp8Tokens = 16;
// On Hopper from so many outputs of a segment on. Measured on H200, 2026-11-30, in our kernels and
// there: 4096 -> 4096 14.5 us and 16.8 at 256 tokens, 20.1 and 17.9
// at 512; 14336 -> 4096 32.6 and 52.0, 58.2 and 52.7; 4096 -> 1024 15.1 and 18.3 at 1024, 23.8 and
// 19.6 at 2048; 4096 -> 28672 34.3 and 44.2 at 64, 42.5 and 40.3 at 128. Of several such segments,
// most often one launch of ours, twice as many.
constexpr int64_t kLtFp8Work = 1 << 21;
// BF16 alone with more than 32 tokens, tokens × rows: measured on H200 for 64 to 16384 rows of 2048
// columns, 256 and 2048 of 7168. 1024 rows took 5.6 us in kLarge and 6.1 in cuBLASLt at 256 tokens,
// 7.3 and 6.1 at 512.
constexpr int64_t kLtBf16Work = 1 << 18;
// With 17 tokens and more where K is short and rows are many: at 32 tokens 2048 -> 4096 took 6.8 us
// in cuBLASLt and 7.2 in kSmall, 16384 rows 18.7 and 19.2; 4096 -> 4096 took 13.8 and 11.6, with 16
// tokens 2048 -> 16384 18.4 and 18.0 (H200, 2026-11-30).
constexpr int64_t kLtBf16Tokens = 16, kLtBf16Rows = 4096, kLtBf16Columns = 2048;

bool Aligned(const void* pointer, uintptr_t to) {
  return reinterpret_cast<uintptr_t>(pointer) % to == 0;
}

// Of the largest quantized x.
size_t BytesOfX(const LinearGroup& group) {
  size_t bytes = 0;
  for (int32_t i = 0; i < group.segment_count; ++i) {
    const XRecipe recipe = RecipeOf(group.segments[i]);
    if (group.segments[i].rows == 0 || recipe.kind == XKind::kPlain) continue;
    bytes = std::max(bytes, LayOutX(recipe, group.tokens, group.in).bytes);
  }
  return bytes;
}

size_t Together(const LinearGroup& group, size_t behind) {
  return behind == 0 ? BytesOfX(group) : EndOfX(group) + behind;
}

// Whether the rules have cuBLASLt for a segment, all else being well.
bool ShouldBeLts(const LinearGroup& group, int32_t i, const GpuChoice& choice, int sm) {
  const LinearSegment& s = group.segments[i];
  if (s.rows == 0 || group.tokens == 0) return false;
  if (choice.kernel != GpuKernel::kAny) return choice.kernel == GpuKernel::kLt;
  if (s.scheme == LinearScheme::kFp8Block) {
    if (group.segment_count > 1 || sm != kHopper) return false;
    // Of shapes that were not measured as many would be slower there as faster.
    GpuChoice measured;
    return LookUpGpu(s.rows, group.in, group.tokens, &measured) > 0 &&
           measured.kernel == GpuKernel::kLt;
  }
  if (!IsBf16(s) && (sm != kHopper || SlowReason(group, s) != nullptr))
    return group.tokens > kLtFp8Tokens;
  if (!IsBf16(s)) {
    const auto alike = [&](const LinearSegment& other) {
      return other.rows > 0 && !IsBf16(other) && !ScalesOfBlocks(other);
    };
    const auto count = std::count_if(group.segments, group.segments + group.segment_count, alike);
    return group.tokens * s.rows >= (count > 1 ? 2 : 1) * kLtFp8Work;
  }
  if (sm != kHopper) return group.tokens > kSmallTokens;
  int64_t bf16_rows = 0;
  bool fp8 = false;
  for (int32_t j = 0; j < group.segment_count; ++j) {
    fp8 = fp8 || group.segments[j].scheme == LinearScheme::kFp8Block;
    if (IsBf16(group.segments[j])) bf16_rows += group.segments[j].rows;
  }
  // Beside block scales BF16 goes in their launches, unless it is much work.
  if (fp8) return Apart(group, bf16_rows);
  if (group.in <= kLtBf16Columns && s.rows >= kLtBf16Rows) return group.tokens > kLtBf16Tokens;
  return group.tokens > kSmallTokens && group.tokens * s.rows > kLtBf16Work;
}

}  // namespace

bool XAligned(const LinearGroup& group) { return Aligned(group.x, 16) && group.x_stride % 8 == 0; }

// Measured on H200, in one launch and in two: 2048 -> 1024 beside 4096 in BF16 43.5 us against 46.5
// at 1024 tokens, 81 both at 2048; 7168 -> 4096 beside 2048 54 both at 512, 108 against 103 at
// 1024.
bool Apart(const LinearGroup& group, int64_t bf16_rows) {
  return group.tokens > kBlock &&
         static_cast<double>(group.tokens) * static_cast<double>(bf16_rows * group.in) >= 10e9;
}

const char* SlowReason(const LinearGroup& group, const LinearSegment& s) {
  if (IsBf16(s)) {
    if (s.weight_type != LinearWeight::kBf16) return "its weight is not BF16";
    if (!Aligned(s.weight, 16)) return "its weight is not aligned to 16";
    if (s.weight_stride % 8 != 0) return "its rows are no multiple of 16 bytes apart";
    if (!XAligned(group)) return "x is not aligned to 16, or its rows are not";
    return nullptr;
  }
  const bool blocks = ScalesOfBlocks(s);
  if (!blocks && group.batch_invariant)
    return "batch_invariant: only block scales have a fast kernel";
  if (s.scheme == LinearScheme::kFp8Channel && s.scale_stride > 1) return "its scales have gaps";
  if (blocks && (s.block_n != kBlock || s.block_k != kBlock)) return "its blocks are not 128 × 128";
  // TMA boxes begin at multiples of 16 bytes; else the kernel ends in an illegal instruction.
  if (blocks && s.k_phase % 16 != 0) return "its k_phase is no multiple of 16";
  if (!Aligned(s.weight, 16)) return "its weight is not aligned to 16";
  if (s.weight_stride % 16 != 0) return "its rows are no multiple of 16 bytes apart";
  return nullptr;
}

const char* MmaReason(const LinearGroup& group, const LinearSegment& s) {
  if (s.scheme == LinearScheme::kFp8Block || s.scheme == LinearScheme::kBf16)
    return SlowReason(group, s);
  if (!Aligned(s.weight, 16)) return "its weight is not aligned to 16";
  if (s.weight_stride % 16 != 0) return "its rows are no multiple of 16 bytes apart";
  return nullptr;
}

int FirstRow(const LinearSegment& s, int grid) {
  return s.scheme == LinearScheme::kFp8Block ? -(s.n_phase % grid) : 0;
}

int TileCount(const LinearSegment& s, int tile_rows) {
  return static_cast<int>(DivideUp(s.rows - FirstRow(s, std::min(tile_rows, kBlock)), tile_rows));
}

int LargeTileCount(const LinearSegment& s, int tile_rows) {
  return static_cast<int>(DivideUp(s.rows - FirstRow(s, kBlock), tile_rows));
}

bool WantsLt(const LinearGroup& group, int32_t i, const GpuChoice& choice, int sm, LtShape* shape) {
  return !group.batch_invariant && ShouldBeLts(group, i, choice, sm) &&
         LtRefuses(group, group.segments[i], shape) == nullptr;
}

const char* NotLt(const LinearGroup& group, int32_t i, const GpuChoice& choice,
                  const GpuTarget& target) {
  LtShape shape;
  size_t workspace = 0;
  if (!ShouldBeLts(group, i, choice, target.sm)) return nullptr;
  if (group.batch_invariant) return "the order of its sums changes with the tokens";
  const char* refuses = LtRefuses(group, group.segments[i], &shape);
  if (refuses != nullptr) return refuses;
  if (target.lt_ready != nullptr && target.lt_ready(shape, &workspace)) return nullptr;
  const char* lacks = LtLacks(shape.scales, target.sm);
  return lacks != nullptr ? lacks : "it was not prepared";
}

size_t EndOfX(const LinearGroup& group) {
  return (BytesOfX(group) + kGpuAlignment - 1) / kGpuAlignment * kGpuAlignment;
}

size_t WorkspaceBehindX(const LinearGroup& group, const GpuChoice& choice,
                        const GpuTarget& target) {
  size_t most = 0;
  for (int32_t i = 0; i < group.segment_count && target.lt_ready != nullptr; ++i) {
    LtShape shape;
    size_t bytes = 0;
    if (WantsLt(group, i, choice, target.sm, &shape) && target.lt_ready(shape, &bytes))
      most = std::max(most, bytes + LtScaleBytes(group.segments[i], shape));
  }
  return most;
}

size_t WorkspaceNow(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target) {
  return Together(group, WorkspaceBehindX(group, choice, target));
}

// Whether cuBLASLt is wanted depends on the tokens and is not asked: what was prepared counts.
size_t WorkspaceUpTo(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target) {
  size_t behind = 0;
  const bool lt = target.lt_most != nullptr && !group.batch_invariant &&
                  (choice.kernel == GpuKernel::kAny || choice.kernel == GpuKernel::kLt);
  // Of blocks there are products of tokens in fours alone.
  for (const int64_t less : {int64_t{0}, group.tokens % 4}) {
    LinearGroup fewer = group;
    fewer.tokens -= less;
    for (int32_t i = 0; i < group.segment_count && lt; ++i) {
      LtShape shape;
      const LinearSegment& s = group.segments[i];
      if (LtRefuses(fewer, s, &shape) == nullptr)
        behind = std::max(behind, target.lt_most(shape) + LtScaleBytes(s, shape));
    }
  }
  return Together(group, behind);
}

}  // namespace ferrule
