// SPDX-License-Identifier: Apache-2.0
// The loops of kernels/quantize.h in AVX2 and F16C, equal to the plain ones in every bit. The
// target is an attribute of each function, never of the file: nothing that other files share may be
// compiled for it.
#include "kernels/quantize.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define FERRULE_AVX2 __attribute__((target("avx2,f16c")))

namespace ferrule {
namespace {

FERRULE_AVX2 uint16_t Amax(const uint16_t* x, int64_t n) {
  const __m256i magnitude = _mm256_set1_epi16(0x7FFF);
  __m256i largest = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
    largest = _mm256_max_epu16(largest, _mm256_and_si256(values, magnitude));
  }
  alignas(32) uint16_t lanes[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), largest);
  uint16_t amax = 0;
  for (const uint16_t lane : lanes) amax = std::max(amax, lane);
  for (; i < n; ++i) amax = std::max(amax, static_cast<uint16_t>(x[i] & 0x7FFF));
  return amax;
}

FERRULE_AVX2 inline __m256 Widen8(const uint16_t* x) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

FERRULE_AVX2 inline void Encode8(const uint16_t* x, __m256 scale, uint8_t* codes) {
  const __m256 value = Widen8(x);
  const __m256 quotient = _mm256_div_ps(value, scale);
  const __m256 sign_mask = _mm256_set1_ps(-0.0f);
  // min gives 448 for a quotient that is not a number; such lanes are replaced below.
  const __m256 a = _mm256_min_ps(_mm256_andnot_ps(sign_mask, quotient), _mm256_set1_ps(448.0f));
  const __m256i bits = _mm256_castps_si256(a);
  // Normal: round 23 mantissa bits to 3, ties to even, rebias. Subnormal: an addition whose last
  // place is 2^-9 rounds. As in FloatToE4m3.
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFFF)), odd);
  const __m256i normal =
      _mm256_sub_epi32(_mm256_srli_epi32(rounded, 20), _mm256_set1_epi32(120 << 3));
  const __m256 sum = _mm256_add_ps(a, _mm256_set1_ps(16384.0f));
  const __m256i subnormal = _mm256_and_si256(_mm256_castps_si256(sum), _mm256_set1_epi32(0xF));
  const __m256i is_small =
      _mm256_castps_si256(_mm256_cmp_ps(a, _mm256_set1_ps(0x1p-6f), _CMP_LT_OQ));
  const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(quotient), 24),
                                        _mm256_set1_epi32(0x80));
  __m256i code = _mm256_or_si256(_mm256_blendv_epi8(normal, subnormal, is_small), sign);
  // Not finite: x - x is NaN for Inf and NaN, and so is a NaN quotient of a finite x.
  const __m256 bad = _mm256_cmp_ps(_mm256_sub_ps(value, value), quotient, _CMP_UNORD_Q);
  code = _mm256_blendv_epi8(code, _mm256_set1_epi32(0x7F), _mm256_castps_si256(bad));
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(codes), _mm_packus_epi16(words, words));
}

FERRULE_AVX2 void Encode(const uint16_t* x, int64_t n, float scale, uint8_t* codes) {
  const __m256 scales = _mm256_set1_ps(scale);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Encode8(x + i, scales, codes + i);
  if (i == n) return;
  uint16_t rest[8] = {};
  uint8_t result[8];
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * 2);
  Encode8(rest, scales, result);
  std::memcpy(codes + i, result, static_cast<size_t>(n - i));
}

FERRULE_AVX2 inline void Decode8(const uint8_t* codes, float* values) {
  // The seven low bits of E4M3 moved to the exponent and mantissa of an F16 are the value / 256.
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
  const __m128i half =
      _mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(bytes), 7), _mm_set1_epi16(-0x4001));
  const __m256 value = _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), value);
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
  const __m256 is_nan = _mm256_cmp_ps(magnitude, _mm256_set1_ps(480.0f), _CMP_EQ_OQ);
  _mm256_storeu_ps(values, _mm256_blendv_ps(value, nan, is_nan));
}

FERRULE_AVX2 void Decode(const uint8_t* codes, int64_t n, float* values) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Decode8(codes + i, values + i);
  if (i == n) return;
  uint8_t rest[8] = {};
  float result[8];
  std::memcpy(rest, codes + i, static_cast<size_t>(n - i));
  Decode8(rest, result);
  std::memcpy(values + i, result, static_cast<size_t>(n - i) * 4);
}

FERRULE_AVX2 void Widen(const uint16_t* x, int64_t n, float* values) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(values + i, Widen8(x + i));
  if (i == n) return;
  uint16_t rest[8] = {};
  float result[8];
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * 2);
  _mm256_storeu_ps(result, Widen8(rest));
  std::memcpy(values + i, result, static_cast<size_t>(n - i) * 4);
}

}  // namespace

const QuantizeLoops* Avx2Quantize() {
  static constexpr QuantizeLoops kLoops{Amax, Encode, Decode, Widen};
  return &kLoops;
}

}  // namespace ferrule

#else

namespace ferrule {
const QuantizeLoops* Avx2Quantize() { return nullptr; }
}  // namespace ferrule

#endif
