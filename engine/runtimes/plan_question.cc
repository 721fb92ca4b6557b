// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/plan_question.h"

#include <algorithm>
#include <utility>

#include "engine/runtimes/engine_modules.h"
#include "engine/text/json_writer.h"

namespace ferrule {
namespace {

// Lists of names that stand for modules.
constexpr std::string_view kNameLists[] = {"list",
                                           "groups",
                                           "quantized_layers",
                                           "extra_config",
                                           "layer_quant_config",
                                           "block_name_to_quantize",
                                           "to_quant_block_names",
                                           "modules_in_block_to_quantize",
                                           "ignored_layers"};

void AddTables(const EngineModel& model, RuntimeQuestion* question) {
  for (const auto& [name, entries] : model.renames) {
    JsonWriter text;
    text.BeginObject();
    for (const auto& [from, to] : entries) {
      if (to)
        text.Key(from).Text(*to);
      else
        text.Key(from).Null();
    }
    text.EndObject();
    Diagnostics none;
    const auto json = ParseJson("", text.Take(), {}, &none);
    if (!json) continue;
    QuestionList& table = question->lists["orig_to_new_" + name];
    for (const JsonValue entry : *json)
      table.push_back({std::string(entry.name()), entry, table.size(), 0});
  }
}

// Names of `more` win.
void AddMap(const FusedMap& more, FusedMap* map) {
  for (const auto& fused : more) {
    const auto known = std::find_if(map->begin(), map->end(),
                                    [&](const auto& other) { return other.first == fused.first; });
    if (known == map->end())
      map->push_back(fused);
    else
      known->second = fused.second;
  }
}

// A message with the values of the description: `{bits}`.
std::string Filled(const std::string& message, const JsonValue& description) {
  std::string out;
  for (size_t at = 0; at < message.size();) {
    const size_t open = std::min(message.find('{', at), message.size());
    const size_t close = std::min(message.find('}', open), message.size());
    out += message.substr(at, open - at);
    if (close == message.size()) return out + message.substr(open);
    const JsonValue value = description.Find(message.substr(open + 1, close - open - 1));
    out += value.is_string() ? std::string(value.Text()) : value ? value.ToString() : "None";
    at = close + 1;
  }
  return out;
}

// The keys that the function of a method reads its list from, where null counts.
std::vector<std::string> KeysWithNull(const Runtime& runtime, const MethodRule& method) {
  const RuntimeFunction* function = runtime.Home(method.function).Find(method.function);
  if (function != nullptr)
    for (const ListRule& rule : function->lists)
      if (rule.name == "list" && rule.null_counts) return rule.keys;
  return {};
}

FusedMap MapFor(const Runtime& runtime, const MethodRule& method, const EngineModel& model) {
  FusedMap map;
  if (method.map != "none" || model.hands_map) map = model.map;
  if (const FusedMap* table = runtime.Table(method.map)) AddMap(*table, &map);
  return map;
}

bool IsRenamed(const MethodRule& method, const EngineModel& model) {
  return !method.list_functions.empty() && (!model.renames.empty() || model.hands_renames);
}

// A list under the names that `function` gives its entries.
QuestionList Renamed(const QuestionList& list, const Runtime& runtime, const std::string& function,
                     RuntimeQuestion question, PythonRegexes* regexes) {
  QuestionList out;
  for (const QuestionEntry& entry : list) {
    question.lists["list"] = {entry};
    question.built.clear();
    question.indexes.of.clear();
    const RuntimeAnswer answer = Emulate(runtime, function, question, regexes);
    for (const auto& [field, json] : answer.fields) {
      Diagnostics none;
      const auto names = field == "out" ? ParseJson("", json, {}, &none) : std::nullopt;
      if (!names) continue;
      for (const JsonValue name : *names) {
        QuestionEntry& renamed = out.emplace_back(entry);
        renamed.text = name.Text();
      }
    }
  }
  return out;
}

// The error of the function that looks at the whole description.
std::string Checked(const Runtime& runtime, const MethodRule& method,
                    const RuntimeQuestion& question, PythonRegexes* regexes) {
  const RuntimeAnswer answer = Emulate(runtime, method.check, question, regexes);
  return answer.is_error() ? answer.error : std::string();
}

}  // namespace

Description DescriptionOf(const Plan& plan) {
  const Decisions& d = plan.decisions;
  const Checkpoint& c = *plan.checkpoint;
  if (!d.quant.dialect) return {};
  const JsonValue section =
      d.rules->config_section.empty() ? JsonValue() : c.config.Find(d.rules->config_section);
  const QuantSources sources = SourcesOf(c, section);
  Diagnostics none;  // what is wrong was said when the plan was made
  const auto found = FindDescriptions(sources, {d.quant.dialect}, &none);
  return found && !found->empty() ? found->front() : Description{};
}

const MethodRule* MethodOf(const Runtime& runtime, const Description& description) {
  const auto& dialect = description.dialect;
  if (!dialect) return nullptr;
  const ConfigScope scope(description.file, description.value);
  for (const MethodRule& rule : runtime.methods) {
    if (rule.method != dialect->name || !Holds(rule.when, scope)) continue;
    if (rule.only_if.empty()) return &rule;
    PythonRegexes regexes;
    const RuntimeQuestion question = BaseQuestion(description, runtime, rule, {}, &regexes);
    if (Emulate(runtime, rule.only_if, question, &regexes).result == "yes") return &rule;
  }
  return nullptr;
}

RuntimeQuestion BaseQuestion(const Description& description, const Runtime& runtime,
                             const MethodRule& method, const EngineModel& model,
                             PythonRegexes* regexes) {
  std::string why;
  RuntimeQuestion question =
      ReadRuntimeQuestion(description.value, {}, &why).value_or(RuntimeQuestion{});
  question.name.clear();
  if (description.has_hf_quant_config) question.flags.insert("hf_quant_config.json");
  question.texts["file"] = description.place.file;
  question.texts["architecture"] = model.architecture;
  question.map = MapFor(runtime, method, model);
  QuestionList list;
  // The first key that is there counts, in the dialect's order, or in that of a function for which
  // one with null counts too.
  std::vector<std::string> keys = KeysWithNull(runtime, method);
  const bool own = std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
    return bool(description.value.Find(key));
  });
  if (!own) keys = description.dialect->list.keys;
  for (const std::string& key : keys) {
    const JsonValue texts = description.value.Find(key);
    if (!texts || (texts.is_null() && !own)) continue;
    question.texts["key"] = key;
    for (const JsonValue text : texts)
      list.push_back({std::string(text.Text()), {}, list.size(), 0});
    break;
  }
  for (const std::string& entry : model.lists)
    question.lists["class"].push_back({entry, {}, question.lists["class"].size(), 0});
  question.lists["list"] = std::move(list);
  // An allow-list may be one text.
  if (const auto& only = description.dialect->only; only && !only->split.empty())
    for (const std::string& key : only->keys) {
      const auto text = question.texts.find(key);
      if (text == question.texts.end()) continue;
      QuestionList& parts = question.lists[key];
      for (size_t at = 0; at <= text->second.size(); at += only->split.size()) {
        const size_t end = std::min(text->second.find(only->split, at), text->second.size());
        parts.push_back({text->second.substr(at, end - at), {}, parts.size(), 0});
        at = end;
      }
    }
  QuestionList groups;
  for (const JsonValue group : description.value.Find("config_groups"))
    for (const JsonValue target : group.Find("targets"))
      groups.push_back({std::string(target.Text()), group, groups.size(), group.index()});
  if (!groups.empty()) question.lists["groups"] = std::move(groups);
  QuestionList& all = question.lists["description"];  // names that stand at the top
  for (const JsonValue member : description.value)
    all.push_back({std::string(member.name()), member, all.size(), 0});
  AddTables(model, &question);
  if (!IsRenamed(method, model)) return question;
  const RuntimeQuestion before = question;
  question.flags.insert("renamed");
  for (const auto& [only, function] : method.list_functions) {
    std::vector<std::string> names(std::begin(kNameLists), std::end(kNameLists));
    if (!only.empty()) names = {only};
    for (const std::string& name : names) {
      const auto found = before.lists.find(name);
      if (found != before.lists.end() && !found->second.empty())
        question.lists[name] = Renamed(found->second, runtime, function, before, regexes);
    }
  }
  return question;
}

RuntimeQuestion& QuestionCache::Get(const Description& description, const Runtime& runtime,
                                    const MethodRule& method, const EngineModel& model) {
  std::string key = JsonText(model.architecture);
  for (const std::string& name : KeysWithNull(runtime, method)) key += JsonText(name);
  key += "|";
  for (const std::string& entry : model.lists) key += JsonText(entry);
  for (const auto& [table, entries] : model.renames) {
    key += "|" + JsonText(table);
    for (const auto& [from, to] : entries) key += JsonText(from) + (to ? JsonText(*to) : "-");
  }
  // Functions rename by what else their own version defines.
  if (IsRenamed(method, model)) {
    key += "|" + runtime.engine + "@" + runtime.version;
    for (const auto& [list, function] : method.list_functions)
      key += JsonText(list) + JsonText(function);
  }
  const auto [at, fresh] = kept_.try_emplace(key);
  Kept& kept = at->second;
  if (fresh) {
    kept.question = BaseQuestion(description, runtime, method, model, &regexes);
    kept.texts = kept.question.texts;
    return kept.question;
  }
  kept.question.name.clear();
  kept.question.texts = kept.texts;
  kept.question.map = MapFor(runtime, method, model);
  return kept.question;
}

std::string AsResult(const std::string& word) {
  std::string result = word.substr(0, word.find(':'));
  return result == "target" || result == "config" ? "quant" : result;
}

std::string RefusalOf(const Description& description, const Runtime& runtime,
                      const MethodRule& method, const EngineModel& model, PythonRegexes* regexes) {
  if (!method.refuses.empty()) return Filled(method.refuses, description.value);
  if (method.check.empty()) return {};
  const RuntimeQuestion question = BaseQuestion(description, runtime, method, model, regexes);
  return Checked(runtime, method, question, regexes);
}

std::string RefusalOf(const Description& description, const Runtime& runtime,
                      const MethodRule& method, const EngineModel& model, QuestionCache* cache) {
  if (!method.refuses.empty()) return Filled(method.refuses, description.value);
  if (method.check.empty()) return {};
  const RuntimeQuestion& question = cache->Get(description, runtime, method, model);
  return Checked(runtime, method, question, &cache->regexes);
}

}  // namespace ferrule
