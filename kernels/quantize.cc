// SPDX-License-Identifier: Apache-2.0
#include "kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/fp8.h"

namespace ferrule {
namespace {

constexpr uint16_t kMaxFinite = 0x7F7F;

uint16_t Amax(const uint16_t* x, int64_t n) {
  uint16_t amax = 0;  // without the sign, BF16 bits order like the values, NaN above Inf
  for (int64_t i = 0; i < n; ++i) amax = std::max(amax, static_cast<uint16_t>(x[i] & 0x7FFF));
  return amax;
}

void Encode(const uint16_t* x, int64_t n, float scale, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    // An Inf is not clamped: it, a NaN and everything over a NaN scale become the NaN code.
    const bool finite = (x[i] & 0x7FFF) <= kMaxFinite;
    const float quotient = Bf16ToFloat(x[i]) / scale;
    codes[i] = finite ? FloatToE4m3(std::clamp(quotient, -kE4m3Max, kE4m3Max)) : kE4m3Nan;
  }
}

void Decode(const uint8_t* codes, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = E4m3ToFloat(codes[i]);
}

void Widen(const uint16_t* x, int64_t n, float* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = Bf16ToFloat(x[i]);
}

}  // namespace

const QuantizeLoops& PlainQuantize() {
  static constexpr QuantizeLoops kLoops{Amax, Encode, Decode, Widen};
  return kLoops;
}

XRecipe RecipeOf(const LinearSegment& segment) {
  XRecipe recipe;
  if (segment.scheme == LinearScheme::kBf16) return recipe;
  if (segment.scheme == LinearScheme::kFp8Block) {
    recipe.kind = XKind::kGroup;
    recipe.group = segment.block_k;
    recipe.phase = segment.k_phase;
    recipe.ue8m0 = segment.ue8m0;
  } else if (segment.input_scale != nullptr) {
    recipe.kind = XKind::kStatic;
    recipe.static_scale = segment.input_scale;
  } else {
    recipe.kind = XKind::kToken;
    recipe.ue8m0 = segment.ue8m0;
  }
  return recipe;
}

int64_t BlockCount(const XRecipe& recipe, int64_t columns) {
  return (columns + recipe.phase + recipe.group - 1) / recipe.group;
}

int64_t BlockBegin(const XRecipe& recipe, int64_t block) {
  return std::max<int64_t>(0, block * recipe.group - recipe.phase);
}

int64_t BlockEnd(const XRecipe& recipe, int64_t block, int64_t columns) {
  return std::min(columns, (block + 1) * recipe.group - recipe.phase);
}

float ScaleOf(uint16_t amax, bool ue8m0) {
  if (amax > kMaxFinite) return std::numeric_limits<float>::quiet_NaN();
  const float scale = std::max(Bf16ToFloat(amax), 1e-10f) / kE4m3Max;
  if (!ue8m0) return scale;
  // Never subnormal (>= 1e-10 / 448): a mantissa that is not zero means the next power of two.
  const uint32_t bits = std::bit_cast<uint32_t>(scale);
  return std::bit_cast<float>((bits + 0x7FFFFF) & 0x7F800000);
}

bool QuantizeRow(const QuantizeLoops& loops, const XRecipe& recipe, const uint16_t* x,
                 int64_t columns, uint8_t* codes, float* scales) {
  if (recipe.kind != XKind::kGroup) {
    const uint16_t amax = loops.amax(x, columns);
    const bool fixed = recipe.kind == XKind::kStatic;
    scales[0] = fixed ? *recipe.static_scale : ScaleOf(amax, recipe.ue8m0);
    loops.encode(x, columns, scales[0], codes);
    return amax <= kMaxFinite;
  }
  bool finite = true;
  for (int64_t block = 0; block < BlockCount(recipe, columns); ++block) {
    const int64_t begin = BlockBegin(recipe, block);
    const int64_t count = BlockEnd(recipe, block, columns) - begin;
    const uint16_t amax = loops.amax(x + begin, count);
    scales[block] = ScaleOf(amax, recipe.ue8m0);
    loops.encode(x + begin, count, scales[block], codes + begin);
    finite = finite && amax <= kMaxFinite;
  }
  return finite;
}

}  // namespace ferrule
