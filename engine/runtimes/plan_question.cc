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
                                           "modules_in_block_to_quantize",
                                           "ignored_layers"};

void AddTables(const EngineModel& model, RuntimeQuestion* question) {
  for (const auto& [name, entries] : model.renames) {
    JsonWriter text;
    text.BeginObject();
    for (const auto& [from, to] : entries) text.Key(from).Text(to);
    text.EndObject();
    Diagnostics none;
    const auto json = ParseJson("", text.Take(), {}, &none);
    if (!json) continue;
    QuestionList& table = question->lists["orig_to_new_" + name];
    for (const JsonValue entry : *json)
      table.push_back({std::string(entry.name()), entry, table.size(), 0});
  }
}

// A list under the names that `function` gives its entries.
QuestionList Renamed(const QuestionList& list, const Runtime& runtime, const std::string& function,
                     RuntimeQuestion question, PythonRegexes* regexes) {
  QuestionList out;
  for (const QuestionEntry& entry : list) {
    question.lists["list"] = {entry};
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

const MethodRule* MethodOf(const Runtime& runtime, const Plan& plan,
                           const Description& description) {
  const auto& dialect = plan.decisions.quant.dialect;
  if (!dialect) return nullptr;
  const ConfigScope scope(description.file, description.value);
  for (const MethodRule& rule : runtime.methods) {
    if (rule.method == dialect->name && Holds(rule.when, scope)) return &rule;
  }
  return nullptr;
}

RuntimeQuestion BaseQuestion(const Plan& plan, const Description& description,
                             const Runtime& runtime, const MethodRule& method,
                             const EngineModel& model, PythonRegexes* regexes) {
  const QuantConfig& quant = plan.decisions.quant;
  std::string why;
  RuntimeQuestion question =
      ReadRuntimeQuestion(description.value, {}, &why).value_or(RuntimeQuestion{});
  question.name.clear();
  question.map = model.map;
  question.texts["key"] = quant.list_key;
  QuestionList list;
  for (size_t i = 0; i < quant.list.size(); ++i)
    list.push_back({quant.list.entry(i).text, {}, i, 0});
  for (const std::string& entry : model.lists)
    question.lists["class"].push_back({entry, {}, question.lists["class"].size(), 0});
  question.lists["list"] = std::move(list);
  QuestionList groups;
  for (const JsonValue group : description.value.Find("config_groups"))
    for (const JsonValue target : group.Find("targets"))
      groups.push_back({std::string(target.Text()), group, groups.size(), group.index()});
  if (!groups.empty()) question.lists["groups"] = std::move(groups);
  QuestionList& all = question.lists["description"];  // names that stand at the top
  for (const JsonValue member : description.value)
    all.push_back({std::string(member.name()), member, all.size(), 0});
  AddTables(model, &question);
  if (method.list_function.empty() || model.renames.empty()) return question;
  const RuntimeQuestion before = question;
  question.flags.insert("renamed");
  for (const std::string_view name : kNameLists) {
    const auto found = before.lists.find(name);
    if (found != before.lists.end() && !found->second.empty())
      question.lists[std::string(name)] =
          Renamed(found->second, runtime, method.list_function, before, regexes);
  }
  return question;
}

}  // namespace ferrule
