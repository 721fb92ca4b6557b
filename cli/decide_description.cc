// SPDX-License-Identifier: Apache-2.0
#include "cli/decide_description.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/plan_question.h"

namespace ferrule::cli {
namespace {

// The row's fused map and rename tables, as a model class would have them.
EngineModel ClassOf(const RuntimeQuestion& row) {
  EngineModel out;
  out.map = row.map;
  for (const std::string name : {"prefix", "substr", "suffix"}) {
    const auto table = row.lists.find("orig_to_new_" + name);
    if (table == row.lists.end()) continue;
    auto& renames = out.renames.emplace_back().second;
    out.renames.back().first = name;
    for (const QuestionEntry& entry : table->second)
      renames.emplace_back(entry.text, entry.value.is_null()
                                           ? std::nullopt
                                           : std::optional<std::string>(entry.value.Text()));
  }
  return out;
}

}  // namespace

std::optional<RuntimeAnswer> AskDescription(const JsonValue& row, const JsonValue& known,
                                            const RuntimeNames& names, const Dialects& dialects,
                                            const Runtime& runtime, PythonRegexes* regexes,
                                            std::string* why) {
  const JsonValue given = row.Find("description");
  const JsonValue value = given.is_string() ? known.Find(given.Text()) : given;
  if (!value.is_object())
    return *why = "`description` must be an object or a known name", std::nullopt;
  const auto asked = ReadRuntimeQuestion(row, names, why);
  if (!asked) return std::nullopt;
  QuantSources sources;
  const std::string_view file = row.Find("file").Text();
  (file == "quant_model_description.json" ? sources.quant_model_description
   : file == "hf_quant_config.json"       ? sources.hf_quant_config
                                          : sources.quantization_config) = value;
  Diagnostics none;
  const auto found = FindDescriptions(sources, dialects, &none);
  if (!found || found->empty()) return *why = "no dialect claims the description", std::nullopt;
  const Description& description = found->front();
  const MethodRule* method = MethodOf(runtime, description);
  if (method == nullptr)
    return *why = fmt::format("{}@{} does not describe {}", runtime.engine, runtime.version,
                              Quoted(description.dialect->name)),
           std::nullopt;
  const EngineModel model = ClassOf(*asked);
  const std::string refusal = RefusalOf(description, runtime, *method, model, regexes);
  if (!refusal.empty()) return RuntimeAnswer{"error", refusal, {}};
  if (!row.Find("prefix")) return RuntimeAnswer{"ok", "", {}};
  if (method->function.empty()) return RuntimeAnswer{"none", "", {}};
  RuntimeQuestion question = BaseQuestion(description, runtime, *method, model, regexes);
  question.name = asked->name;
  for (const char* key : {"layer", "type"})
    if (const auto text = asked->texts.find(key); text != asked->texts.end())
      question.texts[key] = text->second;
  RuntimeAnswer answer = Emulate(runtime, method->function, question, regexes);
  answer.result = AsResult(answer.result);
  answer.fields.clear();
  return answer;
}

}  // namespace ferrule::cli
