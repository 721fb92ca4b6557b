// SPDX-License-Identifier: Apache-2.0
// The entries of a list as they are written → what is compared; refusals of those that cost too
// much or mean something else elsewhere.
#include <fmt/format.h>

#include <map>

#include "engine/lists/python_regex.h"
#include "engine/lists/skip_list_state.h"

namespace ferrule {
namespace {

bool IsGlob(std::string_view text) { return text.find_first_of("*?[") != std::string_view::npos; }

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

}  // namespace

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
    Often();
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
    name = ApplyRenames(name, renames_, state_.literals.last);
    state_.names[i] = name;
    if (name.empty())
      return Refuse(Code::kBadQuantConfig, "an entry of the skip list is empty", i,
                    "remove it; engines that look for substrings find it in every name");
    const int at = static_cast<int>(i);
    if (matching_.Has(Primitive::kGlob) && IsGlob(name)) return GlobEntry(i);
    if (state_.by_class && name == "Linear") state_.linear.push_back(at);
    switch (state_.literals.Insert(state_.names, at)) {
      case SkipLiterals::Added::kYes:
        break;
      case SkipLiterals::Added::kTooOften:
        ++often_.try_emplace(name, i, 0).first->second.second;
        return false;
      case SkipLiterals::Added::kCollides:
        if (collide_++ > 0) return false;
        return Refuse(Code::kPatternCost,
                      fmt::format("{} and the entries before it share their hashes", Quoted(name)),
                      i, "they were made to cost time: no real names do");
    }
    for (const Primitive how : {Primitive::kSuffix, Primitive::kSubstring})
      if (matching_.Has(how)) state_.one_by_one.emplace_back(how, at);
    return true;
  }

  // One finding for each name, not for each time that it stands there.
  void Often() {
    for (const auto& [name, at] : often_)
      out_->Add(Code::kPatternCost,
                fmt::format("the entry {} stands more than {} times in the list", Quoted(name),
                            SkipLiterals::kMaxEqual),
                state_.entries[at.first].at)
          .Fact("entries", fmt::format("{} of it", SkipLiterals::kMaxEqual + at.second))
          .Help("keep one of them");
  }

  bool GlobEntry(size_t i) {
    const std::string& name = state_.names[i];
    if (use_ == Use::kSkip && name.find_first_not_of('*') == std::string::npos)
      return Refuse(Code::kBadPattern,
                    fmt::format("the pattern {} matches every name", Quoted(name)), i,
                    "without quantization_config nothing is quantized");
    state_.glob[i] = true;
    if (name.find_first_of("*?[") == name.size() - 1 && name.back() == '*')
      state_.heads.Add(std::string_view(name).substr(0, name.size() - 1), static_cast<int>(i));
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
    if (const int deep = state_.heads.Sort(); deep >= 0)
      return Refuse(
          Code::kPatternCost,
          fmt::format("more than {} globs of the list begin each other", SkipHeads::kMaxNested),
          static_cast<size_t>(deep), "keep the shortest: it names what the others name");
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
  // Name → the entry at which it stood too often, and how often it did so from there on.
  std::map<std::string, std::pair<size_t, int>> often_;
  size_t collide_ = 0;
};

std::optional<SkipList> SkipList::Compile(const Matching& matching, std::vector<ListEntry> entries,
                                          const Renames& renames, Diagnostics* out, Use use) {
  SkipList list;
  State& state = *list.state_;
  SkipLiterals& plain = state.literals;
  plain.segments = matching.Has(Primitive::kSegments);  // which holds the next three
  plain.ancestor = plain.segments || matching.Has(Primitive::kAncestor);
  plain.last = plain.segments || matching.Has(Primitive::kLastSegments);
  plain.exact = plain.ancestor || plain.last || matching.Has(Primitive::kExact);  // of all of them
  state.by_class = matching.Has(Primitive::kClassName);
  for (const Primitive regex : {Primitive::kRegexSearch, Primitive::kRegexFull})
    if (matching.Has(regex)) state.regex = regex;
  state.entries = std::move(entries);
  const size_t count = state.entries.size();
  state.names.resize(count);
  state.pattern.assign(count, false);
  state.glob.assign(count, false);
  plain.Prepare(count);
  if (!Compiler(matching, renames, &state, use, out).Run()) return std::nullopt;
  return list;
}

}  // namespace ferrule
