// SPDX-License-Identifier: Apache-2.0
// Python's fnmatch, on code points: a pattern is walked beside the name, the last `*` is tried
// again one character further, so that the time is at most length of pattern x length of name.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/lists/name_match.h"

namespace ferrule {
namespace {

// The code point that begins at `at`, and where the next one begins. Wrong bytes stand for
// themselves.
uint32_t CodePoint(std::string_view text, size_t* at) {
  const auto byte = static_cast<unsigned char>(text[(*at)++]);
  const int more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC0 ? 1 : 0;
  uint32_t c = more == 3 ? byte & 7U : more == 2 ? byte & 15U : more == 1 ? byte & 31U : byte;
  for (int i = 0; i < more && *at < text.size(); ++i)
    c = c << 6 | (static_cast<unsigned char>(text[(*at)++]) & 63U);
  return c;
}

struct Set {
  bool negated = false;
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  bool Holds(uint32_t c) const {
    for (const auto& [low, high] : ranges)
      if (c >= low && c <= high) return !negated;
    return negated;
  }
};

// A set that begins at `at` (after `[`), and where it ends; false where `[` is itself. As fnmatch
// reads it: the text is cut at the hyphens that make ranges, ranges that run backwards are taken
// out, and only then a leading `!` negates (so `[c-b!]` is everything).
bool ReadSet(std::string_view pattern, size_t* at, Set* set) {
  const bool mark = *at < pattern.size() && pattern[*at] == '!';
  const size_t end =
      *at + mark < pattern.size() ? pattern.find(']', *at + mark + 1) : std::string_view::npos;
  if (end == std::string_view::npos) return false;
  std::u32string text;
  for (size_t i = *at; i < end;) text.push_back(CodePoint(pattern, &i));
  *at = end + 1;
  std::vector<std::u32string> chunks;
  size_t begin = 0;
  for (size_t k = mark ? 2 : 1; (k = text.find(U'-', k)) != std::u32string::npos; k += 3) {
    chunks.push_back(text.substr(begin, k - begin));
    begin = k + 1;
  }
  if (begin < text.size() || chunks.empty())
    chunks.push_back(text.substr(begin));
  else
    chunks.back() += U'-';
  for (size_t k = chunks.size() - 1; k > 0; --k) {
    if (chunks[k - 1].back() <= chunks[k].front()) continue;
    chunks[k - 1] = chunks[k - 1].substr(0, chunks[k - 1].size() - 1) + chunks[k].substr(1);
    chunks.erase(chunks.begin() + static_cast<std::ptrdiff_t>(k));
  }
  if (!chunks[0].empty() && chunks[0][0] == '!') {
    set->negated = true;
    chunks[0].erase(0, 1);
  }
  for (size_t k = 0; k < chunks.size(); ++k) {
    for (const char32_t c : chunks[k]) set->ranges.emplace_back(c, c);
    if (k + 1 == chunks.size()) break;
    const char32_t hyphen = U'-';  // a leading one is itself
    if (chunks[k].empty())
      set->ranges.emplace_back(hyphen, hyphen);
    else
      set->ranges.emplace_back(chunks[k].back(), chunks[k + 1].front());
  }
  return true;
}

// Whether the token of the pattern at `*at`, which is no `*`, takes `c`; moves past it.
bool TakeToken(std::string_view pattern, size_t* at, uint32_t c) {
  if (pattern[*at] == '?') return ++*at, true;
  if (pattern[*at] == '[') {
    size_t after = *at + 1;
    Set set;
    if (ReadSet(pattern, &after, &set)) return *at = after, set.Holds(c);
  }
  return CodePoint(pattern, at) == c;
}

}  // namespace

bool Glob(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, star = std::string_view::npos, retry = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      retry = n;
      continue;
    }
    if (p < pattern.size()) {
      size_t after = n;
      const uint32_t c = CodePoint(name, &after);
      if (TakeToken(pattern, &p, c)) {
        n = after;
        continue;
      }
    }
    if (star == std::string_view::npos) return false;
    p = star;
    CodePoint(name, &retry);
    n = retry;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace ferrule
