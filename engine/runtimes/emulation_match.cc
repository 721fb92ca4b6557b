// SPDX-License-Identifier: Apache-2.0
// Whether an entry names a module, by the rules of a runtime file.
#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

constexpr size_t kLongList = 64;        // below it a look at each entry is as fast
constexpr size_t kVeryLongList = 4096;  // an index is worth it for one question
constexpr int kManyQuestions = 4;       // for a long list

Truth Of(bool holds) { return holds ? Truth::kYes : Truth::kNo; }

}  // namespace

std::optional<std::string_view> MatchRule::Left(std::string_view entry) const {
  if (only && !only->Holds(entry)) return std::nullopt;
  if (marked && !HasPrefix("re:", entry)) return std::nullopt;
  if (marked) entry.remove_prefix(3);
  for (const std::string& prefix : prefixes) {
    if (!HasPrefix(prefix, entry)) continue;
    entry.remove_prefix(prefix.size());
    break;
  }
  if (!cut.empty() && HasSuffix(cut, entry)) entry.remove_suffix(cut.size());
  return entry;
}

// What each rule asks instead of the path: the same for all entries of a list.
Emulator::Asked Emulator::AskedBy(const std::vector<MatchRule>& rules, const Frame& frame) const {
  Asked asked;
  asked.reserve(rules.size());
  for (const MatchRule& rule : rules) asked.push_back(Other(rule.names, frame));
  return asked;
}

// The rules in order, each under its names in order: the first that matches.
Truth Emulator::Names(const std::vector<MatchRule>& rules, const Asked& asked,
                      std::string_view entry, const Frame& frame) {
  Truth all = Truth::kNo;
  for (size_t r = 0; r < rules.size(); ++r) {
    const MatchRule& rule = rules[r];
    const auto text = rule.Left(entry);
    if (!text) continue;
    for (const std::string& name : asked[r]) {
      const Truth one = Matches(rule, *text, name, frame);
      if (one == Truth::kYes) return one;
      if (one == Truth::kRaised) return all == Truth::kUnknown ? all : one;
      if (one == Truth::kUnknown) all = one;
    }
    if (rule.marked) break;
  }
  return all;
}

// The names that the forms give; without forms the name itself.
std::vector<std::string> Emulator::Other(const std::vector<NameForm>& forms,
                                         const Frame& frame) const {
  if (forms.empty()) return {frame.name};
  NameContext context{frame.layer, {}};
  for (const Fused& fused : FindFused(frame))
    for (const std::string& part : *fused.parts)
      context.parts.push_back(Rewritten(frame, fused, part));
  std::vector<std::string> names;
  for (const NameForm& form : forms)
    if (HasText("{", form.is))
      names.push_back(Fill(form.is, frame));
    else
      form.Apply(frame.name, context, &names);
  return names;
}

// The layer's class and those that it is derived from.
std::vector<std::string_view> Emulator::Classes(const Frame& frame) {
  std::vector<std::string_view> out{frame.layer};
  for (const auto& [known, ancestors] : frame.home->classes)
    if (known == frame.layer) {
      out.insert(out.end(), ancestors.begin(), ancestors.end());
      break;
    }
  return out;
}

// The entries to ask: of a long list those that its index finds, else all.
Emulator::Places Emulator::ToAsk(const std::vector<MatchRule>& rules, const Asked& asked,
                                 const QuestionList& list, const Frame& frame) const {
  Places all;
  all.count = list.size();
  if (list.size() < kLongList) return all;
  QuestionIndexes::Use& use = question_.indexes.of[{&list, &rules}];
  if (!use.index) {
    if (list.size() < kVeryLongList && ++use.times < kManyQuestions) return all;
    std::vector<std::string_view> texts;
    texts.reserve(list.size());
    for (const QuestionEntry& entry : list) texts.emplace_back(entry.text);
    use.index = std::make_unique<EntryIndex>(rules, texts);
  }
  auto found = use.index->Find(asked, Classes(frame));
  if (!found) return all;
  return {std::move(*found), 0, true};
}

Truth Emulator::Matches(const MatchRule& rule, std::string_view entry, std::string_view name,
                        const Frame& frame) {
  if (rule.trailing_dots) {
    entry = StripTrailingDots(entry);
    name = StripTrailingDots(name);
  }
  switch (rule.by) {
    case By::kExact:
      return Of(IsExact(entry, name));
    case By::kAncestor:
      return Of(IsAncestor(entry, name));
    case By::kSegments:
      return Of(HasSegments(entry, name));
    case By::kLastSegments:
      return Of(HasLastSegments(entry, name));
    case By::kSegment:
      return Of(HasSegment(entry, name));
    case By::kPrefix:
      return Of(HasPrefix(entry, name));
    case By::kSuffix:
      return Of(HasSuffix(entry, name));
    case By::kText:
      return Of(HasText(entry, name));
    case By::kTextAnyCase:
      return Of(HasTextNoCase(entry, name));
    case By::kWithin:
      return Of(IsTextOf(entry, name));
    case By::kChild:
      return Of(entry.size() > name.size() && IsAncestor(name, entry));
    case By::kGlob:
      return Of(Glob(entry, name));
    case By::kModelOptGlob:
      return Pattern(rule, ModelOptGlob(entry), name);
    case By::kRegex:
      return Pattern(rule, entry, name);
    case By::kLastOf: {
      const std::string_view last = LastSegment(entry);
      const bool known = std::find(rule.words.begin(), rule.words.end(), last) != rule.words.end();
      return Of(known && HasText(last, LastSegment(name)));
    }
    case By::kClass:
      break;
  }
  const std::vector<std::string_view> classes = Classes(frame);
  return Of(std::find(classes.begin(), classes.end(), entry) != classes.end());
}

Truth Emulator::Pattern(const MatchRule& rule, std::string_view entry, std::string_view name) {
  const std::string text =
      rule.form.empty() ? std::string(entry) : ReplaceEvery(rule.form, "{}", entry);
  const PythonRegex& regex = regexes_.Get(text, rule.module);
  PythonRegex::Verdict verdict = PythonRegex::Verdict::kNo;
  if (rule.to_boundary) {
    verdict = regex.MatchToBoundary(name);
  } else {
    verdict = regex.Match(name, rule.anchor);
  }
  using Verdict = PythonRegex::Verdict;
  if (verdict == Verdict::kRaises && rule.bad_ignored) return Truth::kNo;
  if (verdict == Verdict::kRaises) {
    error_ = regex.error() == "error"
                 ? fmt::format("{}.error", rule.module == PythonModule::kRe ? "re" : "regex")
                 : std::string(regex.error());
    return Truth::kRaised;
  }
  if (verdict == Verdict::kUnsupported) {
    why_ = regex.why();
    return Truth::kUnknown;
  }
  return Of(verdict == Verdict::kYes);
}

}  // namespace ferrule
