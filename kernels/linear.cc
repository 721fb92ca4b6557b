// SPDX-License-Identifier: Apache-2.0
// Descriptor → what is wrong with it. Nothing here looks at data.
#include "kernels/linear.h"

#include "kernels/validate.h"

namespace ferrule {
namespace {

constexpr int64_t kMaxSize = 0x7FFFFFFF;  // of any count or stride: products stay within int64

LinearStatus Bad(LinearCode code, int32_t segment, const char* message) {
  return {code, segment, message};
}

bool Misaligned(const void* pointer, uintptr_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment != 0;
}

uintptr_t WeightSize(const LinearSegment& segment) {
  if (segment.scheme != LinearScheme::kBf16) return 1;
  return segment.weight_type == LinearWeight::kF32 ? 4 : 2;
}

LinearStatus CheckScales(const LinearSegment& s, int64_t in, int32_t i) {
  if (s.scale_stride < 0) return Bad(LinearCode::kBadSize, i, "scale_stride is negative");
  if (s.scale_stride > kMaxSize) return Bad(LinearCode::kTooLarge, i, "scale_stride is too large");
  if (s.scheme != LinearScheme::kFp8Block) {
    if (s.n_phase != 0 || s.k_phase != 0)
      return Bad(LinearCode::kUnsupported, i, "a phase is given but the scheme has no blocks");
    if (s.input_scale != nullptr && s.ue8m0)
      return Bad(LinearCode::kUnsupported, i, "ue8m0 with a static input_scale");
    return {};
  }
  if (s.input_scale != nullptr)
    return Bad(LinearCode::kUnsupported, i, "a static input_scale with block scales");
  if (s.block_n < 1 || s.block_k < 1)
    return Bad(LinearCode::kBadSize, i, "a block size is below 1");
  if (s.n_phase < 0 || s.n_phase >= s.block_n)
    return Bad(LinearCode::kBadSize, i, "n_phase is not inside its block");
  if (s.k_phase < 0 || s.k_phase >= s.block_k)
    return Bad(LinearCode::kBadSize, i, "k_phase is not inside its block");
  const int64_t scale_rows = (s.rows + s.n_phase + s.block_n - 1) / s.block_n;
  const int64_t scale_columns = (in + s.k_phase + s.block_k - 1) / s.block_k;
  if (scale_rows > 1 && s.scale_stride < scale_columns)
    return Bad(LinearCode::kBadSize, i, "scale_stride is smaller than a row of scales");
  return {};
}

LinearStatus CheckSegmentSizes(const LinearSegment& s, int64_t in, int32_t i) {
  if (s.scheme > LinearScheme::kFp8Tensor)
    return Bad(LinearCode::kUnsupported, i, "an unknown scheme");
  if (s.y_type > LinearOutput::kBf16)
    return Bad(LinearCode::kUnsupported, i, "an unknown output type");
  if (s.rows < 0) return Bad(LinearCode::kBadSize, i, "rows is negative");
  if (s.rows > kMaxSize) return Bad(LinearCode::kTooLarge, i, "rows is too large");
  if (s.rows == 0) return {};
  if (s.weight_stride < in)
    return Bad(LinearCode::kBadSize, i, "weight_stride is smaller than a row");
  if (s.weight_stride > kMaxSize)
    return Bad(LinearCode::kTooLarge, i, "weight_stride is too large");
  if (s.y_stride < s.rows) return Bad(LinearCode::kBadSize, i, "y_stride is smaller than rows");
  if (s.y_stride > kMaxSize) return Bad(LinearCode::kTooLarge, i, "y_stride is too large");
  if (s.scheme != LinearScheme::kBf16) return CheckScales(s, in, i);
  if (s.weight_type > LinearWeight::kF32)
    return Bad(LinearCode::kUnsupported, i, "E4M3 weights in a bf16 segment");
  return {};
}

LinearStatus CheckSegmentPointers(const LinearSegment& s, int32_t i) {
  if (s.rows == 0) return {};
  if (s.weight == nullptr) return Bad(LinearCode::kNull, i, "weight is null");
  if (Misaligned(s.weight, WeightSize(s)))
    return Bad(LinearCode::kMisaligned, i, "weight is not aligned to its element");
  if (s.y == nullptr) return Bad(LinearCode::kNull, i, "y is null");
  if (Misaligned(s.y, s.y_type == LinearOutput::kF32 ? 4 : 2))
    return Bad(LinearCode::kMisaligned, i, "y is not aligned to its element");
  if (Misaligned(s.bias, 4)) return Bad(LinearCode::kMisaligned, i, "bias is not aligned to 4");
  if (s.scheme == LinearScheme::kBf16) return {};
  if (s.scale == nullptr) return Bad(LinearCode::kNull, i, "scale is null");
  if (Misaligned(s.scale, 4)) return Bad(LinearCode::kMisaligned, i, "scale is not aligned to 4");
  if (Misaligned(s.input_scale, 4))
    return Bad(LinearCode::kMisaligned, i, "input_scale is not aligned to 4");
  return {};
}

}  // namespace

LinearStatus ValidateSizes(const LinearGroup& g) {
  if (g.tokens < 0) return Bad(LinearCode::kBadSize, -1, "tokens is negative");
  if (g.tokens > kMaxSize) return Bad(LinearCode::kTooLarge, -1, "tokens is too large");
  if (g.in < 1) return Bad(LinearCode::kBadSize, -1, "in is below 1");
  if (g.in > kMaxSize) return Bad(LinearCode::kTooLarge, -1, "in is too large");
  if (g.segment_count < 0) return Bad(LinearCode::kBadSize, -1, "segment_count is negative");
  if (g.segment_count > 0 && g.segments == nullptr)
    return Bad(LinearCode::kNull, -1, "segments is null");
  for (int32_t i = 0; i < g.segment_count; ++i) {
    const LinearStatus status = CheckSegmentSizes(g.segments[i], g.in, i);
    if (!status) return status;
  }
  return {};
}

LinearStatus Validate(const LinearGroup& g) {
  const LinearStatus sizes = ValidateSizes(g);
  if (!sizes || g.tokens == 0) return sizes;
  if (g.x_stride < g.in) return Bad(LinearCode::kBadSize, -1, "x_stride is smaller than in");
  if (g.x_stride > kMaxSize) return Bad(LinearCode::kTooLarge, -1, "x_stride is too large");
  if (g.x == nullptr) return Bad(LinearCode::kNull, -1, "x is null");
  if (Misaligned(g.x, 2)) return Bad(LinearCode::kMisaligned, -1, "x is not aligned to 2");
  if (Misaligned(g.nonfinite_tokens, 8))
    return Bad(LinearCode::kMisaligned, -1, "nonfinite_tokens is not aligned to 8");
  for (int32_t i = 0; i < g.segment_count; ++i) {
    const LinearStatus status = CheckSegmentPointers(g.segments[i], i);
    if (!status) return status;
  }
  return {};
}

}  // namespace ferrule
