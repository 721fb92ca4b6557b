// SPDX-License-Identifier: Apache-2.0
#include "kernels/lt_shape.h"

#include "kernels/gpu_steps.h"

namespace ferrule {
namespace {

bool Aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

const char* LtRefuses(const LinearGroup& group, const LinearSegment& s, LtShape* shape) {
  const bool fp8 = s.scheme != LinearScheme::kBf16;
  if (!fp8 && s.weight_type != LinearWeight::kBf16) return "its weight is not BF16";
  if (s.bias != nullptr) return "it adds no float32 bias to BF16 outputs";
  const int64_t element = fp8 ? 1 : 2, output = s.y_type == LinearOutput::kF32 ? 4 : 2;
  if (!Aligned(s.weight) || s.weight_stride * element % 16 != 0)
    return "its rows are no multiple of 16 bytes apart";
  if (!Aligned(s.y) || s.y_stride * output % 16 != 0)
    return "its outputs are no multiple of 16 bytes apart";
  if (fp8 && group.in % 16 != 0) return "its columns are no multiple of 16";
  if (!fp8 && (!Aligned(group.x) || group.x_stride % 8 != 0))
    return "x is not aligned to 16, or its rows are not";
  *shape = {LtScales::kNone, s.y_type,        s.rows,         group.tokens,
            group.in,        s.weight_stride, group.x_stride, s.y_stride};
  if (!fp8) return nullptr;
  shape->x_stride = LayOutX(RecipeOf(s), group.tokens, group.in).pitch;
  if (s.scheme == LinearScheme::kFp8Block) {
    if (s.block_n != kBlock || s.block_k != kBlock) return "its blocks are not 128 × 128";
    if (s.n_phase != 0 || s.k_phase != 0) return "it begins inside a scale block";
    if (group.tokens % 4 != 0) return "tokens are not in fours";
    // Scales of x lie M to a block without gaps, scales of W ceil(K / 128) to a block row.
    if (s.scale_stride != (group.in + kBlock - 1) / kBlock) return "its scale rows have gaps";
    if (s.scale_stride % 4 != 0) return "its blocks of K are not in fours";
    if (!Aligned(s.scale)) return "its scales are not aligned to 16";
    shape->scales = LtScales::kBlocks;
  } else if (s.scheme == LinearScheme::kFp8Tensor && s.input_scale != nullptr) {
    shape->scales = LtScales::kScalar;
  } else {
    if (s.scheme == LinearScheme::kFp8Channel && s.scale_stride > 1) return "its scales have gaps";
    if (s.input_scale != nullptr) return "one scale of x and one for each row of W";
    shape->scales = LtScales::kOuter;
  }
  return nullptr;
}

const char* LtLacks(LtScales scales, int sm) {
  if (scales == LtScales::kNone || sm == 90) return nullptr;
  if (sm < 89) return "the GPU does not multiply FP8";
  switch (scales) {
    case LtScales::kOuter:
      return "it has scales of rows and tokens on Hopper alone";
    case LtScales::kBlocks:
      return "it has scales of blocks on Hopper alone";
    case LtScales::kScalar:
    case LtScales::kNone:
      break;
  }
  return nullptr;
}

size_t LtScaleBytes(const LinearSegment& s, const LtShape& shape) {
  if (shape.scales != LtScales::kOuter || s.scheme != LinearScheme::kFp8Tensor) return 0;
  return (static_cast<size_t>(shape.rows) * sizeof(float) + 255) / 256 * 256;
}

}  // namespace ferrule
