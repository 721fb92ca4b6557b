// SPDX-License-Identifier: Apache-2.0
// A strict pull scanner for the large JSON files whose schema is known: safetensors headers and
// indices. It builds nothing, so that 92,000 tensors cost milliseconds, and checks every byte that
// it passes, so that nothing is left unread. Config-sized files are ParseJson's.
//
//   JsonScan scan(text, &arena);
//   if (scan.Open('{'))
//     while (scan.Next('}')) { scan.Key(&name); scan.Unsigned(&n); }
//   if (scan.failed()) … scan.problem(), scan.at()
//
// The first mistake is kept; after it every call returns false and moves no further.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/text/arena.h"

namespace ferrule {

class JsonScan {
 public:
  enum class Mistake : uint8_t {
    kNone,
    kSyntax,     // not JSON
    kType,       // JSON, but not of the kind that was asked for
    kDuplicate,  // a name stands twice in a skipped object
    kDepth,
  };

  // Texts with escapes are unescaped into `arena`; all others are views into `text`.
  JsonScan(std::string_view text, Arena* arena)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()), arena_(arena) {}

  // Consumes `{` or `[`.
  bool Open(char bracket) {
    SkipSpace();
    if (at_ == end_ || *at_ != bracket) return FailKind(bracket == '{' ? "an object" : "a list");
    ++at_;
    fresh_ = true;
    return true;
  }
  // After Open and after each element: true when another one follows, false after consuming the
  // closing `}` or `]` or after a mistake.
  bool Next(char close) {
    if (failed()) return false;
    SkipSpace();
    if (at_ == end_) return Fail(Mistake::kSyntax, "it ends within a list or object");
    const bool first = fresh_;
    fresh_ = false;
    if (*at_ == close) {
      ++at_;
      return false;
    }
    if (first) return true;
    if (*at_ != ',')
      return Fail(Mistake::kSyntax, close == '}' ? "expected `,` or `}`" : "expected `,` or `]`");
    ++at_;
    return true;
  }
  // A name and the colon after it.
  bool Key(std::string_view* name) {
    SkipSpace();
    if (at_ == end_ || *at_ != '"') return Fail(Mistake::kSyntax, "expected a name in quotes");
    if (!String(name)) return false;
    SkipSpace();
    if (at_ == end_ || *at_ != ':') return Fail(Mistake::kSyntax, "expected `:`");
    ++at_;
    return true;
  }
  bool String(std::string_view* text);
  // What is most likely next: consumes `"plain"` (KeyIs: and the colon after it) when it stands
  // there. `plain` is UTF-8 without quote, backslash and control character.
  bool StringIs(std::string_view plain) {
    SkipSpace();
    const size_t left = static_cast<size_t>(end_ - at_), size = plain.size();
    if (failed() || left < size + 2 || at_[0] != '"' || at_[size + 1] != '"' ||
        std::memcmp(at_ + 1, plain.data(), size) != 0)
      return false;
    at_ += size + 2;
    return true;
  }
  bool KeyIs(std::string_view plain) {
    const char* const start = at_;
    if (!StringIs(plain)) return false;
    SkipSpace();
    if (at_ == end_ || *at_ != ':') return at_ = start, false;
    ++at_;
    return true;
  }
  // A whole number from 0 to 2^64-1 without sign, point and exponent.
  bool Unsigned(uint64_t* number) {
    SkipSpace();
    const char* p = at_;
    uint64_t n = 0;
    while (p != end_ && *p >= '0' && *p <= '9' && p - at_ < 19)
      n = n * 10 + static_cast<uint64_t>(*p++ - '0');
    const bool plain = p != at_ && (*at_ != '0' || p - at_ == 1) &&
                       (p == end_ || ((*p < '0' || *p > '9') && *p != '.' && (*p | 0x20) != 'e'));
    if (!plain) return UnsignedSlow(number);
    at_ = p;
    *number = n;
    return true;
  }
  // Any value, at most `depth` levels deep; names in its objects are compared.
  bool Skip(size_t depth);
  // Only spaces (any JSON white space unless `blanks_only`) follow.
  bool End(bool blanks_only = false);

  bool failed() const { return mistake_ != Mistake::kNone; }
  Mistake mistake() const { return mistake_; }
  const std::string& problem() const { return problem_; }
  // What is not yet consumed; Consume passes over `size` bytes of it that the user has checked.
  std::string_view rest() const { return {at_, static_cast<size_t>(end_ - at_)}; }
  void Consume(size_t size) { at_ += size; }
  // Byte where scanning stands; after a mistake, where it is.
  size_t at() const { return static_cast<size_t>(at_ - begin_); }
  // After kDuplicate: the byte where the name stands for the first time; `at()` is the second.
  size_t first() const { return first_; }
  // Records a mistake at byte `at()`; for the user of the scanner. Always false.
  bool Fail(Mistake mistake, std::string problem);

 private:
  void SkipSpace() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  bool FailKind(const char* expected);
  bool UnsignedSlow(uint64_t* number);
  bool StringSlow(const char* start, std::string_view* text);
  bool Escape(std::string* out);
  bool Hex4(uint32_t* unit);
  bool Number();
  bool Word(std::string_view word);
  bool FailValue();
  bool SkipMembers(size_t depth);

  const char* begin_;
  const char* at_;
  const char* end_;
  Arena* arena_;
  bool fresh_ = false;
  size_t first_ = 0;
  Mistake mistake_ = Mistake::kNone;
  std::string problem_;
};

}  // namespace ferrule
