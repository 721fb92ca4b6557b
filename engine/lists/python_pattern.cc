// SPDX-License-Identifier: Apache-2.0
// Python pattern → RE2 pattern: sequences, groups, quantifiers. Escapes and sets: python_class.cc.
#include "engine/lists/python_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/lists/python_reader.h"

namespace ferrule {
namespace {

constexpr uint64_t kNoLimit = 4294967295;  // sre's MAXREPEAT
constexpr uint64_t kMaxCount = 1000;       // RE2's

uint64_t Capped(uint64_t n) { return std::min<uint64_t>(n, kNoLimit); }

std::u32string Decode(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
    char32_t c = more == 3 ? byte & 7U : more == 2 ? byte & 15U : more == 1 ? byte & 31U : byte;
    for (size_t k = 1; k <= more && i + k < text.size(); ++k)
      c = c << 6 | (static_cast<unsigned char>(text[i + k]) & 63U);
    out.push_back(c);
    i += more + 1;
  }
  return out;
}

}  // namespace

PythonPatternReader::PythonPatternReader(std::string_view pattern, PythonModule module,
                                         bool verbose)
    : text_(Decode(pattern)), module_(module) {
  global_.verbose = verbose;
}

void PythonPatternReader::Raise(std::string why) {
  if (failed() || too_deep_) return;
  out_.state = PythonPattern::State::kRaises;
  out_.why = std::move(why);
  at_ = text_.size();
}

void PythonPatternReader::Overflow(std::string why) {
  if (failed()) return;
  Raise(std::move(why));
  if (!is_regex()) out_.state = PythonPattern::State::kOverflows;
}

void PythonPatternReader::Unsupported(std::string why) {
  if (out_.state != PythonPattern::State::kOk) return;
  out_.state = PythonPattern::State::kUnsupported;
  out_.why = std::move(why);
}

void PythonPatternReader::Differs(std::string what) {
  if (out_.differs.empty()) out_.differs = std::move(what);
}

PythonPattern PythonPatternReader::Read(bool* restart) {
  Alternatives(global_, true);
  *restart = restart_ && !global_.verbose;
  if (!failed() && at_ < text_.size()) Raise("unbalanced parenthesis");
  for (const size_t group : promised_)
    if (group > groups_.size() && !is_regex()) Raise("invalid group reference");
  if (!global_flags_.empty()) out_.re2 = fmt::format("(?{}:{})", global_flags_, out_.re2);
  return std::move(out_);
}

PatternWidth PythonPatternReader::Alternatives(PatternFlags flags, bool top) {
  if (++depth_ > kMaxDepth) {
    Unsupported("groups nested too deeply");
    too_deep_ = true;  // what is not closed was not read
    at_ = text_.size();
  }
  PatternWidth all = Sequence(flags, top);
  while (!failed() && Take('|')) {
    out_.re2 += '|';
    const PatternWidth one = Sequence(top ? global_ : flags, false);
    all = {std::min(all.min, one.min), std::max(all.max, one.max)};
  }
  --depth_;
  return all;
}

PatternWidth PythonPatternReader::Sequence(PatternFlags flags, bool first) {
  PatternWidth total, last;
  bool item = false, anchor = false, repeated = false, any = false, dot = false;
  const auto add = [&](PatternWidth width) {
    total = {Capped(total.min + last.min), Capped(total.max + last.max)};
    last = width;
    item = any = true;
    anchor = repeated = dot = false;
  };
  while (!failed() && at_ < text_.size() && Peek() != '|' && Peek() != ')') {
    const char32_t c = Next();
    if (flags.verbose && (c == ' ' || (c >= '\t' && c <= '\r'))) continue;
    if (flags.verbose && c == '#') {
      while (at_ < text_.size() && Next() != '\n') {
      }
      continue;
    }
    uint64_t min = 0, max = 0;
    if (Quantifier(c, &min, &max)) {
      if (failed()) break;
      if (!item || (anchor && !is_regex())) Raise("nothing to repeat");
      if (repeated) Raise("multiple repeat");
      if (dot && max == kNoLimit) ++out_.wildcards;
      if (!failed()) Repeat(min, max, &last, &repeated);
      continue;
    }
    if (c == '(') {
      bool is_item = true;
      const PatternWidth width = Group(flags, first && !any, &is_item);
      if (first) flags = {global_.verbose, global_.ascii};
      if (!is_item) continue;
      add(width);
      continue;
    }
    if (c == '\\') {
      const Escape escape = ReadEscape(false);
      if (failed()) break;
      if (escape.is_reference) {
        add(Reference(escape.group));
      } else if (escape.is_anchor) {
        EmitAnchor(escape.code);
        add({});
        anchor = true;
      } else {
        escape.is_class ? EmitClass(escape.code, flags, false) : EmitLiteral(escape.code);
        add({1, 1});
      }
    } else if (c == '[') {
      Set(flags);
      add({1, 1});
    } else if (c == '.') {
      out_.re2 += '.';
      add({1, 1});
      dot = true;
    } else if (c == '^' || c == '$') {
      if (c == '$') out_.one_line = true;
      out_.re2 += static_cast<char>(c);
      add({});
      anchor = true;
    } else {
      EmitLiteral(c);
      add({1, 1});
    }
  }
  return {Capped(total.min + last.min), Capped(total.max + last.max)};
}

// `{` that begins no count is a literal: nothing is taken then.
bool PythonPatternReader::Quantifier(char32_t c, uint64_t* min, uint64_t* max) {
  if (c == '?') return *min = 0, *max = 1, true;
  if (c == '*') return *min = 0, *max = kNoLimit, true;
  if (c == '+') return *min = 1, *max = kNoLimit, true;
  if (c != '{' || Peek() == '}') return false;
  const size_t back = at_;
  std::string low, high;
  const auto digits = [&](std::string* out) {
    while (Peek() >= '0' && Peek() <= '9') *out += static_cast<char>(Next());
  };
  const auto number = [](const std::string& text) {
    uint64_t n = 0;
    for (const char d : text)
      n = std::min<uint64_t>(n * 10 + static_cast<uint64_t>(d - '0'), 1ULL << 40);
    return n;
  };
  digits(&low);
  const bool comma = Take(',');
  if (comma) digits(&high);
  if (!Take('}')) {
    at_ = back;
    return false;
  }
  if (low.empty()) Differs("`{,n}`, which RE2 reads as text");
  *min = low.empty() ? 0 : number(low);
  *max = !comma ? *min : high.empty() ? kNoLimit : number(high);
  if (low.size() + high.size() > 0 && std::max(*min, high.empty() ? 0 : *max) >= kNoLimit)
    Overflow("the repetition number is too large");
  else if (*max < *min)
    Raise("min repeat greater than max repeat");
  return true;
}

void PythonPatternReader::Repeat(uint64_t min, uint64_t max, PatternWidth* last, bool* repeated) {
  std::string lazy;
  if (Take('?'))
    lazy = "?";
  else if (Take('+'))
    Unsupported("a possessive quantifier");
  if (min > kMaxCount || (max != kNoLimit && max > kMaxCount)) Unsupported("a count above 1,000");
  out_.re2 += max == kNoLimit ? fmt::format("{{{},}}", min) : fmt::format("{{{},{}}}", min, max);
  out_.re2 += lazy;
  *last = {Capped(last->min * min), Capped(last->max == 0 ? 0 : last->max * max)};
  *repeated = true;
}

PatternWidth PythonPatternReader::Reference(size_t group) {
  Unsupported("a back-reference");
  if (group == 0 || group > groups_.size()) return Raise("invalid group reference"), PatternWidth{};
  const PatternGroup& known = groups_[group - 1];
  if (known.open && !is_regex()) Raise("cannot refer to an open group");
  if (behind_ > 0 && group > behind_groups_ && !is_regex())
    Raise("cannot refer to group defined in the same lookbehind subpattern");
  return known.width;
}

}  // namespace ferrule
