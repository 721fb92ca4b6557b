// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/entry_index.h"

#include <algorithm>

namespace ferrule {
namespace {

constexpr uint64_t kBase = 0x9E3779B97F4A7C15;
constexpr size_t kLongPattern = 512;  // RE2 may refuse what is much longer
constexpr size_t kFew = 4;            // patterns that are not told apart further

uint64_t Mixed(uint64_t hash) {
  hash ^= hash >> 32U;
  return hash * 0xD6E8FEB86659FD93;
}

uint64_t Next(uint64_t hash, char c) { return hash * kBase + static_cast<unsigned char>(c) + 1; }

uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0;
  for (const char c : text) hash = Next(hash, c);
  return hash;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

bool IsPlainGlob(std::string_view text) {
  return text.size() <= kLongPattern &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsPlain(c) || c == '*'; });
}

// What every match of a pattern begins with, where a dot stands for any character; nothing for one
// that is more than plain characters, some of them repeated, as it may not compile.
std::optional<std::string_view> PlainHead(std::string_view pattern) {
  if (pattern.size() > kLongPattern) return std::nullopt;
  size_t head = pattern.size();
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (IsPlain(pattern[i])) continue;
    if (pattern[i] != '*' || i == 0 || pattern[i - 1] == '*') return std::nullopt;
    head = std::min(head, i - 1);
  }
  return pattern.substr(0, head);
}

// Whether what stands around an entry leaves its text where every match begins.
bool BeginsWithEntry(std::string_view form) {
  if (form.empty()) return true;
  const std::string_view head = HasPrefix("(?:{})", form) ? "(?:{})" : "{}";
  if (!HasPrefix(head, form)) return false;
  const std::string_view rest = form.substr(head.size());
  return rest.find('|') == rest.npos && !HasText("(?", rest) &&
         (rest.empty() || std::string_view("?*+{").find(rest[0]) == rest.npos);
}

// The longest piece of a glob that every name which it matches holds.
std::string_view LongestPiece(std::string_view glob, std::string_view special) {
  std::string_view best;
  for (size_t begin = 0; begin <= glob.size();) {
    const size_t end = std::min(glob.find_first_of(special, begin), glob.size());
    if (end - begin > best.size()) best = glob.substr(begin, end - begin);
    if (end < glob.size() && glob[end] == '[') break;  // what follows may be a class
    begin = end + 1;
  }
  return best;
}

// Hashes of all pieces of a name.
class Pieces {
 public:
  explicit Pieces(std::string_view name) : name_(name), hashes_{0}, powers_{1} {
    for (const char c : name) {
      hashes_.push_back(Next(hashes_.back(), c));
      powers_.push_back(powers_.back() * kBase);
    }
  }
  uint64_t Hash(size_t begin, size_t end) const {
    return hashes_[end] - hashes_[begin] * powers_[end - begin];
  }
  bool BeginsSegment(size_t at) const { return at == 0 || name_[at - 1] == '.'; }
  bool EndsSegment(size_t at) const { return at == name_.size() || name_[at] == '.'; }

 private:
  std::string_view name_;
  std::vector<uint64_t> hashes_, powers_;
};

// Pairs of segments side by side.
std::vector<std::string_view> PairsOf(std::string_view path) {
  const std::vector<std::string_view> segments = Segments(path);
  std::vector<std::string_view> out;
  for (size_t i = 0; i + 1 < segments.size(); ++i)
    out.emplace_back(segments[i].data(), segments[i].size() + 1 + segments[i + 1].size());
  return out;
}

// The entries that hold the name hold its inner segments whole. False: it has too few.
bool FindAround(const HashedPlaces& places, std::string_view name, std::vector<uint32_t>* out) {
  const std::vector<std::string_view> pairs = PairsOf(name);
  if (pairs.size() < 3) return false;
  const auto rarest = std::min_element(pairs.begin() + 1, pairs.end() - 1,
                                       [&](std::string_view a, std::string_view b) {
                                         return places.Count(HashOf(a)) < places.Count(HashOf(b));
                                       });
  places.Find(HashOf(*rarest), out);
  return true;
}

using PlainPatterns = std::vector<std::pair<std::string_view, uint32_t>>;

// Patterns of a sorted range, alike up to `depth`, that match at the start of `rest`.
void Descend(PlainPatterns::const_iterator first, PlainPatterns::const_iterator last, size_t depth,
             std::string_view rest, std::vector<uint32_t>* out) {
  while (first != last && first->first.size() == depth) out->push_back((first++)->second);
  if (first == last) return;
  if (static_cast<size_t>(last - first) <= kFew) {
    for (; first != last; ++first) out->push_back(first->second);
    return;
  }
  if (depth == rest.size()) return;
  for (const char c : {'.', rest[depth]}) {
    const auto begin = std::lower_bound(
        first, last, c, [depth](const auto& p, char want) { return p.first[depth] < want; });
    const auto end = std::upper_bound(
        begin, last, c, [depth](char want, const auto& p) { return want < p.first[depth]; });
    Descend(begin, end, depth + 1, rest, out);
    if (rest[depth] == '.') return;
  }
}

}  // namespace

void HashedPlaces::Add(uint64_t key, size_t length, uint32_t place) {
  items_.emplace_back(Mixed(key), place);
  if (lengths_.size() <= length) lengths_.resize(length + 1);
  lengths_[length] = true;
}

void HashedPlaces::Seal() {
  int bits = 1;
  while ((size_t{1} << static_cast<unsigned>(bits)) < items_.size()) ++bits;
  shift_ = 64 - bits;
  begins_.assign((size_t{1} << static_cast<unsigned>(bits)) + 1, 0);
  const auto bucket = [this](uint64_t key) { return static_cast<size_t>(key >> shift_); };
  for (const auto& item : items_) ++begins_[bucket(item.first) + 1];
  for (size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
  std::vector<uint32_t> next(begins_.begin(), begins_.end() - 1);
  std::vector<std::pair<uint64_t, uint32_t>> sorted(items_.size());
  for (const auto& item : items_) sorted[next[bucket(item.first)]++] = item;
  items_ = std::move(sorted);
}

std::pair<size_t, size_t> HashedPlaces::Bucket(uint64_t key) const {
  const auto bucket = static_cast<size_t>(key >> shift_);
  return {begins_[bucket], begins_[bucket + 1]};
}

void HashedPlaces::Find(uint64_t key, std::vector<uint32_t>* out) const {
  key = Mixed(key);
  for (auto [at, end] = Bucket(key); at < end; ++at)
    if (items_[at].first == key) out->push_back(items_[at].second);
}

size_t HashedPlaces::Count(uint64_t key) const {
  const auto [begin, end] = Bucket(Mixed(key));
  return end - begin;
}

EntryIndex::EntryIndex(const std::vector<MatchRule>& rules,
                       const std::vector<std::string_view>& texts)
    : rules_(rules), indexes_(rules.size()) {
  for (uint32_t place = 0; place < texts.size(); ++place)
    for (size_t r = 0; r < rules.size(); ++r) {
      const auto text = rules[r].Left(texts[place]);
      if (text) Add(rules[r], *text, place, &indexes_[r]);
      if (text && rules[r].marked) break;  // no later rule sees it
    }
  for (RuleIndex& index : indexes_) {
    index.places.Seal();
    std::sort(index.plain.begin(), index.plain.end());
  }
}

void EntryIndex::Add(const MatchRule& rule, std::string_view text, uint32_t place, RuleIndex* out) {
  if (rule.trailing_dots) text = StripTrailingDots(text);
  const auto key = [&](std::string_view piece) {
    out->places.Add(HashOf(piece), piece.size(), place);
  };
  std::string_view piece = text;
  switch (rule.by) {
    case By::kRegex:
      if (const auto head = PlainHead(text); head && BeginsWithEntry(rule.form))
        out->plain.emplace_back(*head, place);
      else
        always_.push_back(place);
      return;
    case By::kModelOptGlob:
      piece = IsPlainGlob(text) && BeginsWithEntry(rule.form) ? LongestPiece(text, "*")
                                                              : std::string_view();
      break;
    case By::kGlob:
      piece = LongestPiece(text, "*?[");
      break;
    case By::kTextAnyCase:
      return key(Lower(text));
    case By::kChild:
      for (size_t dot = text.find('.'); dot != text.npos; dot = text.find('.', dot + 1))
        key(text.substr(0, dot));
      return;
    case By::kWithin:
      for (const std::string_view pair : PairsOf(text)) key(pair);
      return;
    case By::kLastOf:
      piece = LastSegment(text);
      if (std::find(rule.words.begin(), rule.words.end(), piece) == rule.words.end()) return;
      return key(piece);
    default:
      return key(text);
  }
  if (piece.empty())
    always_.push_back(place);
  else
    key(piece);
}

bool EntryIndex::FindOne(const MatchRule& rule, const RuleIndex& index, std::string_view name,
                         const std::vector<std::string_view>& classes, std::vector<uint32_t>* out) {
  const HashedPlaces& places = index.places;
  if (rule.by == By::kClass) {
    for (const std::string_view one : classes) places.Find(HashOf(one), out);
    return true;
  }
  if (rule.trailing_dots) name = StripTrailingDots(name);
  if (rule.by == By::kRegex || rule.by == By::kModelOptGlob) {
    // `.` stands for a character of several bytes, and for none where a line ends.
    if (std::any_of(name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }))
      return false;
  }
  if (rule.by == By::kRegex) {
    const size_t last = rule.anchor == Anchor::kSearch ? name.size() : 0;
    for (size_t at = 0; at <= last; ++at)
      Descend(index.plain.begin(), index.plain.end(), 0, name.substr(at), out);
    return true;
  }
  if (rule.by == By::kWithin) return FindAround(places, name, out);
  if (rule.by == By::kLastOf) {
    for (const std::string& word : rule.words)
      if (HasText(word, LastSegment(name))) places.Find(HashOf(word), out);
    return true;
  }
  std::string lower;
  if (rule.by == By::kTextAnyCase) name = lower = Lower(name);
  const Pieces pieces(name);
  const size_t n = name.size();
  if (rule.by == By::kExact || rule.by == By::kChild) {
    places.Find(pieces.Hash(0, n), out);
    return true;
  }
  using B = By;
  const B by = rule.by;
  const bool at_start = by == B::kAncestor || by == B::kPrefix;
  const bool at_end = by == B::kLastSegments || by == B::kSuffix;
  const bool whole =
      by == B::kAncestor || by == B::kSegments || by == B::kLastSegments || by == B::kSegment;
  for (size_t begin = 0; begin <= (at_start ? 0 : n); ++begin) {
    if (whole && !pieces.BeginsSegment(begin)) continue;
    for (size_t end = at_end ? n : begin; end <= n; ++end)
      if (places.HasLength(end - begin) && (!whole || pieces.EndsSegment(end)))
        places.Find(pieces.Hash(begin, end), out);
  }
  return true;
}

std::optional<std::vector<uint32_t>> EntryIndex::Find(
    const std::vector<std::vector<std::string>>& asked,
    const std::vector<std::string_view>& classes) const {
  std::vector<uint32_t> out = always_;
  for (size_t r = 0; r < rules_.size(); ++r)
    for (const std::string& name : asked[r])
      if (!FindOne(rules_[r], indexes_[r], name, classes, &out)) return std::nullopt;
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace ferrule
