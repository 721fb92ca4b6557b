// SPDX-License-Identifier: Apache-2.0
// What plans need of a runtime file: methods, modules, models, layers, block checks.
#include <fmt/format.h>

#include <utility>

#include "engine/rules/rule_node.h"
#include "engine/runtimes/runtime_node.h"

namespace ferrule {
namespace {

// `F`, `unquantized`, {ask: F, list: G, when: …, if: H} or {refuses: message, when: …}.
bool ReadMethod(const YamlReader& reader, const YamlNode& node, std::string method,
                std::vector<MethodRule>* out) {
  if (node.is_list()) {
    bool good = true;
    for (const YamlNode& item : node.items) good = ReadMethod(reader, item, method, out) && good;
    return good;
  }
  MethodRule rule;
  const std::string what = fmt::format("`{}`", method);
  rule.method = std::move(method);
  rule.place = node.place;
  bool good = true;
  if (node.is_map()) {
    good = reader.KnownKeys(node, what,
                            {"ask", "refuses", "list", "check", "map", "experts", "when", "if"});
    if (const YamlNode* refuses = node.Find("refuses")) {
      good = reader.AsText(*refuses, "`refuses`", &rule.refuses) && good;
    } else {
      const YamlNode* ask = reader.Require(node, what, "ask");
      good = ask != nullptr && reader.AsText(*ask, "`ask`", &rule.function) && good;
    }
    if (const YamlNode* list = node.Find("list"); list != nullptr && list->is_map()) {
      for (const YamlEntry& entry : list->entries)
        good = reader.AsText(entry.value, fmt::format("`{}`", entry.key),
                             &rule.list_functions.emplace_back(entry.key, "").second) &&
               good;
    } else if (list != nullptr) {
      good = reader.AsText(*list, "`list`", &rule.list_functions.emplace_back().second) && good;
    }
    if (const YamlNode* check = node.Find("check"))
      good = reader.AsText(*check, "`check`", &rule.check) && good;
    if (const YamlNode* map = node.Find("map"))
      good = reader.AsText(*map, "`map`", &rule.map) && good;
    if (const YamlNode* experts = node.Find("experts")) {
      constexpr std::string_view kWords[] = {"by-first", "widened"};
      size_t at = 0;
      good = reader.AsWord(*experts, "`experts`", kWords, &at) && good;
      rule.first_expert = at == 0;
      rule.widens_experts = at == 1;
    }
    if (const YamlNode* when = node.Find("when"))
      good = ParseDim(reader, *when, "`when`", &rule.when.emplace()) && good;
    if (const YamlNode* function = node.Find("if"))
      good = reader.AsText(*function, "`if`", &rule.only_if) && good;
  } else {
    good = reader.AsText(node, what, &rule.function);
  }
  if (rule.function == "unquantized") rule.function.clear();
  out->push_back(std::move(rule));
  return good;
}

bool ReadLayers(const YamlReader& reader, const YamlNode& layers, Runtime* out) {
  if (!reader.IsMap(layers, "`layers`")) return false;
  bool good = reader.KnownKeys(
      layers, "`layers`", {"linear", "experts", "head", "embedding", "interleaved", "one-output"});
  for (const YamlEntry& entry : layers.entries) {
    if (entry.key == "one-output") {
      good = reader.AsTexts(entry.value, "`one-output`", &out->one_output) && good;
      continue;
    }
    if (entry.key == "interleaved") {
      constexpr std::string_view kWords[] = {"by-slices", "whole"};
      size_t at = 0;
      good = reader.AsWord(entry.value, "`interleaved`", kWords, &at) && good;
      out->cuts_interleaved = at == 0;
      continue;
    }
    auto& [layer, word] = out->layers.emplace_back(entry.key, std::string());
    good = reader.AsText(entry.value, fmt::format("`{}`", layer), &word) && good;
  }
  return good;
}

bool ReadOverride(const YamlReader& reader, const YamlNode& node, OverrideOption* out) {
  const std::string_view what = "`override`";
  if (!reader.IsMap(node, what) || !reader.KnownKeys(node, what, {"option", "at"})) return false;
  const YamlNode* option = reader.Require(node, what, "option");
  const YamlNode* at = reader.Require(node, what, "at");
  if (option == nullptr || at == nullptr) return false;
  constexpr std::string_view kWords[] = {"place", "top"};
  size_t word = 0;
  const bool good =
      reader.AsText(*option, "`option`", &out->option) && reader.AsWord(*at, "`at`", kWords, &word);
  out->top = word == 1;
  return good;
}

bool ReadModels(const YamlReader& reader, const YamlNode& models, Runtime* out) {
  if (!reader.IsMap(models, "`models`")) return false;
  bool good = true;
  for (const YamlEntry& entry : models.entries) {
    if (entry.key == "others") {
      constexpr std::string_view kWords[] = {"as-stored"};
      size_t at = 0;
      good = reader.AsWord(entry.value, "`others`", kWords, &at) && good;
      out->any_model = true;
      continue;
    }
    EngineModel& model = out->models.emplace_back();
    model.architecture = entry.key;
    model.place = entry.key_place;
    good =
        ReadEngineModel(reader, entry.value, fmt::format("`{}`", entry.key), out->tables, &model) &&
        good;
  }
  return good;
}

}  // namespace

bool ReadFusedTable(const YamlReader& reader, const YamlNode& node, std::string_view what,
                    FusedMap* out) {
  if (!reader.IsMap(node, what)) return false;
  bool good = true;
  for (const YamlEntry& entry : node.entries) {
    auto& [name, parts] = out->emplace_back(entry.key, std::vector<std::string>());
    good = reader.AsTexts(entry.value, fmt::format("{}'s `{}`", what, name), &parts) && good;
  }
  return good;
}

// Each section is written out or `{same_as: version}`.
bool ReadRuntimeSections(const YamlReader& reader, const YamlNode& root, Runtime* out) {
  bool good = true;
  const auto own = [&](const char* key) -> const YamlNode* {
    const YamlNode* node = root.Find(key);
    const YamlNode* same = node == nullptr ? nullptr : node->Find("same_as");
    if (same == nullptr) return node;
    auto& [section, version] = out->shared.emplace_back(key, std::string());
    good = reader.KnownKeys(*node, fmt::format("`{}`", key), {"same_as"}) &&
           reader.AsText(*same, "`same_as`", &version) && good;
    return nullptr;
  };
  if (const YamlNode* methods = own("methods")) {
    if (!reader.IsMap(*methods, "`methods`")) return false;
    for (const YamlEntry& entry : methods->entries)
      good = ReadMethod(reader, entry.value, entry.key, &out->methods) && good;
  }
  if (const YamlNode* modules = own("modules"))
    good = ReadEngineModel(reader, *modules, "`modules`", out->tables, &out->modules) && good;
  if (const YamlNode* models = own("models")) good = ReadModels(reader, *models, out) && good;
  if (const YamlNode* layers = own("layers")) good = ReadLayers(reader, *layers, out) && good;
  if (const YamlNode* check = own("block_check"))
    good = ReadBlockCheck(reader, *check, &out->block_check.emplace()) && good;
  if (const YamlNode* option = root.Find("override"))
    good = ReadOverride(reader, *option, &out->override_option.emplace()) && good;
  return good;
}

}  // namespace ferrule
