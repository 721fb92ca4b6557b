// SPDX-License-Identifier: Apache-2.0
// Python pattern → RE2 pattern: escapes, sets of characters, literals.
#include <fmt/format.h>

#include <string>

#include "engine/lists/python_reader.h"

namespace ferrule {
namespace {

// Python's whitespace: ASCII, then the rest of Unicode's.
constexpr const char* kSpace = "\\t-\\r\\x{1c}-\\x{20}";
constexpr const char* kMoreSpace =
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

bool IsAsciiLetter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsOctal(char32_t c) { return c >= '0' && c <= '7'; }
bool IsDigit(char32_t c) { return c >= '0' && c <= '9'; }

}  // namespace

char32_t PythonPatternReader::Hex(size_t digits) {
  char32_t value = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char32_t c = Peek();
    const int digit = IsDigit(c)             ? static_cast<int>(c - '0')
                      : c >= 'a' && c <= 'f' ? static_cast<int>(c - 'a' + 10)
                      : c >= 'A' && c <= 'F' ? static_cast<int>(c - 'A' + 10)
                                             : -1;
    if (digit < 0) return Raise("incomplete escape"), 0;
    value = value * 16 + static_cast<char32_t>(digit);
    ++at_;
  }
  if (value > 0x10FFFF) Raise("bad escape");
  return value;
}

char32_t PythonPatternReader::Octal(char32_t first, size_t more, bool* ok) {
  char32_t value = first - '0';
  for (size_t i = 0; i < more && IsOctal(Peek()); ++i) value = value * 8 + (Next() - '0');
  *ok = value <= 0377;
  return value;
}

// After the backslash.
PythonPatternReader::Escape PythonPatternReader::ReadEscape(bool in_set) {
  Escape out;
  const char32_t c = Next();
  out.code = c;
  if (c == kEnd) return Raise("bad escape (end of pattern)"), out;
  switch (c) {
    case 'd':
    case 'D':
    case 's':
    case 'S':
    case 'w':
    case 'W':
      out.is_class = true;
      return out;
    case 'b':
      if (in_set) return out.code = 8, out;
      [[fallthrough]];
    case 'A':
    case 'B':
    case 'Z':
      if (in_set) return Raise("bad escape"), out;
      out.is_anchor = true;
      return out;
    case 'a':
      return out.code = 7, out;
    case 'f':
      return out.code = 12, out;
    case 'n':
      return out.code = 10, out;
    case 'r':
      return out.code = 13, out;
    case 't':
      return out.code = 9, out;
    case 'v':
      return out.code = 11, out;
    case 'x':
      return out.code = Hex(2), out;
    case 'u':
      return out.code = Hex(4), out;
    case 'U':
      return out.code = Hex(8), out;
    case 'N':
      Unsupported("a character by its name");
      if (!is_regex() && !Take('{')) return Raise("missing {"), out;
      return is_regex() ? std::string() : Until('}', "}"), out;
    default:
      break;
  }
  bool ok = true;
  if (in_set && IsDigit(c)) {
    if (!IsOctal(c)) return Raise("bad escape"), out;
    out.code = Octal(c, 2, &ok);
    if (!ok && !is_regex()) Raise("octal escape value outside of range 0-0o377");
    return out;
  }
  if (c == '0') return out.code = Octal(c, 2, &ok), out;
  if (IsDigit(c)) {
    if (IsOctal(c) && at_ + 1 < text_.size() && IsOctal(text_[at_]) && IsOctal(text_[at_ + 1])) {
      out.code = Octal(c, 2, &ok);
      if (!ok && !is_regex()) Raise("octal escape value outside of range 0-0o377");
      return out;
    }
    out.is_reference = true;
    out.group = c - '0';
    if (IsDigit(Peek())) out.group = out.group * 10 + (Next() - '0');
    return out;
  }
  if (IsAsciiLetter(c)) {
    if (is_regex() && (c == 'p' || c == 'P' || c == 'X' || c == 'R' || c == 'G' || c == 'K' ||
                       c == 'm' || c == 'M' || c == 'h' || c == 'L' || c == 'g' || c == 'z'))
      return Unsupported("an escape of the `regex` module"), out;
    Raise("bad escape");
  }
  return out;
}

// After `[`.
void PythonPatternReader::Set(PatternFlags flags) {
  std::string& out = out_.re2;
  out += '[';
  if (Take('^')) out += '^';
  const auto unterminated = [&] { Raise("unterminated character set"); };
  const auto emit = [&](const Escape& item) {
    item.is_class ? EmitClass(item.code, flags, true) : EmitLiteral(item.code);
  };
  for (bool first = true;; first = false) {
    char32_t c = Next();
    if (c == kEnd) return unterminated();
    if (c == ']' && !first) break;
    if (c == '[' && Peek() == ':') {
      if (is_regex()) Unsupported("a named class of the `regex` module");
      Differs("`[:`, which Python reads as two characters");
    }
    Escape low;
    low.code = c;
    if (c == '\\') low = ReadEscape(true);
    if (failed()) return;
    if (!Take('-')) {
      emit(low);
      continue;
    }
    c = Next();
    if (c == kEnd) return unterminated();
    if (c == ']') {
      emit(low);
      EmitLiteral('-');
      break;
    }
    Escape high;
    high.code = c;
    if (c == '\\') high = ReadEscape(true);
    if (failed()) return;
    if (low.is_class || high.is_class) {
      if (!is_regex()) return Raise("bad character range");
      emit(low);  // `regex` reads the hyphen as itself
      EmitLiteral('-');
      emit(high);
      continue;
    }
    if (low.code > high.code) return Raise("bad character range");
    EmitLiteral(low.code);
    out += '-';
    EmitLiteral(high.code);
  }
  out += ']';
}

void PythonPatternReader::EmitClass(char32_t letter, PatternFlags flags, bool in_set) {
  const bool opposite = letter < 'a';
  std::string inside;
  switch (letter | 0x20) {
    case 'd':
      inside = flags.ascii ? (opposite ? "\\D" : "\\d") : (opposite ? "\\P{Nd}" : "\\p{Nd}");
      break;
    case 's':
      if (opposite && in_set) {
        inside = "\\x{0}-\\x{8}\\x{e}-\\x{1b}\\x{21}-\\x{10ffff}";
        if (!flags.ascii) out_.ascii_only = true;
      } else {
        inside = fmt::format("{}{}", kSpace, flags.ascii ? "" : kMoreSpace);
        if (!in_set) inside = fmt::format("[{}{}]", opposite ? "^" : "", inside);
      }
      if (flags.ascii) out_.ascii_only = true;  // \x1c-\x1f are no space there
      break;
    default:
      if (flags.ascii || (opposite && in_set)) {
        inside = opposite ? "\\W" : "\\w";
        if (!flags.ascii) out_.ascii_only = true;
      } else {
        inside = in_set ? "\\pL\\pN_" : opposite ? "[^\\pL\\pN_]" : "[\\pL\\pN_]";
      }
  }
  out_.re2 += inside;
}

void PythonPatternReader::EmitAnchor(char32_t letter) {
  if (letter == 'Z') {
    Differs("`\\Z`, which RE2 does not have");
    out_.re2 += "\\z";
    return;
  }
  if (letter != 'A') out_.ascii_only = true;
  out_.re2 += '\\';
  out_.re2 += static_cast<char>(letter);
}

void PythonPatternReader::EmitLiteral(char32_t c) {
  if (IsAsciiLetter(c) || IsDigit(c) || c == '_')
    out_.re2 += static_cast<char>(c);
  else if (c >= 0xD800 && c <= 0xDFFF)
    out_.re2 += "\\x{fffd}";  // a lone surrogate: no name in UTF-8 holds one; see ascii_only
  else
    out_.re2 += fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(c));
  if (c >= 0xD800 && c <= 0xDFFF) out_.ascii_only = true;
}

}  // namespace ferrule
