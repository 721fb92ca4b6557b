// SPDX-License-Identifier: Apache-2.0
#include "engine/text/json_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "engine/text/source.h"

namespace ferrule {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighs = 0x8080808080808080;

// A high bit in each byte of `word` that ends a plain run: quote, backslash, control character or a
// byte above 0x7F. Bytes after the first such byte may be marked wrongly, the first never.
uint64_t Special(uint64_t word) {
  const uint64_t quote = word ^ (kOnes * '"');
  const uint64_t slash = word ^ (kOnes * '\\');
  return (((quote - kOnes) | (slash - kOnes) | (word - kOnes * 0x20)) | word) & kHighs;
}

#if defined(__SSE2__)
// The same for 16 bytes: a bit for each.
uint32_t SpecialOf16(const char* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
  const __m128i slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  const __m128i other = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));  // signed: above 0x7F, too
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), other)));
}
#endif

bool Plain(char c) { return c != '"' && c != '\\' && static_cast<uint8_t>(c) - 0x20u < 0x60u; }

void AppendUtf8(uint32_t code, std::string* out) {
  const auto put = [&](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

}  // namespace

bool JsonScan::Fail(Mistake mistake, std::string problem) {
  if (failed()) return false;
  mistake_ = mistake;
  problem_ = std::move(problem);
  return false;
}

// Another kind of value is a mistake of type, anything else one of syntax.
bool JsonScan::FailKind(const char* expected) {
  if (failed()) return false;
  SkipSpace();
  if (at_ == end_)
    return Fail(Mistake::kSyntax, fmt::format("it ends where {} should be", expected));
  const char c = *at_;
  const char* found = c == '{'                             ? "an object"
                      : c == '['                           ? "a list"
                      : c == '"'                           ? "text"
                      : c == '-' || (c >= '0' && c <= '9') ? "a number"
                      : c == 't' || c == 'f'               ? "a boolean"
                      : c == 'n'                           ? "null"
                                                           : nullptr;
  if (found == nullptr) return Fail(Mistake::kSyntax, fmt::format("expected {}", expected));
  return Fail(Mistake::kType, fmt::format("expected {}, found {}", expected, found));
}

bool JsonScan::String(std::string_view* text) {
  SkipSpace();
  if (failed() || at_ == end_ || *at_ != '"') return FailKind("text");
  const char* const start = at_ + 1;
  const char* p = start;
#if defined(__SSE2__)
  for (; end_ - p >= 16; p += 16) {
    const uint32_t special = SpecialOf16(p);
    if (special == 0) continue;
    p += std::countr_zero(special);
    break;
  }
#endif
  if constexpr (std::endian::native == std::endian::little) {
    for (uint64_t word; end_ - p >= 8; p += 8) {
      std::memcpy(&word, p, 8);
      const uint64_t special = Special(word);
      if (special == 0) continue;
      p += std::countr_zero(special) / 8;
      break;
    }
  }
  while (p != end_ && Plain(*p)) ++p;
  if (p == end_ || *p != '"') return StringSlow(start, text);
  *text = {start, static_cast<size_t>(p - start)};
  at_ = p + 1;
  return true;
}

// The string from `start` on when it holds more than printable ASCII.
bool JsonScan::StringSlow(const char* start, std::string_view* text) {
  std::string unescaped;
  bool escaped = false;
  const char* run = start;  // what is not yet in `unescaped`
  const char* p = start;
  for (;; ++p) {
    p = std::find_if(p, end_, [](char c) { return c == '"' || c == '\\' || (c & 0xE0) == 0; });
    const std::string_view part(run, static_cast<size_t>(p - run));
    at_ = p;
    if (p == end_) return Fail(Mistake::kSyntax, "it ends within a text");
    if (*p != '"' && *p != '\\') return Fail(Mistake::kSyntax, "a control character in a text");
    if (!IsUtf8(part)) {
      at_ = run;
      return Fail(Mistake::kSyntax, "a text that is not UTF-8");
    }
    if (*p == '"' && !escaped) {
      *text = part;
      break;
    }
    unescaped += part;
    if (*p == '"') {
      *text = arena_->Copy(unescaped);
      break;
    }
    escaped = true;
    if (!Escape(&unescaped)) return false;
    run = at_;
    p = at_ - 1;
  }
  at_ = p + 1;
  return true;
}

// The escape sequence at `at_`, which holds the backslash; leaves `at_` behind it.
bool JsonScan::Escape(std::string* out) {
  static constexpr std::string_view kNames = "\"\\/bfnrt", kBytes = "\"\\/\b\f\n\r\t";
  const char* const start = at_++;
  if (at_ == end_) return Fail(Mistake::kSyntax, "it ends within a text");
  const size_t simple = kNames.find(*at_);
  if (simple != std::string_view::npos) {
    ++at_;
    out->push_back(kBytes[simple]);
    return true;
  }
  uint32_t code = 0;
  if (*at_++ == 'u' && Hex4(&code)) {
    if (code < 0xD800 || code > 0xDFFF) return AppendUtf8(code, out), true;
    uint32_t low = 0;
    if (code < 0xDC00 && end_ - at_ >= 6 && at_[0] == '\\' && at_[1] == 'u' &&
        (at_ += 2, Hex4(&low)) && low >= 0xDC00 && low <= 0xDFFF)
      return AppendUtf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out), true;
    at_ = start;
    return Fail(Mistake::kSyntax, "half of a surrogate pair");
  }
  at_ = start;
  return Fail(Mistake::kSyntax, "an escape that JSON does not have");
}

bool JsonScan::Hex4(uint32_t* unit) {
  if (end_ - at_ < 4) return false;
  *unit = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = *at_++, lower = static_cast<char>(c | 0x20);
    const int digit = c >= '0' && c <= '9'           ? c - '0'
                      : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                     : -1;
    if (digit < 0) return false;
    *unit = *unit << 4 | static_cast<uint32_t>(digit);
  }
  return true;
}

// Numbers of 20 digits, and everything that is no plain number.
bool JsonScan::UnsignedSlow(uint64_t* number) {
  if (failed()) return false;
  if (at_ == end_ || (*at_ != '-' && (*at_ < '0' || *at_ > '9'))) return FailKind("a whole number");
  const char* const start = at_;
  if (!Number()) return false;
  const std::string_view text(start, static_cast<size_t>(at_ - start));
  uint64_t n = 0;
  for (const char c : text) {
    const uint64_t digit = static_cast<uint64_t>(c - '0');
    if (c < '0' || c > '9' || n > (UINT64_MAX - digit) / 10) {
      at_ = start;
      return Fail(Mistake::kType,
                  "expected a whole number from 0 to 2^64-1, found " + Quoted(text, 40));
    }
    n = n * 10 + digit;
  }
  *number = n;
  return true;
}

bool JsonScan::Number() {
  const char* const start = at_;
  const auto digits = [&] {
    const char* const first = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ - first;
  };
  if (at_ != end_ && *at_ == '-') ++at_;
  const bool zero = at_ != end_ && *at_ == '0';
  const auto whole = digits();
  bool good = whole == 1 || (whole > 1 && !zero);
  if (good && at_ != end_ && *at_ == '.') good = (++at_, digits() > 0);
  if (good && at_ != end_ && (*at_ | 0x20) == 'e') {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    good = digits() > 0;
  }
  if (good) return true;
  if (end_ - start > 1 && start[0] == '-' && start[1] == 'I') {
    at_ = start;
    return FailValue();
  }
  return Fail(Mistake::kSyntax, "a number that is not JSON's");
}

bool JsonScan::Word(std::string_view word) {
  if (std::string_view(at_, static_cast<size_t>(end_ - at_)).substr(0, word.size()) != word)
    return FailValue();
  at_ += word.size();
  return true;
}

// No value begins here; a word that stands in its place is shown.
bool JsonScan::FailValue() {
  const char* const word = std::find_if_not(at_, end_, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
  if (word == at_) return Fail(Mistake::kSyntax, "expected a value");
  return Fail(Mistake::kSyntax,
              "expected a value, found " +
                  Quoted(std::string_view(at_, static_cast<size_t>(word - at_)), 40));
}

bool JsonScan::Skip(size_t depth) {
  if (failed()) return false;
  SkipSpace();
  if (at_ == end_) return Fail(Mistake::kSyntax, "it ends where a value should be");
  std::string_view text;
  switch (*at_) {
    case '{':
      return SkipMembers(depth);
    case '"':
      return String(&text);
    case 't':
      return Word("true");
    case 'f':
      return Word("false");
    case 'n':
      return Word("null");
    case '[':
      if (depth == 0) return Fail(Mistake::kDepth, "too many levels");
      Open('[');
      while (Next(']')) Skip(depth - 1);
      return !failed();
    default:
      if (*at_ != '-' && (*at_ < '0' || *at_ > '9')) return FailValue();
      return Number();
  }
}

bool JsonScan::SkipMembers(size_t depth) {
  if (depth == 0) return Fail(Mistake::kDepth, "too many levels");
  std::vector<std::pair<std::string_view, const char*>> names;  // and where they stand
  Open('{');
  while (Next('}')) {
    SkipSpace();
    names.emplace_back(std::string_view(), at_);
    if (!Key(&names.back().first) || !Skip(depth - 1)) return false;
  }
  if (failed()) return false;
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(
      names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice == names.end()) return true;
  first_ = static_cast<size_t>(twice->second - begin_);
  at_ = std::next(twice)->second;
  return Fail(Mistake::kDuplicate, Quoted(twice->first) + " stands twice in one object");
}

bool JsonScan::End(bool blanks_only) {
  if (failed()) return false;
  if (!blanks_only) SkipSpace();
  while (at_ != end_ && *at_ == ' ') ++at_;
  return at_ == end_ || Fail(Mistake::kSyntax, "text after the end of the value");
}

}  // namespace ferrule
