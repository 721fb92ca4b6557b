// SPDX-License-Identifier: Apache-2.0
// Short texts eight or sixteen bytes at a time, without a call into the C library: dots of a path,
// copies, hashes. Never reads beyond the text.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ferrule {

template <typename T>
T LoadAs(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// `size` < 8 bytes as the low bytes of a word, the others 0.
inline uint64_t LoadTail(const char* p, size_t size) {
  if constexpr (std::endian::native != std::endian::little) {
    uint64_t word = 0;
    std::memcpy(&word, p, size);
    return word;
  }
  const auto byte = [&](size_t i) { return uint64_t{static_cast<uint8_t>(p[i])} << 8 * i; };
  if (size >= 4)  // two loads that overlap
    return LoadAs<uint32_t>(p) | uint64_t{LoadAs<uint32_t>(p + size - 4)} << 8 * (size - 4);
  return size == 0 ? 0 : byte(0) | byte(size / 2) | byte(size - 1);
}

// Copies `size` bytes, the first of `room` that may be read; may write up to 15 bytes more.
inline void CopyShort(char* to, const char* from, size_t size, size_t room) {
  size_t at = 0;
  for (; at < size && at + 16 <= room; at += 16) std::memcpy(to + at, from + at, 16);
  for (; at < size; ++at) to[at] = from[at];
}

// Calls visit(i) for the position of each dot in order; false as soon as visit says false.
template <typename Visit>
bool EachDot(std::string_view text, const Visit& visit) {
  constexpr uint64_t kOnes = 0x0101010101010101, kLows = 0x7F7F7F7F7F7F7F7F;
  size_t at = 0;
#if defined(__SSE2__)
  // Sixty-four at a time, four loads that overlap where there are fewer: nearly every path is one
  // round without a branch that depends on its length.
  for (const size_t size = text.size(); size >= 16;) {
    const size_t from = size < 64 ? 0 : at < size - 64 ? at : size - 64;
    uint64_t dots = 0;
    for (size_t i = 0; i < 64; i += 16) {
      const size_t shift = from + i + 16 <= size ? i : size - 16 - from;
      const __m128i bytes =
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + from + shift));
      const int found = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('.')));
      dots |= uint64_t{static_cast<uint32_t>(found)} << shift;
    }
    for (dots &= ~uint64_t{0} << (at - from); dots != 0; dots &= dots - 1)
      if (!visit(from + static_cast<size_t>(std::countr_zero(dots)))) return false;
    at = from + 64;
    if (at >= size) return true;
  }
#endif
  if constexpr (std::endian::native == std::endian::little) {
    for (; at + 8 <= text.size(); at += 8) {
      const uint64_t other = LoadAs<uint64_t>(text.data() + at) ^ (kOnes * '.');
      // A high bit in each byte that is a dot and in no other.
      uint64_t dots = ~(((other & kLows) + kLows) | other | kLows);
      for (; dots != 0; dots &= dots - 1)
        if (!visit(at + static_cast<size_t>(std::countr_zero(dots)) / 8)) return false;
    }
  }
  for (; at < text.size(); ++at)
    if (text[at] == '.' && !visit(at)) return false;
  return true;
}

constexpr uint64_t kHashMultiplier = 0x9E3779B97F4A7C15u;

inline uint64_t MixHash(uint64_t value) {
  value ^= value >> 32;
  value *= kHashMultiplier;
  return value ^ (value >> 29);
}

// Of the `size` bytes of `text` from `at` on. Most segments of a path have at most sixteen.
inline uint64_t HashPart(std::string_view text, size_t at, size_t size) {
  const char* p = text.data() + at;
  uint64_t hash = size * kHashMultiplier;
  if (size <= 8) {
    if constexpr (std::endian::native == std::endian::little) {
      // Whole words, as long as they lie in the text; what does not belong to the part is cut off.
      if (size > 0 && at + 8 <= text.size())
        return MixHash(hash ^ (LoadAs<uint64_t>(p) & ~uint64_t{0} >> (64 - 8 * size)));
      if (size > 0 && at + size >= 8)
        return MixHash(hash ^ LoadAs<uint64_t>(p + size - 8) >> (64 - 8 * size));
    }
    return MixHash(hash ^ (size < 8 ? LoadTail(p, size) : LoadAs<uint64_t>(p)));
  }
  const char* const last = p + size - 8;  // overlaps the word before
  for (; p < last; p += 8) {
    hash = (hash ^ LoadAs<uint64_t>(p)) * kHashMultiplier;
    hash ^= hash >> 31;
  }
  return MixHash(hash ^ LoadAs<uint64_t>(last));
}

inline uint64_t HashBytes(std::string_view bytes) { return HashPart(bytes, 0, bytes.size()); }

// For longer texts: two lanes, so that the multiplications of one overlap those of the other.
inline uint64_t HashName(std::string_view name) {
  const auto mix = [](uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * kHashMultiplier;
    return hash ^ (hash >> 32);
  };
  const char* p = name.data();
  size_t left = name.size();
  uint64_t a = left, b = 0xD6E8FEB86659FD93;
  for (; left >= 16; p += 16, left -= 16) {
    a = mix(a, LoadAs<uint64_t>(p));
    b = mix(b, LoadAs<uint64_t>(p + 8));
  }
  if (left >= 8) {
    a = mix(a, LoadAs<uint64_t>(p));
    p += 8, left -= 8;
  }
  return mix(mix(b, LoadTail(p, left)), a);
}

}  // namespace ferrule
