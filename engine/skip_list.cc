// SPDX-License-Identifier: Apache-2.0
#include "engine/skip_list.h"

#include <fmt/format.h>
#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <array>
#include <bit>

#include "engine/path_table.h"
#include "engine/python_regex.h"
#include "engine/words.h"

namespace ferrule {
namespace {

constexpr uint64_t kBase = 0x100000001B3u;  // FNV's prime: odd, so that powers never vanish
constexpr auto kPowers = [] {
  std::array<uint64_t, kMaxSegments> powers{1};
  for (size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * kBase;
  return powers;
}();
constexpr size_t kLeastFilterBits = 1 << 16;

// A path as hashes of its segments. The hash of a run of segments h0 … hn is Σ hi · base^(n - i),
// so that ancestors and last segments cost one multiplication each.
struct Segments {
  size_t count = 0;
  size_t begin[kMaxSegments];
  uint64_t hash[kMaxSegments];

  // False when there are more than kMaxSegments.
  bool Split(std::string_view path) {
    size_t at = 0;
    const auto end = [&](size_t stop) {
      if (count == kMaxSegments) return false;
      begin[count] = at;
      hash[count++] = HashBytes(path.substr(at, stop - at));
      at = stop + 1;
      return true;
    };
    return EachDot(path, end) && end(path.size());
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

// Plain names by hash, open addressing; equal ones are chained through `next`.
class SkipList::Literals {
 public:
  bool exact = false, ancestor = false, last = false;

  void Reserve(size_t count) {
    size_t slots = 64;
    while (slots < count * 2) slots *= 2;
    slots_.assign(slots, -1);
    // Nearly all of what is looked up is in no list: at most one bit in 32 is set to say so.
    filter_.assign(std::max(kLeastFilterBits, std::bit_ceil(count * 32)) / 64, 0);
    next_.assign(count, -1);
    hashes_.assign(count, 0);
  }

  // `names` are all of Reserve's `count` names; `at` is one of them.
  void Insert(const std::vector<std::string>& names, int at) {
    const std::string& name = names[static_cast<size_t>(at)];
    const uint64_t hash = HashOf(name);
    hashes_[static_cast<size_t>(at)] = hash;
    const size_t mask = slots_.size() - 1;
    size_t slot = SlotOf(hash) & mask;
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      int other = slots_[slot];
      if (names[static_cast<size_t>(other)] != name) continue;
      while (next_[static_cast<size_t>(other)] >= 0) other = next_[static_cast<size_t>(other)];
      next_[static_cast<size_t>(other)] = at;
      return;
    }
    slots_[slot] = at;
    const size_t bit = FilterBit(hash);
    filter_[bit / 64] |= uint64_t{1} << (bit % 64);
  }

  // Calls visit(entry, how): exact, ancestors from long to short, last segments from long to short.
  // Stops when visit returns true.
  template <typename Visit>
  void Match(const std::vector<std::string>& names, std::string_view path,
             const Visit& visit) const {
    Segments segments;
    if (!segments.Split(path)) return;
    const size_t count = segments.count;
    uint64_t prefix[kMaxSegments];  // of the segments 0 … i
    uint64_t hash = 0;
    for (size_t i = 0; i < count; ++i) prefix[i] = hash = hash * kBase + segments.hash[i];
    const auto chain = [&](int at, Primitive how) {
      for (; at >= 0; at = next_[static_cast<size_t>(at)])
        if (visit(at, how)) return true;
      return false;
    };
    if (exact && chain(Lookup(names, hash, path), Primitive::kExact)) return;
    if (ancestor)
      for (size_t i = count - 1; i-- > 0;) {
        const std::string_view above = path.substr(0, segments.begin[i + 1] - 1);
        if (chain(Lookup(names, prefix[i], above), Primitive::kAncestor)) return;
      }
    if (!last) return;
    for (size_t i = 1; i < count; ++i) {
      const uint64_t tail = hash - prefix[i - 1] * kPowers[count - i];
      const std::string_view below = path.substr(segments.begin[i]);
      if (chain(Lookup(names, tail, below), Primitive::kLastSegments)) return;
    }
  }

 private:
  int Lookup(const std::vector<std::string>& names, uint64_t hash, std::string_view text) const {
    const size_t bit = FilterBit(hash);
    if ((filter_[bit / 64] >> (bit % 64) & 1) == 0) return -1;
    const size_t mask = slots_.size() - 1;
    for (size_t slot = SlotOf(hash) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      const size_t at = static_cast<size_t>(slots_[slot]);
      if (hashes_[at] == hash && names[at] == text) return slots_[slot];
    }
    return -1;
  }

  size_t FilterBit(uint64_t hash) const {
    return static_cast<size_t>(hash >> 32) & (filter_.size() * 64 - 1);
  }

  std::vector<int> slots_, next_;
  std::vector<uint64_t> hashes_;
  std::vector<uint64_t> filter_;
};

struct SkipList::State {
  std::vector<ListEntry> entries;
  std::vector<std::string> names;
  std::vector<bool> pattern;
  bool by_class = false;
  Literals literals;                   // of `names`
  std::vector<std::string> templates;  // `names` with numbers taken out, each once
  Literals by_template;                // of `templates`
  bool any_template = false;           // an entry is over the limits for a template
  std::unique_ptr<RE2::Set> set;
  std::vector<int> set_entry;                  // set id → entry
  std::vector<std::unique_ptr<RE2>> patterns;  // in the order of set_entry; when the set gives up
  std::vector<int> linear;                     // entries that are the class name of a linear

  void IndexTemplates() {
    NormalName normal;
    for (size_t i = 0; i < names.size(); ++i) {
      if (pattern[i]) continue;
      if (Normalise(names[i], &normal))
        templates.emplace_back(normal.view());
      else
        any_template = true;
    }
    std::sort(templates.begin(), templates.end());
    templates.erase(std::unique(templates.begin(), templates.end()), templates.end());
    by_template.exact = literals.exact;
    by_template.ancestor = literals.ancestor;
    by_template.last = literals.last;
    by_template.Reserve(templates.size());
    for (size_t i = 0; i < templates.size(); ++i)
      by_template.Insert(templates, static_cast<int>(i));
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
  state.literals.exact = has(Primitive::kExact);
  state.literals.ancestor = has(Primitive::kAncestor);
  state.literals.last = has(Primitive::kLastSegments);
  state.by_class = has(Primitive::kClassName);
  state.entries = std::move(entries);
  const size_t count = state.entries.size();
  state.names.resize(count);
  state.pattern.assign(count, false);
  state.literals.Reserve(count);

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
    name = ApplyRenames(name, renames, state.literals.last);
    state.names[i] = name;
    if (name.empty()) {
      out->Add(Code::kBadQuantConfig, "an entry of the skip list is empty", state.entries[i].at);
      good = false;
      continue;
    }
    if (state.by_class && name == "Linear") state.linear.push_back(static_cast<int>(i));
    state.literals.Insert(state.names, static_cast<int>(i));
  }
  if (!good) return std::nullopt;
  state.IndexTemplates();
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
  state_->literals.Match(state_->names, path, [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  });
  return hit;
}

bool SkipList::MayMatch(std::string_view normal) const {
  if (state_->set || !state_->linear.empty()) return true;
  return MayMatchLiteral(normal);
}

bool SkipList::MayMatchLiteral(std::string_view normal) const {
  bool any = state_->any_template;
  state_->by_template.Match(state_->templates, normal, [&](int, Primitive) { return any = true; });
  return any;
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
  state_->literals.Match(state_->names, path, add);
  state_->Patterns(path, add);
}

}  // namespace ferrule
