// SPDX-License-Identifier: Apache-2.0
// The activation quantizer: BF16 x → E4M3 codes and float32 scales.
//
//   sx = max(amax, 1e-10) / 448   float32, IEEE division; amax over the group's columns held here
//
//   sx = 2^ceil(log2(sx))   only with ue8m0
//
//   xq = E4M3(clamp(x / sx, ±448))   x / sx in float32, nearest even
//
// A group is the whole row (kToken), or one of the blocks of `group` columns of the WHOLE row, of
// which the row held here begins `phase` columns inside a block (kGroup): columns 0 … group-phase-1
// are the first group. kStatic takes the caller's one scale as it is.
// A group that holds a NaN or an Inf gets the scale NaN and codes 0x7F (kStatic: the codes alone),
// so that y of its token is NaN and of no other.
#pragma once

#include <cstdint>

#include "kernels/linear.h"

namespace ferrule {

enum class XKind : uint8_t { kPlain, kGroup, kToken, kStatic };  // kPlain: stays BF16

// How one segment wants its x. Segments that want the same share one quantized x.
struct XRecipe {
  XKind kind = XKind::kPlain;
  int32_t group = 128;  // columns of a block; for the other kinds only how the CPU path walks
  int32_t phase = 0;
  bool ue8m0 = false;
  const float* static_scale = nullptr;
  bool operator==(const XRecipe&) const = default;
};

XRecipe RecipeOf(const LinearSegment& segment);

// Number of blocks `columns` columns touch; first column and end of block `b` in the row held here.
int64_t BlockCount(const XRecipe& recipe, int64_t columns);
int64_t BlockBegin(const XRecipe& recipe, int64_t block);
int64_t BlockEnd(const XRecipe& recipe, int64_t block, int64_t columns);

// The inner loops, plain and vectorised, which agree in every bit. `n` >= 1 values each.
struct QuantizeLoops {
  uint16_t (*amax)(const uint16_t* x, int64_t n);  // largest |x| as BF16 bits; > 0x7F7F: not finite
  void (*encode)(const uint16_t* x, int64_t n, float scale, uint8_t* codes);
  void (*decode)(const uint8_t* codes, int64_t n, float* values);
  void (*widen)(const uint16_t* x, int64_t n, float* values);
};
const QuantizeLoops& PlainQuantize();
const QuantizeLoops* Avx2Quantize();  // null when not compiled in; needs AVX2 and F16C to be called

// The scale of a group whose largest |x| is `amax`.
float ScaleOf(uint16_t amax, bool ue8m0);

// One token. x: [columns] BF16. codes: [columns]. scales: [BlockCount] for kGroup, else [1]. Not
// for kPlain. False when x holds a NaN or an Inf.
bool QuantizeRow(const QuantizeLoops& loops, const XRecipe& recipe, const uint16_t* x,
                 int64_t columns, uint8_t* codes, float* scales);

}  // namespace ferrule
