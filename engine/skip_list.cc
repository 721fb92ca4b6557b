// SPDX-License-Identifier: Apache-2.0
#include "engine/skip_list.h"

#include <fmt/format.h>
#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/path_table.h"
#include "engine/python_regex.h"

namespace ferrule {
namespace {

constexpr uint64_t kBase = 0x100000001B3u;  // FNV's prime: odd, so that powers never vanish
constexpr size_t kFilterBits = 1 << 16;

// A path as hashes of its segments. The hash of a run of segments h0 … hn is Σ hi · base^(n - i),
// so that ancestors and last segments cost one multiplication each.
struct Segments {
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
  Segments segments;
  if (!segments.Split(text)) return 0;  // no module has so many
  uint64_t hash = 0;
  for (size_t i = 0; i < segments.count; ++i) hash = hash * kBase + segments.hash[i];
  return hash;
}

size_t SlotOf(uint64_t hash) { return static_cast<size_t>((hash * 0x9E3779B97F4A7C15u) >> 20); }

}  // namespace

struct SkipList::State {
  std::vector<ListEntry> entries;
  std::vector<std::string> names;
  std::vector<bool> pattern;
  bool exact = false, ancestor = false, last = false, by_class = false;
  // Plain entries by hash, open addressing; equal names are chained through `next`.
  std::vector<int> slots, next;
  std::vector<uint64_t> hashes;
  std::array<uint64_t, kFilterBits / 64> filter{};
  std::unique_ptr<RE2::Set> set;
  std::vector<int> set_entry;                  // set id → entry
  std::vector<std::unique_ptr<RE2>> patterns;  // in the order of set_entry; when the set gives up
  std::vector<int> linear;                     // entries that are the class name of a linear

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
  // from long to short. Stops when visit returns true.
  template <typename Visit>
  void Literals(std::string_view path, const Visit& visit) const {
    Segments segments;
    if (!segments.Split(path)) return;
    const size_t count = segments.count;
    uint64_t prefix[kMaxSegments];  // of the segments 0 … i
    uint64_t hash = 0;
    for (size_t i = 0; i < count; ++i) prefix[i] = hash = hash * kBase + segments.hash[i];
    const auto chain = [&](int at, Primitive how) {
      for (; at >= 0; at = next[static_cast<size_t>(at)])
        if (visit(at, how)) return true;
      return false;
    };
    if (exact && chain(Lookup(hash, path), Primitive::kExact)) return;
    if (ancestor)
      for (size_t i = count - 1; i-- > 0;) {
        const std::string_view above = path.substr(0, segments.begin[i + 1] - 1);
        if (chain(Lookup(prefix[i], above), Primitive::kAncestor)) return;
      }
    if (!last) return;
    uint64_t power[kMaxSegments];
    power[0] = 1;
    for (size_t i = 1; i < count; ++i) power[i] = power[i - 1] * kBase;
    for (size_t i = 1; i < count; ++i) {
      const uint64_t tail = hash - prefix[i - 1] * power[count - i - 1] * kBase;
      const std::string_view below = path.substr(segments.begin[i]);
      if (chain(Lookup(tail, below), Primitive::kLastSegments)) return;
    }
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
          if (patterns[i]->Match(text, 0, text.size(), RE2::ANCHOR_START, nullptr, 0))
            ids.push_back(static_cast<int>(i));
      }
      std::sort(ids.begin(), ids.end());
      for (const int id : ids)
        if (visit(set_entry[static_cast<size_t>(id)], Primitive::kRegexMatch)) return;
    }
    for (const int at : linear)
      if (visit(at, Primitive::kClassName)) return;
  }
};

SkipList::SkipList() : state_(std::make_unique<State>()) {}
SkipList::~SkipList() = default;
SkipList::SkipList(SkipList&&) noexcept = default;
SkipList& SkipList::operator=(SkipList&&) noexcept = default;

std::optional<SkipList> SkipList::Compile(const Dialect& dialect, std::vector<ListEntry> entries,
                                          const Renames& renames, Diagnostics* out, Use use) {
  SkipList list;
  State& state = *list.state_;
  const auto has = [&](Primitive primitive) {
    return std::find(dialect.match.begin(), dialect.match.end(), primitive) != dialect.match.end();
  };
  state.exact = has(Primitive::kExact);
  state.ancestor = has(Primitive::kAncestor);
  state.last = has(Primitive::kLastSegments);
  state.by_class = has(Primitive::kClassName);
  state.entries = std::move(entries);
  const size_t count = state.entries.size();
  state.names.resize(count);
  state.pattern.assign(count, false);
  state.next.assign(count, -1);
  state.hashes.assign(count, 0);
  size_t slots = 64;
  while (slots < count * 2) slots *= 2;
  state.slots.assign(slots, -1);

  bool good = true;
  std::vector<std::string> regexes;
  for (size_t i = 0; i < count; ++i) {
    std::string name = state.entries[i].text;
    const bool regex = name.rfind("re:", 0) == 0;
    if (regex && dialect.pattern_prefix.empty()) {
      out->Add(Code::kPatternInPlainList,
               fmt::format("{} is a pattern, and lists of dialect `{}` hold plain names",
                           Quoted(name), dialect.name),
               state.entries[i].at)
          .Fact("effect", "no engine that reads this list would match it with anything")
          .Help("write the names out");
      good = false;
      continue;
    }
    if (regex) {
      name = name.substr(dialect.pattern_prefix.size());
      state.pattern[i] = true;
      state.names[i] = name;
      if (regexes.size() == kMaxPatterns) {
        out->Add(Code::kPatternCost, fmt::format("more than {} patterns in one list", kMaxPatterns),
                 state.entries[i].at);
        good = false;
        break;
      }
      auto compiled = CompilePythonRegex(name, kMaxPattern, kMaxProgram, kMaxWildcards,
                                         state.entries[i].at, out);
      if (compiled && use == Use::kSkip && MatchesEverything(*compiled)) {
        out->Add(Code::kBadPattern, fmt::format("the pattern {} matches every name", Quoted(name)),
                 state.entries[i].at)
            .Help("without quantization_config nothing is quantized");
        compiled = nullptr;
      }
      if (!compiled) {
        good = false;
        continue;
      }
      regexes.push_back(name);
      state.patterns.push_back(std::move(compiled));
      state.set_entry.push_back(static_cast<int>(i));
      continue;
    }
    for (const std::string& end : dialect.strip)
      if (name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0)
        name.resize(name.size() - end.size());
    name = ApplyRenames(name, renames, state.last);
    state.names[i] = name;
    if (name.empty()) {
      out->Add(Code::kBadQuantConfig, "an entry of the skip list is empty", state.entries[i].at);
      good = false;
      continue;
    }
    if (state.by_class && name == "Linear") state.linear.push_back(static_cast<int>(i));
    state.Insert(static_cast<int>(i));
  }
  if (!good) return std::nullopt;
  if (!regexes.empty()) {
    state.set = std::make_unique<RE2::Set>(PythonRegexOptions(), RE2::ANCHOR_START);
    bool added = true;
    for (const std::string& regex : regexes) added = state.set->Add(regex, nullptr) >= 0 && added;
    if (!added || !state.set->Compile()) {
      out->Add(Code::kPatternCost, "the patterns together need too much memory",
               state.entries[static_cast<size_t>(state.set_entry[0])].at);
      return std::nullopt;
    }
  }
  return list;
}

size_t SkipList::size() const { return state_->entries.size(); }
const ListEntry& SkipList::entry(size_t i) const { return state_->entries[i]; }
const std::string& SkipList::name(size_t i) const { return state_->names[i]; }
bool SkipList::is_pattern(size_t i) const { return state_->pattern[i]; }
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
  Hit hit = MatchLiteral(path);
  if (hit) return hit;
  state_->Patterns(path, [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  });
  return hit;
}

void SkipList::MatchAll(std::string_view path, std::vector<Hit>* hits) const {
  const auto add = [&](int at, Primitive how) {
    hits->push_back({at, how});
    return false;
  };
  state_->Literals(path, add);
  state_->Patterns(path, add);
}

}  // namespace ferrule
