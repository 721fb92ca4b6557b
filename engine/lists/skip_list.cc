// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/skip_list.h"

#include <algorithm>

#include "engine/lists/skip_list_state.h"

namespace ferrule {
namespace {

bool IsWord(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

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

}  // namespace

SkipList::SkipList() : state_(std::make_unique<State>()) {}
SkipList::~SkipList() = default;
SkipList::SkipList(SkipList&&) noexcept = default;
SkipList& SkipList::operator=(SkipList&&) noexcept = default;

size_t SkipList::size() const { return state_->entries.size(); }
const ListEntry& SkipList::entry(size_t i) const { return state_->entries[i]; }
const std::string& SkipList::name(size_t i) const { return state_->names[i]; }
bool SkipList::is_pattern(size_t i) const { return state_->pattern[i] || state_->glob[i]; }
bool SkipList::has_classes() const { return !state_->linear.empty(); }
bool SkipList::has_patterns() const { return state_->set != nullptr; }

Hit SkipList::MatchLiteral(std::string_view path) const {
  Hit hit;
  state_->literals.Each(state_->names, path, [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  });
  return hit;
}

bool SkipList::MayName(std::string_view normal, std::string_view begin) const {
  return state_->set != nullptr || !state_->one_by_one.empty() || state_->heads.MayBegin(begin) ||
         state_->literals.MayName(normal);
}

bool SkipList::MayNameLiterally(std::string_view normal) const {
  return state_->literals.MayName(normal);
}

Hit SkipList::Match(std::string_view path) const {
  Hit hit;
  const auto first = [&](int at, Primitive how) {
    hit = {at, how};
    return true;
  };
  if (!state_->literals.Each(state_->names, path, first) && !state_->Globs(path, first))
    state_->Patterns(path, first);
  return hit;
}

void SkipList::MatchAll(std::string_view path, std::vector<Hit>* hits) const {
  const auto add = [&](int at, Primitive how) {
    hits->push_back({at, how});
    return false;
  };
  state_->literals.Each(state_->names, path, add);
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
        if (!state_->literals.ancestor || above.rfind('.') == std::string_view::npos) break;
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
