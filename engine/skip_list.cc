// SPDX-License-Identifier: Apache-2.0
#include "engine/skip_list.h"

#include <fmt/format.h>
#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/name_match.h"
#include "engine/path_table.h"
#include "engine/python_regex.h"
#include "engine/words.h"

namespace ferrule {
namespace {

constexpr uint64_t kBase = 0x100000001B3u;  // FNV's prime: odd, so that powers never vanish
constexpr size_t kFilterBits = 1 << 16;

// A path as hashes of its segments. The hash of a run of segments h0 … hn is Σ hi · base^(n - i),
// so that ancestors and last segments cost one multiplication each.
struct HashedSegments {
  size_t count = 0;
  size_t begin[kMaxSegments];
  uint64_t hash[kMaxSegments];

  // False when there are more than kMaxSegments.
  bool Split(std::string_view path) {
    for (size_t at = 0;;) {
      if (count == kMaxSegments) return false;
      const void* dot = std::memchr(path.data() + at, '.', path.size() - at);
      const size_t end = dot != nullptr
                             ? static_cast<size_t>(static_cast<const char*>(dot) - path.data())
                             : path.size();
      begin[count] = at;
      hash[count++] = HashBytes(path.substr(at, end - at));
      if (dot == nullptr) return true;
      at = end + 1;
    }
  }
};

uint64_t HashOf(std::string_view text) {
  HashedSegments segments;
  if (!segments.Split(text)) return 0;  // no module has so many
  uint64_t hash = 0;
  for (size_t i = 0; i < segments.count; ++i) hash = hash * kBase + segments.hash[i];
  return hash;
}

bool IsWord(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool IsGlob(std::string_view text) { return text.find_first_of("*?[") != std::string_view::npos; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The regular expression with each single unescaped dot outside sets as `\\.`.
std::string WithRealDots(std::string_view text) {
  std::string out;
  bool set = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      out += text[i++];
    } else if (text[i] == '[') {
      set = true;
    } else if (text[i] == ']') {
      set = false;
    } else if (text[i] == '.' && !set &&
               (i + 1 == text.size() ||
                std::string_view("*+?{").find(text[i + 1]) == std::string_view::npos)) {
      out += '\\';
    }
    out += text[i];
  }
  return out;
}

// Whether a glob matches without a star that goes on with the digits of a number.
bool WholeNumbers(const std::string& glob, std::string_view path, size_t from = 1, int depth = 0) {
  for (size_t i = from; i < glob.size() && depth < 4; ++i) {
    if (glob[i] != '*' || !IsDigit(glob[i - 1])) continue;
    const std::string none = glob.substr(0, i) + glob.substr(i + 1);
    const std::string more = glob.substr(0, i) + "[!0-9]" + glob.substr(i);
    return WholeNumbers(none, path, i, depth + 1) || WholeNumbers(more, path, i + 7, depth + 1);
  }
  return Glob(glob, path);
}

size_t SlotOf(uint64_t hash) { return static_cast<size_t>((hash * 0x9E3779B97F4A7C15u) >> 20); }

}  // namespace

struct SkipList::State {
  std::vector<ListEntry> entries;
  std::vector<std::string> names;
  std::vector<bool> pattern, glob;
  bool exact = false, ancestor = false, last = false, segments = false, by_class = false;
  Primitive regex = Primitive::kRegexMatch;
  // Plain entries by hash, open addressing; equal names are chained through `next`.
  std::vector<int> slots, next;
  std::vector<uint64_t> hashes;
  std::array<uint64_t, kFilterBits / 64> filter{};
  // Globs whose only special character is a star at the end, sorted by what stands before it, and
  // the longest other one that begins it.
  std::vector<std::pair<std::string_view, int>> heads;
  std::vector<int> shorter;
  std::vector<std::pair<Primitive, int>> one_by_one;  // other globs, suffixes, substrings
  std::unique_ptr<RE2::Set> set;
  std::vector<int> set_entry;                  // set id → entry
  std::vector<std::unique_ptr<RE2>> patterns;  // in the order of set_entry; when the set gives up
  std::vector<std::unique_ptr<RE2>> strict;    // the same with dots that are dots; null: no change
  std::vector<int> linear;                     // entries that are the class name of a linear

  RE2::Anchor Anchor() const {
    return regex == Primitive::kRegexMatch    ? RE2::ANCHOR_START
           : regex == Primitive::kRegexSearch ? RE2::UNANCHORED
                                              : RE2::ANCHOR_BOTH;
  }

  void Insert(int at) {
    const uint64_t hash = HashOf(names[static_cast<size_t>(at)]);
    hashes[static_cast<size_t>(at)] = hash;
    const size_t mask = slots.size() - 1;
    size_t slot = SlotOf(hash) & mask;
    for (; slots[slot] >= 0; slot = (slot + 1) & mask) {
      int other = slots[slot];
      if (names[static_cast<size_t>(other)] != names[static_cast<size_t>(at)]) continue;
      while (next[static_cast<size_t>(other)] >= 0) other = next[static_cast<size_t>(other)];
      next[static_cast<size_t>(other)] = at;
      return;
    }
    slots[slot] = at;
    const size_t bit = SlotOf(hash) % kFilterBits;
    filter[bit / 64] |= uint64_t{1} << (bit % 64);
  }

  int Lookup(uint64_t hash, std::string_view text) const {
    const size_t bit = SlotOf(hash) % kFilterBits;
    if ((filter[bit / 64] >> (bit % 64) & 1) == 0) return -1;
    const size_t mask = slots.size() - 1;
    for (size_t slot = SlotOf(hash) & mask; slots[slot] >= 0; slot = (slot + 1) & mask) {
      const size_t at = static_cast<size_t>(slots[slot]);
      if (hashes[at] == hash && names[at] == text) return slots[slot];
    }
    return -1;
  }

  // Calls visit(entry, how) for plain entries: exact, ancestors from long to short, last segments
  // from long to short, other runs of segments. Stops when visit returns true.
  template <typename Visit>
  bool Literals(std::string_view path, const Visit& visit) const {
    HashedSegments split;
    if (!split.Split(path)) return false;
    const size_t count = split.count;
    uint64_t prefix[kMaxSegments] = {};  // of the segments 0 … i
    uint64_t hash = 0;
    for (size_t i = 0; i < count; ++i) prefix[i] = hash = hash * kBase + split.hash[i];
    const auto chain = [&](int at, Primitive how) {
      for (; at >= 0; at = next[static_cast<size_t>(at)])
        if (visit(at, how)) return true;
      return false;
    };
    if (exact && chain(Lookup(hash, path), Primitive::kExact)) return true;
    if (ancestor)
      for (size_t i = count - 1; i-- > 0;) {
        const std::string_view above = path.substr(0, split.begin[i + 1] - 1);
        if (chain(Lookup(prefix[i], above), Primitive::kAncestor)) return true;
      }
    if (!last) return false;
    uint64_t power[kMaxSegments];
    power[0] = 1;
    for (size_t i = 1; i < count; ++i) power[i] = power[i - 1] * kBase;
    // The hash of the segments first … end - 1 is that of 0 … end - 1 without 0 … first - 1.
    const auto run = [&](size_t first, size_t end) {
      return prefix[end - 1] - prefix[first - 1] * power[end - first - 1] * kBase;
    };
    for (size_t i = 1; i < count; ++i)
      if (chain(Lookup(run(i, count), path.substr(split.begin[i])), Primitive::kLastSegments))
        return true;
    for (size_t i = 1; segments && i < count; ++i)
      for (size_t end = i + 1; end < count; ++end) {
        const std::string_view inner =
            path.substr(split.begin[i], split.begin[end] - 1 - split.begin[i]);
        if (chain(Lookup(run(i, end), inner), Primitive::kSegments)) return true;
      }
    return false;
  }

  template <typename Visit>
  bool Globs(std::string_view path, const Visit& visit) const {
    if (!heads.empty()) {
      // All heads that begin `path` are on the way down from the last one that is not above it.
      const auto above = std::upper_bound(
          heads.begin(), heads.end(), path,
          [](std::string_view text, const auto& head) { return text < head.first; });
      for (int at = static_cast<int>(above - heads.begin()) - 1; at >= 0;
           at = shorter[static_cast<size_t>(at)]) {
        const auto& [head, entry] = heads[static_cast<size_t>(at)];
        if (path.substr(0, head.size()) == head && visit(entry, Primitive::kGlob)) return true;
      }
    }
    for (const auto& [how, entry] : one_by_one)
      if (OneByOne(how, names[static_cast<size_t>(entry)], path) && visit(entry, how)) return true;
    return false;
  }

  bool OneByOne(Primitive how, std::string_view name, std::string_view path) const {
    if (how == Primitive::kSubstring) return path.find(name) != std::string_view::npos;
    if (how == Primitive::kSuffix) return path.ends_with(name);
    if (Glob(name, path)) return true;
    if (!ancestor) return false;
    for (size_t dot = path.rfind('.'); dot != std::string_view::npos && dot > 0;
         dot = path.rfind('.', dot - 1))
      if (Glob(name, path.substr(0, dot))) return true;
    return false;
  }

  template <typename Visit>
  void Patterns(std::string_view path, const Visit& visit) const {
    if (set) {
      std::vector<int> ids;
      RE2::Set::ErrorInfo error;
      const re2::StringPiece text(path.data(), path.size());
      // Out of memory looks like "no match" unless asked for: then ask the patterns one by one.
      const bool matched = set->Match(text, &ids, &error);
      if (!matched && error.kind != RE2::Set::kNoError) {
        for (size_t i = 0; i < patterns.size(); ++i)
          if (patterns[i]->Match(text, 0, text.size(), Anchor(), nullptr, 0))
            ids.push_back(static_cast<int>(i));
      }
      std::sort(ids.begin(), ids.end());
      for (const int id : ids)
        if (visit(set_entry[static_cast<size_t>(id)], regex)) return;
    }
    for (const int at : linear)
      if (visit(at, Primitive::kClassName)) return;
  }

  // Sorts the heads of globs; equal ones are each other's shorter ones, the first on top.
  void SortHeads() {
    std::sort(heads.begin(), heads.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first < b.first : a.second > b.second;
    });
    std::vector<int> open;
    for (size_t i = 0; i < heads.size(); ++i) {
      while (!open.empty() &&
             !heads[i].first.starts_with(heads[static_cast<size_t>(open.back())].first))
        open.pop_back();
      shorter.push_back(open.empty() ? -1 : open.back());
      open.push_back(static_cast<int>(i));
    }
  }
};

SkipList::SkipList() : state_(std::make_unique<State>()) {}
SkipList::~SkipList() = default;
SkipList::SkipList(SkipList&&) noexcept = default;
SkipList& SkipList::operator=(SkipList&&) noexcept = default;

// Reads the entries of one list, one after the other.
class SkipList::Compiler {
 public:
  Compiler(const Matching& matching, const Renames& renames, State* state, Use use,
           Diagnostics* out)
      : matching_(matching), renames_(renames), state_(*state), use_(use), out_(out) {}

  bool Run() {
    bool good = true;
    for (size_t i = 0; i < state_.entries.size(); ++i) {
      good = Entry(i) && good;
      if (regexes_.size() > kMaxPatterns) break;
    }
    return good && Set() && OneByOne();
  }

 private:
  bool Refuse(Code code, std::string message, size_t i, std::string help = {}) {
    out_->Add(code, std::move(message), state_.entries[i].at).Help(std::move(help));
    return false;
  }

  bool Entry(size_t i) {
    std::string name = state_.entries[i].text;
    if (matching_.IsPattern(name)) return Regex(i, name.substr(matching_.prefix.size()));
    if (name.rfind("re:", 0) == 0) {
      out_->Add(Code::kPatternInPlainList,
                fmt::format("{} is a pattern, and lists of dialect `{}` hold plain names",
                            Quoted(name), matching_.dialect),
                state_.entries[i].at)
          .Fact("effect", "no engine that reads this list would match it with anything")
          .Help("write the names out");
      return false;
    }
    for (const std::string& end : matching_.strip)
      if (name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0)
        name.resize(name.size() - end.size());
    name = ApplyRenames(name, renames_, state_.last);
    state_.names[i] = name;
    if (name.empty())
      return Refuse(Code::kBadQuantConfig, "an entry of the skip list is empty", i,
                    "remove it; engines that look for substrings find it in every name");
    const int at = static_cast<int>(i);
    if (matching_.Has(Primitive::kGlob) && IsGlob(name)) return GlobEntry(i);
    if (state_.by_class && name == "Linear") state_.linear.push_back(at);
    state_.Insert(at);
    for (const Primitive how : {Primitive::kSuffix, Primitive::kSubstring})
      if (matching_.Has(how)) state_.one_by_one.emplace_back(how, at);
    return true;
  }

  bool GlobEntry(size_t i) {
    const std::string& name = state_.names[i];
    if (use_ == Use::kSkip && name.find_first_not_of('*') == std::string::npos)
      return Refuse(Code::kBadPattern,
                    fmt::format("the pattern {} matches every name", Quoted(name)), i,
                    "without quantization_config nothing is quantized");
    state_.glob[i] = true;
    if (name.find_first_of("*?[") == name.size() - 1 && name.back() == '*')
      state_.heads.emplace_back(std::string_view(name).substr(0, name.size() - 1),
                                static_cast<int>(i));
    else
      state_.one_by_one.emplace_back(Primitive::kGlob, static_cast<int>(i));
    return true;
  }

  bool Regex(size_t i, std::string text) {
    state_.pattern[i] = true;
    state_.names[i] = text;
    if (regexes_.size() == kMaxPatterns) {
      regexes_.emplace_back();  // ends the loop
      return Refuse(Code::kPatternCost,
                    fmt::format("more than {} patterns in one list", kMaxPatterns), i,
                    "join patterns that differ in one place: `(q|k|v)_proj`");
    }
    auto compiled = CompilePythonRegex(text, kMaxPattern, kMaxProgram, kMaxWildcards,
                                       state_.entries[i].at, out_);
    if (compiled && use_ == Use::kSkip && MatchesEverything(*compiled))
      return Refuse(Code::kBadPattern,
                    fmt::format("the pattern {} matches every name", Quoted(text)), i,
                    "without quantization_config nothing is quantized");
    if (!compiled) return false;
    std::string strict = WithRealDots(text);
    state_.strict.push_back(strict == text ? nullptr
                                           : std::make_unique<RE2>(strict, PythonRegexOptions()));
    regexes_.push_back(std::move(text));
    state_.patterns.push_back(std::move(compiled));
    state_.set_entry.push_back(static_cast<int>(i));
    return true;
  }

  bool Set() {
    if (regexes_.empty()) return true;
    state_.set = std::make_unique<RE2::Set>(PythonRegexOptions(), state_.Anchor());
    bool added = true;
    for (const std::string& regex : regexes_) added = state_.set->Add(regex, nullptr) >= 0 && added;
    if (added && state_.set->Compile()) return true;
    return Refuse(Code::kPatternCost, "the patterns together need too much memory",
                  static_cast<size_t>(state_.set_entry[0]));
  }

  bool OneByOne() {
    state_.SortHeads();
    if (state_.one_by_one.size() <= kMaxOneByOne) return true;
    return Refuse(Code::kPatternCost,
                  fmt::format("more than {} entries that no table can hold", kMaxOneByOne),
                  static_cast<size_t>(state_.one_by_one[kMaxOneByOne].second));
  }

  const Matching& matching_;
  const Renames& renames_;
  State& state_;
  Use use_;
  Diagnostics* out_;
  std::vector<std::string> regexes_;
};

std::optional<SkipList> SkipList::Compile(const Matching& matching, std::vector<ListEntry> entries,
                                          const Renames& renames, Diagnostics* out, Use use) {
  SkipList list;
  State& state = *list.state_;
  state.segments = matching.Has(Primitive::kSegments);  // which holds the next three
  state.ancestor = state.segments || matching.Has(Primitive::kAncestor);
  state.last = state.segments || matching.Has(Primitive::kLastSegments);
  state.exact = state.ancestor || state.last || matching.Has(Primitive::kExact);  // of all of them
  state.by_class = matching.Has(Primitive::kClassName);
  for (const Primitive regex : {Primitive::kRegexSearch, Primitive::kRegexFull})
    if (matching.Has(regex)) state.regex = regex;
  state.entries = std::move(entries);
  const size_t count = state.entries.size();
  state.names.resize(count);
  state.pattern.assign(count, false);
  state.glob.assign(count, false);
  state.next.assign(count, -1);
  state.hashes.assign(count, 0);
  size_t slots = 64;
  while (slots < count * 2) slots *= 2;
  state.slots.assign(slots, -1);
  if (!Compiler(matching, renames, &state, use, out).Run()) return std::nullopt;
  return list;
}

size_t SkipList::size() const { return state_->entries.size(); }
const ListEntry& SkipList::entry(size_t i) const { return state_->entries[i]; }
const std::string& SkipList::name(size_t i) const { return state_->names[i]; }
bool SkipList::is_pattern(size_t i) const { return state_->pattern[i] || state_->glob[i]; }
bool SkipList::has_patterns() const { return state_->set != nullptr; }

Hit SkipList::MatchLiteral(std::string_view path) const {
  Hit hit;
  state_->Literals(path, [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  });
  return hit;
}

Hit SkipList::Match(std::string_view path) const {
  Hit hit;
  const auto first = [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  };
  if (!state_->Literals(path, first) && !state_->Globs(path, first)) state_->Patterns(path, first);
  return hit;
}

void SkipList::MatchAll(std::string_view path, std::vector<Hit>* hits) const {
  const auto add = [&](int at, Primitive how) {
    hits->push_back({at, how});
    return false;
  };
  state_->Literals(path, add);
  state_->Globs(path, add);
  state_->Patterns(path, add);
}

std::string SkipList::Accident(const Hit& hit, std::string_view path) const {
  const size_t entry = static_cast<size_t>(hit.entry);
  const std::string& name = state_->names[entry];
  // The text from `begin` to `end` of the path cuts a segment.
  const auto cuts = [&](size_t begin, size_t end) {
    return (begin > 0 && IsWord(path[begin - 1]) && IsWord(path[begin])) ||
           (end > 0 && end < path.size() && IsWord(path[end - 1]) && IsWord(path[end]));
  };
  switch (hit.how) {
    case Primitive::kSuffix:
      return cuts(path.size() - name.size(), path.size()) ? "it begins inside a segment" : "";
    case Primitive::kSubstring:
      for (size_t at = path.find(name); at != std::string_view::npos; at = path.find(name, at + 1))
        if (!cuts(at, at + name.size())) return {};
      return "it begins or ends inside a segment";
    case Primitive::kGlob:
      for (std::string_view above = path;; above = above.substr(0, above.rfind('.'))) {
        if (Glob(name, above) && WholeNumbers(name, above)) return {};
        if (!state_->ancestor || above.rfind('.') == std::string_view::npos) break;
      }
      return "its star goes on with the digits of a number";
    case Primitive::kRegexMatch:
    case Primitive::kRegexSearch:
    case Primitive::kRegexFull: {
      const std::vector<int>& ids = state_->set_entry;
      const size_t id =
          static_cast<size_t>(std::find(ids.begin(), ids.end(), hit.entry) - ids.begin());
      const re2::StringPiece text(path.data(), path.size());
      re2::StringPiece found;
      if (!state_->patterns[id]->Match(text, 0, text.size(), state_->Anchor(), &found, 1))
        return {};
      const RE2* strict = state_->strict[id].get();
      if (strict != nullptr && !strict->Match(text, 0, text.size(), state_->Anchor(), nullptr, 0))
        return "an unescaped dot stands for another character";
      const size_t begin = static_cast<size_t>(found.data() - path.data());
      return cuts(begin, begin + found.size()) ? "it begins or ends inside a segment" : "";
    }
    default:
      return {};
  }
}

}  // namespace ferrule
