// SPDX-License-Identifier: Apache-2.0
// The specification: the law of kernels/linear.h read aloud, in double, one output at a time. Where
// threads share the rows of a token, each output is one thread's, from its first product to its
// rounding.
#include "kernels/reference.h"

#include <mutex>
#include <new>
#include <vector>

#include "kernels/fp8.h"
#include "kernels/linear.h"
#include "kernels/quantize.h"
#include "kernels/thread_pool.h"

namespace ferrule {
namespace {

// The scale of row `row` in column block `block`.
double WeightScale(const LinearSegment& s, int64_t row, int64_t block) {
  switch (s.scheme) {
    case LinearScheme::kBf16:
      return 1;
    case LinearScheme::kFp8Block:
      return s.scale[(row + s.n_phase) / s.block_n * s.scale_stride + block];
    case LinearScheme::kFp8Channel:
      return s.scale[row * (s.scale_stride == 0 ? 1 : s.scale_stride)];
    case LinearScheme::kFp8Tensor:
      return s.scale[0];
  }
  return 0;
}

void Store(const LinearSegment& s, int64_t token, int64_t row, double value) {
  const int64_t at = token * s.y_stride + row;
  const float rounded = static_cast<float>(value);
  if (s.y_type == LinearOutput::kF32) {
    static_cast<float*>(s.y)[at] = rounded;
  } else {
    static_cast<uint16_t*>(s.y)[at] = FloatToBf16(rounded);
  }
}

// One token as a segment sees it: values as they are multiplied, scales by block (at most one a
// column). Allocated before anything is written, so that a failure leaves y alone.
struct Token {
  explicit Token(size_t in) : x(in), codes(in), scales(in) {}
  std::vector<double> x;
  std::vector<uint8_t> codes;
  std::vector<float> scales;
};

// Σ x[k]·w[row,k] over the columns begin … end-1. The type of w is looked at once, not at each
// product.
double Sum(const Token& token, const LinearSegment& s, int64_t row, int64_t begin, int64_t end) {
  const auto sum = [&](const auto* weight, auto widen) {
    double products = 0;
    for (int64_t k = begin; k < end; ++k)
      products += token.x[static_cast<size_t>(k)] * widen(weight[row * s.weight_stride + k]);
    return products;
  };
  const auto* codes = static_cast<const uint8_t*>(s.weight);
  const auto* halves = static_cast<const uint16_t*>(s.weight);
  if (s.scheme != LinearScheme::kBf16)
    return sum(codes, [](uint8_t code) { return E4m3ToFloat(code); });
  if (s.weight_type == LinearWeight::kF32)
    return sum(static_cast<const float*>(s.weight), [](float value) { return value; });
  if (s.weight_type == LinearWeight::kF16)
    return sum(halves, [](uint16_t bits) { return F16ToFloat(bits); });
  return sum(halves, [](uint16_t bits) { return Bf16ToFloat(bits); });
}

void Prepare(const XRecipe& recipe, const uint16_t* x, int64_t in, Token* token) {
  token->scales[0] = 1;
  if (recipe.kind == XKind::kPlain) {
    for (int64_t k = 0; k < in; ++k) token->x[static_cast<size_t>(k)] = Bf16ToFloat(x[k]);
    return;
  }
  QuantizeRow(PlainQuantize(), recipe, x, in, token->codes.data(), token->scales.data());
  for (size_t k = 0; k < token->x.size(); ++k) token->x[k] = E4m3ToFloat(token->codes[k]);
}

// What the rows of a segment need for one token.
struct Rows {
  const LinearGroup& group;
  const LinearSegment& segment;
  const XRecipe recipe;
  const Token& token;
  int64_t m;  // the token's place in the group
};

void RunRow(void* context, int64_t n) {
  const Rows& rows = *static_cast<const Rows*>(context);
  const LinearSegment& s = rows.segment;
  const int64_t in = rows.group.in;
  const Token& token = rows.token;
  double y = 0;
  if (s.scheme == LinearScheme::kFp8Block) {
    for (int64_t b = 0; b < BlockCount(rows.recipe, in); ++b)
      y += Sum(token, s, n, BlockBegin(rows.recipe, b), BlockEnd(rows.recipe, b, in)) *
           token.scales[static_cast<size_t>(b)] * WeightScale(s, n, b);
  } else {
    y = Sum(token, s, n, 0, in) * (token.scales[0] * WeightScale(s, n, 0));
  }
  Store(s, rows.m, n, s.bias == nullptr ? y : y + s.bias[n]);
}

void RunSegment(const LinearGroup& g, const LinearSegment& s, Token* scratch, LinearPool* pool) {
  if (s.rows == 0) return;  // Validate does not look at what else it says
  Rows rows{g, s, RecipeOf(s), *scratch, 0};
  for (; rows.m < g.tokens; ++rows.m) {
    Prepare(rows.recipe, static_cast<const uint16_t*>(g.x) + rows.m * g.x_stride, g.in, scratch);
    RunTasks(pool, s.rows, RunRow, &rows);
  }
}

bool Finite(const uint16_t* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if ((x[i] & 0x7F80) == 0x7F80) return false;
  return true;
}

}  // namespace

LinearStatus LinearReference(const LinearGroup& group, LinearPool* pool) try {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  if (group.tokens == 0) {
    if (group.nonfinite_tokens != nullptr) *group.nonfinite_tokens = 0;
    return {};
  }
  Token scratch(static_cast<size_t>(group.in));
  int64_t nonfinite = 0;
  for (int64_t m = 0; m < group.tokens; ++m)
    nonfinite += !Finite(static_cast<const uint16_t*>(group.x) + m * group.x_stride, group.in);
  if (group.nonfinite_tokens != nullptr) *group.nonfinite_tokens = nonfinite;
  std::unique_lock<std::mutex> alone;
  if (pool != nullptr) alone = std::unique_lock(pool->impl().busy());
  for (int32_t i = 0; i < group.segment_count; ++i)
    RunSegment(group, group.segments[i], &scratch, pool);
  return {};
} catch (const std::bad_alloc&) {
  return {LinearCode::kNoMemory, -1, "out of memory"};
}

LinearStatus LinearReference(const LinearGroup& group) { return LinearReference(group, nullptr); }

}  // namespace ferrule
