// SPDX-License-Identifier: Apache-2.0
// Whether an entry names a module, by the rules of a runtime file.
#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

constexpr size_t kLongList = 64;  // below it a look at each entry is as fast

Truth Of(bool holds) { return holds ? Truth::kYes : Truth::kNo; }

}  // namespace

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
    if (rule.only && !rule.only->Holds(entry)) continue;
    const bool marked = rule.marked && HasPrefix("re:", entry);
    if (rule.marked && !marked) continue;
    std::string_view text = marked ? entry.substr(3) : entry;
    for (const std::string& prefix : rule.prefixes) {
      if (!HasPrefix(prefix, text)) continue;
      text.remove_prefix(prefix.size());
      break;
    }
    if (!rule.cut.empty() && HasSuffix(rule.cut, text)) text.remove_suffix(rule.cut.size());
    for (const std::string& name : asked[r]) {
      const Truth one = Matches(rule, text, name, frame);
      if (one == Truth::kYes) return one;
      if (one == Truth::kRaised) return all == Truth::kUnknown ? all : one;
      if (one == Truth::kUnknown) all = one;
    }
    if (marked) break;
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

// The first entry that a lone `exact` or `child` rule hits, and the end when it hits none; nothing
// for other rules, and for lists that are short or made by a function.
std::optional<size_t> Emulator::Indexed(const std::vector<MatchRule>& rules, const Asked& asked,
                                        std::string_view input, const QuestionList& list) const {
  const auto known = question_.lists.find(input);
  if (list.size() < kLongList || known == question_.lists.end() || &known->second != &list)
    return std::nullopt;
  if (rules.size() != 1) return std::nullopt;
  const MatchRule& rule = rules[0];
  if ((rule.by != By::kExact && rule.by != By::kChild) || rule.only || rule.marked ||
      rule.trailing_dots || !rule.prefixes.empty() || !rule.cut.empty())
    return std::nullopt;
  SortedEntries& sorted = question_.sorted[std::string(input)];
  if (sorted.empty()) {
    for (size_t i = 0; i < list.size(); ++i) sorted.emplace_back(list[i].text, i);
    std::sort(sorted.begin(), sorted.end());
  }
  size_t first = list.size();
  for (const std::string& name : asked[0]) {
    const std::string from = rule.by == By::kChild ? name + "." : name;
    for (auto at = std::lower_bound(sorted.begin(), sorted.end(),
                                    std::pair(std::string_view(from), size_t{0}));
         at != sorted.end() &&
         (rule.by == By::kChild ? HasPrefix(from, at->first) : at->first == from);
         ++at)
      first = std::min(first, at->second);
  }
  return first;
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
  if (entry == frame.layer) return Truth::kYes;
  for (const auto& [known, ancestors] : frame.home->classes)
    if (known == frame.layer)
      return Of(std::find(ancestors.begin(), ancestors.end(), entry) != ancestors.end());
  return Truth::kNo;
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
