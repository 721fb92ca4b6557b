// SPDX-License-Identifier: Apache-2.0
// What cuBLASLt may run of a group: y = x · Wᵀ of one segment as one matrix product. Plain
// arithmetic, no CUDA; kernels/lt_linear.h runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>

#include "kernels/linear.h"

namespace ferrule {

enum class LtScales : uint8_t {
  kNone,    // BF16
  kScalar,  // one for W, one for x
  kOuter,   // one for each row of W, one for each token
  kBlocks,  // 128 × 128 of W, 128 columns of a token
};

// All that an algorithm is chosen by. Strides in elements; x is the quantized one for FP8.
struct LtShape {
  LtScales scales = LtScales::kNone;
  LinearOutput y_type = LinearOutput::kBf16;
  int64_t rows = 0, tokens = 0, in = 0;
  int64_t w_stride = 0, x_stride = 0, y_stride = 0;
  bool operator<(const LtShape& other) const { return Key() < other.Key(); }

  // Whether it is the product `of` with as many tokens or fewer.
  bool IsUpTo(const LtShape& of) const {
    LtShape same = of;
    same.tokens = tokens;
    return tokens <= of.tokens && Key() == same.Key();
  }

 private:
  std::tuple<LtScales, LinearOutput, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t> Key()
      const {
    return {scales, y_type, rows, tokens, in, w_stride, x_stride, y_stride};
  }
};

// Null and the shape, or why cuBLASLt does not take the segment.
const char* LtRefuses(const LinearGroup& group, const LinearSegment& segment, LtShape* shape);

// Null where cuBLASLt has products with such scales on a GPU of compute capability `sm` (89 for
// 8.9), or why not: what its versions 12.9 to 13.1 have. For GPUs that are not there; of the one
// that is, LtPrepare (kernels/lt_linear.h) asks cuBLASLt itself.
const char* LtLacks(LtScales scales, int sm);

// Bytes of the vector of equal scales that kOuter needs for a per-tensor scale, else 0.
size_t LtScaleBytes(const LinearSegment& segment, const LtShape& shape);

}  // namespace ferrule
