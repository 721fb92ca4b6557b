// SPDX-License-Identifier: Apache-2.0
// Lists of a question as the engine reads them, and lists that are the answer.
#include <algorithm>
#include <unordered_map>

#include "engine/runtimes/emulation_state.h"
#include "engine/text/json.h"

namespace ferrule {

// The input `name`, normalised as the function says, once for all questions about these lists.
const QuestionList& Emulator::List(std::string_view name, const Frame& frame) {
  static const QuestionList kNone;
  for (const ListRule& rule : frame.function->lists) {
    if (rule.name != name) continue;
    const auto text = question_.texts.find("key");
    const bool hangs = !rule.keys.empty() && text != question_.texts.end();
    const std::pair key(&rule, hangs ? text->second : std::string());
    auto& built = question_.built;
    const auto known = built.find(key);
    return known != built.end() ? known->second : built.emplace(key, Build(rule)).first->second;
  }
  // A list that a caller normalised is passed on under its name.
  const auto passed = frame.passed.find(name);
  if (passed != frame.passed.end()) return *passed->second;
  const auto input = question_.lists.find(name);
  return input == question_.lists.end() ? kNone : input->second;
}

QuestionList Emulator::Build(const ListRule& rule) const {
  QuestionList out;
  std::unordered_map<std::string, size_t> places;  // of unique entries, in `out`
  if (!rule.keys.empty()) {
    const auto key = question_.texts.find("key");
    if (key != question_.texts.end() &&
        std::find(rule.keys.begin(), rule.keys.end(), key->second) == rule.keys.end())
      return out;
  }
  for (const std::string& from : rule.from) {
    const auto input = question_.lists.find(from);
    if (input == question_.lists.end() || input->second.empty()) continue;
    for (const QuestionEntry& entry : input->second) {
      std::vector<std::string> names;
      if (rule.forms.empty()) names.push_back(entry.text);
      for (const NameForm& form : rule.forms) form.Apply(entry.text, {}, &names);
      for (std::string& name : names) {
        const bool fresh = !rule.unique || places.try_emplace(name, out.size()).second;
        if (!fresh) {
          QuestionEntry& twin = out[places.at(name)];
          twin.value = entry.value;
          twin.group = entry.group;
        } else {
          out.push_back({std::move(name), entry.value, entry.index, entry.group});
        }
      }
    }
    break;
  }
  if (rule.plain_first)
    std::stable_sort(out.begin(), out.end(), [](const QuestionEntry& a, const QuestionEntry& b) {
      return std::pair(HasText("re:", a.text), a.text) < std::pair(HasText("re:", b.text), b.text);
    });
  return out;
}

// A name under the rename tables of the question, as vLLM applies them: texts, then leading texts,
// then last texts, each table in order, each hit once; null drops the name.
std::optional<std::string> Emulator::Renamed(const std::string& name) const {
  std::string out = name;
  const auto table = [&](std::string_view key) -> const QuestionList& {
    static const QuestionList kNone;
    const auto found = question_.lists.find(key);
    return found == question_.lists.end() ? kNone : found->second;
  };
  for (const QuestionEntry& rename : table("orig_to_new_substr")) {
    if (!HasText(rename.text, out)) continue;
    if (rename.value.is_null()) return std::nullopt;
    out = ReplaceFirst(out, rename.text, rename.value.Text());
  }
  for (const QuestionEntry& rename : table("orig_to_new_prefix")) {
    if (!HasPrefix(rename.text, out)) continue;
    if (rename.value.is_null()) return std::nullopt;
    out = ReplaceFirst(out, rename.text, rename.value.Text());
  }
  for (const QuestionEntry& rename : table("orig_to_new_suffix")) {
    if (!HasSuffix(rename.text, out)) continue;
    if (rename.value.is_null()) return std::nullopt;
    out = out.substr(0, out.size() - rename.text.size()) + std::string(rename.value.Text());
  }
  return out;
}

// Adds words, or the entries of an input under their other names, to the list that is gathered.
Truth Emulator::Gather(const Step& step, const Frame& frame) {
  std::vector<std::string>& out = (*frame.gathered)[step.text];
  std::vector<std::string> from = step.add;
  const auto gathered = frame.gathered->find(step.from);
  if (gathered != frame.gathered->end() && step.from != step.text)
    from.insert(from.end(), gathered->second.begin(), gathered->second.end());
  const Asked asked = AskedBy(step.match, frame);
  const QuestionList& list = List(step.from, frame);
  Places places{{}, list.size(), false};
  if (!step.match.empty()) places = ToAsk(step.match, asked, list, frame);
  for (size_t i = 0; i < places.size(); ++i) {
    const QuestionEntry& entry = list[places[i]];
    const Truth truth =
        step.match.empty() ? Truth::kYes : Names(step.match, asked, entry.text, frame);
    if (truth == Truth::kRaised || truth == Truth::kUnknown) return truth;
    if (truth == Truth::kYes) from.push_back(entry.text);
  }
  for (const std::string& text : from) {
    std::vector<std::string> names;
    if (step.names.empty()) names.push_back(text);
    for (const NameForm& form : step.names) form.Apply(text, {}, &names);
    for (const std::string& name : names) {
      const std::optional<std::string> last = step.renamed ? Renamed(name) : name;
      if (last && (!step.only_new || std::find(out.begin(), out.end(), *last) == out.end()))
        out.push_back(*last);
    }
  }
  if (step.sorted) {
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  }
  return Truth::kYes;
}

}  // namespace ferrule
