// SPDX-License-Identifier: Apache-2.0
// The strip in AVX2, FMA and F16C.
//
// Weights are read once for all tokens. Up to 4 tokens they are decoded in registers, 16 columns at
// a time, and multiplied at once; for more, a piece of 4 rows is decoded into a buffer that stays
// in the first cache. Either way one (row, token) has one accumulator of 8 lanes for a block and
// one for the whole row, added to in the same order: results do not depend on which way was taken.
//
// E4M3: moved to the places of an F16, the code is the value / 256, subnormals included, and F16C
// widens it regardless of the subnormal flags of the CPU. Only the NaN code comes out as a number:
// a running maximum notices it, and such (rare, broken) rows are looked through again.
#include "kernels/cpu_linear.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#define FERRULE_AVX2 __attribute__((target("avx2,fma,f16c")))
#define FERRULE_AVX2_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) inline

namespace ferrule {
namespace {

static_assert(kPad == 16, "weights are decoded in pieces of 16 columns");
constexpr int kBufferRows = 4;
constexpr int64_t kBufferColumns = 1024;  // 16 KiB of decoded weights: half of a first cache
constexpr int64_t kChunkBytes = 16384;    // of x, walked over by many rows before the next chunk

struct Pair {
  __m256 low, high;  // columns 0-7 and 8-15
};

// Weight types: 16 columns from `p` as two vectors. `seen` gathers what may be a NaN code.
struct E4m3 {
  static constexpr int kBytes = 1;
  static constexpr float kFactor = 256;
  FERRULE_AVX2_INLINE static Pair Load(const uint8_t* p, __m256i& seen) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);
    seen = _mm256_max_epu16(seen, _mm256_and_si256(moved, _mm256_set1_epi16(0x3FFF)));
    const __m256i half = _mm256_and_si256(moved, _mm256_set1_epi16(-0x4001));
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
            _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
  }
};

struct Bf16 {
  static constexpr int kBytes = 2;
  static constexpr float kFactor = 1;
  FERRULE_AVX2_INLINE static Pair Load(const uint8_t* p, __m256i&) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(low), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(high), 16))};
  }
};

struct F16 {
  static constexpr int kBytes = 2;
  static constexpr float kFactor = 1;
  FERRULE_AVX2_INLINE static Pair Load(const uint8_t* p, __m256i&) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16)))};
  }
};

struct F32 {
  static constexpr int kBytes = 4;
  static constexpr float kFactor = 1;
  FERRULE_AVX2_INLINE static Pair Load(const uint8_t* p, __m256i&) {
    return {_mm256_loadu_ps(reinterpret_cast<const float*>(p)),
            _mm256_loadu_ps(reinterpret_cast<const float*>(p + 32))};
  }
};

FERRULE_AVX2_INLINE float Sum(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

int64_t Begin(const Strip& s, int64_t block) {
  return block == 0 ? 0 : s.first + (block - 1) * s.block;
}
int64_t Count(const Strip& s, int64_t block) {
  return std::min(s.columns, s.first + block * s.block) - Begin(s, block);
}

// acc[r * T + t] += 16 columns of R rows times T tokens.
template <typename W, int R, int T>
FERRULE_AVX2_INLINE void Step(const uint8_t* w, int64_t row_bytes, const float* x, int64_t width,
                              __m256 (&acc)[R * T], __m256i& seen) {
  Pair weights[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) weights[r] = W::Load(w + r * row_bytes, seen);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const __m256 low = _mm256_loadu_ps(x + t * width);
    const __m256 high = _mm256_loadu_ps(x + t * width + 8);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      acc[r * T + t] = _mm256_fmadd_ps(weights[r].low, low, acc[r * T + t]);
      acc[r * T + t] = _mm256_fmadd_ps(weights[r].high, high, acc[r * T + t]);
    }
  }
}

// total[r * stride + t] += factor · sx · sw · acc of one block.
template <typename W, int R, int T>
FERRULE_AVX2_INLINE void AddBlock(const Strip& s, int64_t block, int row, int token,
                                  const __m256 (&acc)[R * T], __m256* total, int stride) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const float scale =
          s.sx == nullptr ? 1.0f : s.sx[(token + t) * s.blocks + block] * s.sw[row + r][block];
      const __m256 part = _mm256_mul_ps(acc[r * T + t], _mm256_set1_ps(W::kFactor));
      __m256& sum = total[r * stride + t];
      sum = _mm256_fmadd_ps(part, _mm256_set1_ps(scale), sum);
    }
  }
}

// Asks for the same columns of the next R rows. A chunk is a short piece of each row, and what the
// processor fetches ahead by itself ends with the piece. Beyond the last row nothing happens.
template <int R>
FERRULE_AVX2_INLINE void Ahead(const uint8_t* w, int64_t row_bytes, int64_t bytes) {
  for (int r = R; r < 2 * R; ++r)
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(w + r * row_bytes + at);
}

// Blocks [begin, end) for R rows from `row` and T tokens from `token`, decoded on the way.
template <typename W, int R, int T>
FERRULE_AVX2 void DirectRows(const Strip& s, int row, int token, int64_t begin, int64_t end,
                             __m256* total, __m256i& seen_out) {
  const uint8_t* rows = s.weight + row * s.row_bytes;
  __m256i seen = seen_out;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t count = Count(s, b);
    const uint8_t* w = rows + Begin(s, b) * W::kBytes;
    const float* x = s.x + (b * s.tokens + token) * s.width;
    Ahead<R>(w, s.row_bytes, count * W::kBytes);
    __m256 acc[R * T];
#pragma GCC unroll 16
    for (int i = 0; i < R * T; ++i) acc[i] = _mm256_setzero_ps();
    int64_t k = 0;
    for (; k + kPad <= count; k += kPad)
      Step<W, R, T>(w + k * W::kBytes, s.row_bytes, x + k, s.width, acc, seen);
    if (k < count) {
      alignas(32) uint8_t rest[R * kPad * W::kBytes] = {};
      for (int r = 0; r < R; ++r)
        std::memcpy(rest + r * kPad * W::kBytes, w + r * s.row_bytes + k * W::kBytes,
                    static_cast<size_t>((count - k) * W::kBytes));
      Step<W, R, T>(rest, kPad * W::kBytes, x + k, s.width, acc, seen);
    }
    AddBlock<W, R, T>(s, b, row, token, acc, total + row * T, T);
  }
  seen_out = seen;
}

template <typename W, int R, int T>
FERRULE_AVX2 void Direct(const Strip& s, int token, __m256i& seen) {
  __m256 total[kStripRows * T];
  for (__m256& sum : total) sum = _mm256_setzero_ps();
  const int64_t chunk = std::max<int64_t>(1, kChunkBytes / (T * s.width * 4));
  for (int64_t b = 0; b < s.blocks; b += chunk) {
    const int64_t end = std::min(s.blocks, b + chunk);
    int row = 0;
    for (; row + R <= s.rows; row += R) DirectRows<W, R, T>(s, row, token, b, end, total, seen);
    for (; row < s.rows; ++row) DirectRows<W, 1, T>(s, row, token, b, end, total, seen);
  }
  for (int r = 0; r < s.rows; ++r)
    for (int t = 0; t < T; ++t) s.sum[r * s.tokens + token + t] = Sum(total[r * T + t]);
}

template <typename W>
FERRULE_AVX2 void DirectTokens(const Strip& s, __m256i& seen) {
  for (int token = 0; token < s.tokens; token += 4) {
    switch (s.tokens - token) {
      case 1:
        Direct<W, 4, 1>(s, token, seen);
        break;
      case 2:
        Direct<W, 4, 2>(s, token, seen);
        break;
      case 3:
        Direct<W, 2, 3>(s, token, seen);
        break;
      default:
        Direct<W, 2, 4>(s, token, seen);
    }
  }
}

// One block of 4 rows, decoded: [row][column], padded with zeros to kPad.
using Buffer = float[kBufferRows * kBufferColumns];

template <typename W>
FERRULE_AVX2_INLINE void DecodeBlock(const Strip& s, int row, int64_t block, float* buffer,
                                     __m256i& seen) {
  const int64_t count = Count(s, block);
  for (int r = 0; r < kBufferRows; ++r) {
    const int from = std::min(row + r, s.rows - 1);  // rows that are not there repeat the last one
    const uint8_t* w = s.weight + from * s.row_bytes + Begin(s, block) * W::kBytes;
    float* to = buffer + r * kBufferColumns;
    for (int64_t k = 0; k < count; k += kPad) {
      alignas(32) uint8_t rest[kPad * W::kBytes] = {};
      const uint8_t* piece = w + k * W::kBytes;
      if (count - k < kPad) {
        std::memcpy(rest, piece, static_cast<size_t>((count - k) * W::kBytes));
        piece = rest;
      }
      const Pair pair = W::Load(piece, seen);
      _mm256_store_ps(to + k, pair.low);
      _mm256_store_ps(to + k + 8, pair.high);
    }
  }
}

// One decoded block times T tokens. `total` has kTileTokens vectors a row.
template <typename W, int T>
FERRULE_AVX2_INLINE void BufferedBlock(const Strip& s, int64_t block, int row, int token,
                                       const float* buffer, __m256* total) {
  const int64_t padded = (Count(s, block) + kPad - 1) / kPad * kPad;
  const float* x = s.x + (block * s.tokens + token) * s.width;
  __m256 acc[kBufferRows * T];
#pragma GCC unroll 16
  for (__m256& a : acc) a = _mm256_setzero_ps();
  for (int64_t k = 0; k < padded; k += 8) {
    __m256 values[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) values[t] = _mm256_loadu_ps(x + t * s.width + k);
#pragma GCC unroll 8
    for (int r = 0; r < kBufferRows; ++r) {
      const __m256 weight = _mm256_load_ps(buffer + r * kBufferColumns + k);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        acc[r * T + t] = _mm256_fmadd_ps(weight, values[t], acc[r * T + t]);
    }
  }
  AddBlock<W, kBufferRows, T>(s, block, row, token, acc, total + token, kTileTokens);
}

template <typename W>
FERRULE_AVX2 void Buffered(const Strip& s, __m256i& seen_out) {
  alignas(32) Buffer buffer;
  __m256 total[kBufferRows * kTileTokens];
  __m256i seen = seen_out;
  for (int row = 0; row < s.rows; row += kBufferRows) {
    const int rows = std::min(kBufferRows, s.rows - row);
    for (__m256& sum : total) sum = _mm256_setzero_ps();
    for (int64_t b = 0; b < s.blocks; ++b) {
      DecodeBlock<W>(s, row, b, buffer, seen);
      int token = 0;
      for (; token + 3 <= s.tokens; token += 3)
        BufferedBlock<W, 3>(s, b, row, token, buffer, total);
      if (s.tokens - token == 2) BufferedBlock<W, 2>(s, b, row, token, buffer, total);
      if (s.tokens - token == 1) BufferedBlock<W, 1>(s, b, row, token, buffer, total);
    }
    for (int r = 0; r < rows; ++r)
      for (int t = 0; t < s.tokens; ++t)
        s.sum[(row + r) * s.tokens + t] = Sum(total[r * kTileTokens + t]);
  }
  seen_out = seen;
}

template <typename W>
FERRULE_AVX2 void RunAs(const Strip& s) {
  __m256i seen = _mm256_setzero_si256();
  if (s.tokens <= 4 || s.width > kBufferColumns) {
    DirectTokens<W>(s, seen);
  } else {
    Buffered<W>(s, seen);
  }
  if constexpr (W::kBytes == 1) {
    const __m256i nan = _mm256_cmpeq_epi16(seen, _mm256_set1_epi16(0x3F80));
    if (_mm256_testz_si256(nan, nan)) return;
    for (int r = 0; r < s.rows; ++r) {
      const uint8_t* row = s.weight + r * s.row_bytes;
      bool found = false;
      for (int64_t k = 0; k < s.columns; ++k) found = found || (row[k] & 0x7F) == 0x7F;
      if (found)
        std::fill_n(s.sum + r * s.tokens, s.tokens, std::numeric_limits<float>::quiet_NaN());
    }
  }
}

void RunStrip(const Strip& s) {
  switch (s.type) {
    case LinearWeight::kE4m3:
      return RunAs<E4m3>(s);
    case LinearWeight::kBf16:
      return RunAs<Bf16>(s);
    case LinearWeight::kF16:
      return RunAs<F16>(s);
    case LinearWeight::kF32:
      return RunAs<F32>(s);
  }
}

}  // namespace

const CpuKernel* Avx2Kernel() {
  static const CpuKernel kernel{*Avx2Quantize(), RunStrip};
  return &kernel;
}

}  // namespace ferrule

#else

namespace ferrule {
const CpuKernel* Avx2Kernel() { return nullptr; }
}  // namespace ferrule

#endif
