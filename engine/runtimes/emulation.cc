// SPDX-License-Identifier: Apache-2.0
// The steps of a runtime's function, one after the other, until one decides.
#include "engine/runtimes/emulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

constexpr int kMaxDepth = 100;  // Python gives up later; a function that asks itself never ends

bool IsNumber(std::string_view text) {
  if (text.size() > 1 && text.front() == '-') text.remove_prefix(1);
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == text.npos;
}

std::string TextOf(const JsonValue& value) {
  return value.is_string() ? std::string(value.Text()) : value ? value.ToString() : std::string();
}

// Of a JSON text that is a string, the string; else the text itself.
std::string Plain(const std::string& json) {
  return json.size() >= 2 && json.front() == '"' ? json.substr(1, json.size() - 2) : json;
}

std::string Upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return text;
}

}  // namespace

RuntimeAnswer Emulate(const Runtime& runtime, std::string_view function,
                      const RuntimeQuestion& question, PythonRegexes* regexes) {
  return Emulator(runtime, question, regexes).Run(function);
}

RuntimeAnswer Emulator::Run(std::string_view function) {
  Frame frame;
  const auto layer = question_.texts.find("layer");
  const auto kind = question_.texts.find("class");
  if (layer != question_.texts.end()) frame.layer = layer->second;
  if (kind != question_.texts.end()) frame.layer = kind->second;
  const Decision answer = Call(function, frame, question_.name, &question_.map);
  // A function that does not decide is a hole in its file, not an answer.
  return answer ? *answer : RuntimeAnswer{"error", "undecided", {}};
}

// Helpers and tables are those of the file that defines the caller, functions those of the runtime
// that was asked for.
Emulator::Decision Emulator::Call(std::string_view name, const Frame& caller, std::string path,
                                  const FusedMap* map) {
  if (++depth_ > kMaxDepth) return --depth_, RuntimeAnswer{"error", "RecursionError", {}};
  const Runtime* home = &runtime_.Home(name);
  const RuntimeFunction* function = home->Find(name);
  if (caller.home != nullptr && caller.home->Find(name) != nullptr &&
      (function == nullptr || caller.home->Find(name)->hidden)) {
    home = caller.home;
    function = home->Find(name);
  }
  std::set<std::string> flags;
  std::map<std::string, std::vector<std::string>> gathered;
  Frame frame;
  frame.function = function;
  frame.home = home;
  frame.name = std::move(path);
  frame.layer = caller.layer;
  frame.map = map;
  frame.flags = &flags;
  frame.gathered = &gathered;
  if (function->hidden && caller.function != nullptr) {  // a helper goes on where its caller is
    frame.flags = caller.flags;
    frame.entry = caller.entry;
    frame.answer = caller.answer;
  }
  frame.passed = caller.passed;
  if (caller.function != nullptr)
    for (const ListRule& rule : caller.function->lists)
      frame.passed[rule.name] = &List(rule.name, caller);
  Decision out = function->tree ? Tree(*function, frame) : Steps(function->steps, frame);
  --depth_;
  return out;
}

Emulator::Decision Emulator::Steps(const std::vector<Step>& steps, const Frame& frame) {
  for (const Step& step : steps)
    if (Decision decision = Do(step, frame)) return decision;
  return std::nullopt;
}

Emulator::Decision Emulator::Conclude(Truth truth, const Step& step, const Frame& frame) {
  if (truth == Truth::kRaised) return Raised();
  if (truth == Truth::kUnknown) return Unsupported();
  return Steps(truth == Truth::kYes ? step.then : step.otherwise, frame);
}

Emulator::Decision Emulator::Do(const Step& step, const Frame& frame) {
  using Kind = Step::Kind;
  switch (step.kind) {
    case Kind::kResult:
      return Give(step, frame);
    case Kind::kRaise:
      return error_ = Fill(step.text, frame), Raised();
    case Kind::kAsk:
      return Ask(step, frame);
    case Kind::kIf:
      return Conclude(Holds(step.test, frame), step, frame);
    case Kind::kSteps:
      return Steps(step.then, frame);
    case Kind::kParts:
      return Parts(step, frame);
    case Kind::kFirst:
      return First(step, frame);
    case Kind::kList: {
      const Truth truth = Gather(step, frame);
      if (truth == Truth::kRaised) return Raised();
      return truth == Truth::kUnknown ? Decision(Unsupported()) : std::nullopt;
    }
    case Kind::kSet: {
      const Truth truth = Holds(step.test, frame);
      if (truth == Truth::kYes) frame.flags->insert(step.text);
      if (truth == Truth::kNo) frame.flags->erase(step.text);
      if (truth == Truth::kRaised) return Raised();
      return truth == Truth::kUnknown ? Decision(Unsupported()) : std::nullopt;
    }
    case Kind::kTest:
      break;
  }
  const Truth truth = Holds(step.test, frame);
  if (truth == Truth::kRaised) return Raised();
  if (truth == Truth::kUnknown) return Unsupported();
  return RuntimeAnswer{truth == Truth::kYes ? "skip" : "quant", "", {}};
}

// Under each of its names in turn, until the function decides; `then` may judge the answer.
Emulator::Decision Emulator::Ask(const Step& step, const Frame& frame) {
  static const FusedMap kNoMap;
  const FusedMap* map = step.map.empty()     ? frame.map
                        : step.map == "none" ? &kNoMap
                                             : frame.home->Table(step.map);
  const std::vector<std::string> names = Other(step.names, frame);
  for (const std::string& name : names) {
    Decision answer = Call(step.text, frame, name, map);
    if (!answer || step.then.empty() || answer->is_error() || answer->result == "unsupported") {
      if (answer) return answer;
      continue;
    }
    Frame inner = frame;
    inner.answer = &*answer;
    if (Decision decision = Steps(step.then, inner)) return decision;
  }
  return std::nullopt;
}

// The first entry that names the module, under each of its names in turn.
Emulator::Decision Emulator::First(const Step& step, const Frame& frame) {
  const std::vector<std::string> names = Other(step.names, frame);
  const auto& rules = step.match.empty() ? frame.function->match : step.match;
  Frame inner = frame;
  const QuestionList& list = List(step.text, frame);
  for (const std::string& name : names) {
    inner.name = name;
    const Asked asked = AskedBy(rules, inner);
    const Places places = ToAsk(rules, asked, list, inner);
    for (size_t i = 0; i < places.size(); ++i) {
      const QuestionEntry& entry = list[places[i]];
      if (step.only && !step.only->Holds(entry.text)) continue;
      inner.name = name;
      const Truth truth = Names(rules, asked, entry.text, inner);
      if (truth == Truth::kRaised) return Raised();
      if (truth == Truth::kUnknown) return Unsupported();
      if (truth == Truth::kNo) continue;
      inner.name = frame.name;
      inner.entry = &entry;
      Decision decision = Steps(step.then, inner);
      if (decision || !step.go_on) return decision;
    }
  }
  return std::nullopt;
}

namespace {

// What stands at a dotted path below a value; the value itself without a path.
std::string TextAt(JsonValue value, std::string_view path) {
  if (!path.empty())
    for (const std::string_view key : Segments(path))
      value = value.is_array() && key.size() == 1 && key[0] >= '0' && key[0] <= '9'
                  ? value[static_cast<size_t>(key[0] - '0')]
                  : value.Find(key);
  return value.is_null() ? std::string() : TextOf(value);
}

// Members of an object but one, as one JSON text.
std::string Without(const JsonValue& value, std::string_view key) {
  if (!value.is_object()) return TextOf(value);
  std::string out;
  for (const JsonValue member : value)
    if (member.name() != key)
      out += fmt::format("{}{}:{}", out.empty() ? "" : ",", JsonText(member.name()),
                         member.ToString());
  return "{" + out + "}";
}

}  // namespace

// One alternative of a template: `entry`, `index`, `group`, `value`, `value.bits`, `value without
// bits`, `input bits`, `bits` or `config.bits` of the answer that was asked for.
std::string Emulator::Word(std::string_view what, const Frame& frame) const {
  if (HasPrefix("input ", what)) {
    const auto input = question_.texts.find(what.substr(6));
    return input == question_.texts.end() ? std::string() : input->second;
  }
  if (frame.answer != nullptr) {
    if (what == "result") return frame.answer->result;
    const size_t dot = std::min(what.find('.'), what.size());
    for (const auto& [name, json] : frame.answer->fields) {
      if (name == what) return Plain(json);
      if (name != what.substr(0, dot) || dot == what.size()) continue;
      Diagnostics none;
      const auto value = ParseJson("", json, {}, &none);
      return value ? TextAt(*value, what.substr(dot + 1)) : std::string();
    }
  }
  if (frame.entry == nullptr) return {};
  if (what == "entry") return frame.entry->text;
  if (what == "index") return fmt::format("{}", frame.entry->index);
  if (what == "group") return fmt::format("{}", frame.entry->group);
  if (HasPrefix("value without ", what)) return Without(frame.entry->value, what.substr(14));
  if (what == "value") return TextOf(frame.entry->value);
  return HasPrefix("value.", what) ? TextAt(frame.entry->value, what.substr(6)) : std::string();
}

// `{A or B or 4}`: the first alternative that is there, the last one literally where it is none of
// the above; `{upper value}`.
std::string Emulator::Fill(std::string_view text, const Frame& frame) const {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('{', at), close = text.find('}', open);
    if (close == std::string_view::npos) return out += text.substr(at);
    out += text.substr(at, open - at);
    std::string_view what = text.substr(open + 1, close - open - 1);
    at = close + 1;
    const bool upper = HasPrefix("upper ", what);
    if (upper) what.remove_prefix(6);
    std::string value;
    for (bool first = true; value.empty() && !what.empty(); first = false) {
      const size_t end = std::min(what.find(" or "), what.size());
      value = Word(what.substr(0, end), frame);
      const bool last = end == what.size();
      if (last && !first && value.empty() && !HasPrefix("input ", what)) value = what;
      what = last ? std::string_view() : what.substr(end + 4);
    }
    out += upper ? Upper(std::move(value)) : value;
  }
  return out;
}

RuntimeAnswer Emulator::Give(const Step& step, const Frame& frame) const {
  RuntimeAnswer answer{Fill(step.text, frame), "", {}};
  for (const auto& [name, text] : step.fields) {
    std::string json;
    if (text.size() > 2 && text.front() == '[') {
      const auto list = frame.gathered->find(text.substr(1, text.size() - 2));
      if (list != frame.gathered->end())
        for (const std::string& item : list->second)
          json.append(json.empty() ? "" : ",").append(JsonText(item));
      json.insert(0, 1, '[').push_back(']');
    } else {
      const std::string value = Fill(text, frame);
      const bool whole = HasPrefix("{", value) || HasPrefix("[", value);
      const bool alone = HasPrefix("{", text) && text.find('}') == text.size() - 1;
      json = IsNumber(value) || (whole && alone) ? value : JsonText(value);
    }
    answer.fields.emplace_back(name, std::move(json));
  }
  return answer;
}

}  // namespace ferrule
