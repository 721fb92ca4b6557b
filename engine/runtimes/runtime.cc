// SPDX-License-Identifier: Apache-2.0
// Runtime file → Runtime: what stands at the top of the file and of each function.
#include "engine/runtimes/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/runtimes/runtime_node.h"

namespace ferrule {
namespace {

constexpr int64_t kFormat = 1;

bool ReadLists(const RuntimeNodeReader& nodes, const YamlNode& node, std::vector<ListRule>* out) {
  const YamlReader& reader = nodes.reader();
  if (!reader.IsMap(node, "`lists`")) return false;
  bool good = true;
  for (const YamlEntry& entry : node.entries) {
    ListRule& rule = out->emplace_back();
    rule.name = entry.key;
    const YamlNode& value = entry.value;
    if (!reader.IsMap(value, "a list") ||
        !reader.KnownKeys(value, "a list", {"from", "keys", "nulls", "forms", "unique", "sort"})) {
      good = false;
      continue;
    }
    if (const YamlNode* from = value.Find("from"))
      good = reader.AsTexts(*from, "`from`", &rule.from) && good;
    if (const YamlNode* keys = value.Find("keys"))
      good = reader.AsTexts(*keys, "`keys`", &rule.keys) && good;
    if (const YamlNode* nulls = value.Find("nulls")) {
      constexpr std::string_view kWords[] = {"count"};
      size_t at = 0;
      good = reader.AsWord(*nulls, "`nulls`", kWords, &at) && good;
      rule.null_counts = true;
    }
    if (const YamlNode* forms = value.Find("forms"))
      good = nodes.ReadNames(*forms, "`forms`", &rule.forms) && good;
    if (const YamlNode* unique = value.Find("unique"))
      good = reader.AsBool(*unique, "`unique`", &rule.unique) && good;
    if (const YamlNode* sort = value.Find("sort")) {
      constexpr std::string_view kWords[] = {"plain-first"};
      size_t at = 0;
      good = reader.AsWord(*sort, "`sort`", kWords, &at) && good;
      rule.plain_first = true;
    }
    if (rule.from.empty()) rule.from.push_back(rule.name);
  }
  return good;
}

bool ReadFused(const YamlReader& reader, const YamlNode& node, FusedRule* out) {
  constexpr std::string_view kKeys[] = {"last-segment", "suffix", "contained-once"};
  constexpr std::string_view kRewrites[] = {"every", "base", "suffix"};
  if (!reader.IsMap(node, "`fused`")) return false;
  bool good = reader.KnownKeys(node, "`fused`", {"maps", "key", "rewrite"});
  const YamlNode* maps = reader.Require(node, "`fused`", "maps");
  good = maps != nullptr && reader.AsTexts(*maps, "`maps`", &out->maps) && good;
  size_t at = 0;
  if (const YamlNode* key = node.Find("key")) {
    good = reader.AsWord(*key, "`key`", kKeys, &at) && good;
    out->key = static_cast<FusedKey>(at);
  }
  const YamlNode* rewrite = reader.Require(node, "`fused`", "rewrite");
  if (rewrite == nullptr || !reader.AsWord(*rewrite, "`rewrite`", kRewrites, &at)) return false;
  out->rewrite = static_cast<Rewrite>(at);
  return good;
}

bool ReadTree(const RuntimeNodeReader& nodes, const YamlNode& node, TreeRule* out) {
  const YamlReader& reader = nodes.reader();
  if (!reader.IsMap(node, "`tree`")) return false;
  bool good =
      reader.KnownKeys(node, "`tree`", {"modules", "leaf", "container", "field", "value", "then"});
  for (const auto& [key, to] :
       {std::pair{"modules", &out->modules}, std::pair{"leaf", &out->leaf},
        std::pair{"container", &out->container}, std::pair{"field", &out->field}}) {
    const YamlNode* value = reader.Require(node, "`tree`", key);
    good = value != nullptr && reader.AsText(*value, fmt::format("`{}`", key), to) && good;
  }
  if (const YamlNode* value = node.Find("value"))
    good = reader.AsText(*value, "`value`", &out->value) && good;
  if (const YamlNode* then = node.Find("then")) good = nodes.ReadSteps(*then, &out->then) && good;
  return good;
}

bool ReadFunction(const RuntimeNodeReader& nodes, const YamlEntry& entry, bool hidden,
                  RuntimeFunction* out) {
  const YamlReader& reader = nodes.reader();
  const std::string what = fmt::format("`{}`", entry.key);
  out->name = entry.key;
  out->place = entry.key_place;
  out->hidden = hidden;
  const YamlNode& node = entry.value;
  if (node.is_list() || node.is_scalar()) return nodes.ReadSteps(node, &out->steps);
  if (!reader.IsMap(node, what)) return false;
  bool good = true;
  if (const YamlNode* covers = node.Find("covers"))
    good = reader.AsTexts(*covers, "`covers`", &out->covers) && good;
  if (const YamlNode* same = node.Find("same_as"))
    return reader.KnownKeys(node, what, {"same_as", "covers"}) &&
           reader.AsText(*same, "`same_as`", &out->same_as) && good;
  good = reader.KnownKeys(node, what,
                          {"covers", "lists", "fused", "match", "steps", "tree", "same_as"}) &&
         good;
  if (const YamlNode* lists = node.Find("lists"))
    good = ReadLists(nodes, *lists, &out->lists) && good;
  if (const YamlNode* fused = node.Find("fused"))
    good = ReadFused(reader, *fused, &out->fused) && good;
  if (const YamlNode* match = node.Find("match"))
    good = nodes.ReadMatch(*match, &out->match) && good;
  if (const YamlNode* tree = node.Find("tree"))
    good = ReadTree(nodes, *tree, &out->tree.emplace()) && good;
  const YamlNode* steps = reader.Require(node, what, "steps");
  return steps != nullptr && nodes.ReadSteps(*steps, &out->steps) && good;
}

bool ReadFunctions(const RuntimeNodeReader& nodes, const YamlNode& node, std::string_view what,
                   bool hidden, Runtime* out) {
  if (!nodes.reader().IsMap(node, what)) return false;
  bool good = true;
  for (const YamlEntry& entry : node.entries) {
    auto function = std::make_shared<RuntimeFunction>();
    good = ReadFunction(nodes, entry, hidden, function.get()) && good;
    out->functions.push_back(std::move(function));
  }
  return good;
}

bool ReadDifferences(const YamlReader& reader, const YamlNode& node, Runtime* out) {
  if (!reader.IsList(node, "`known_differences`")) return false;
  bool good = true;
  for (const YamlNode& item : node.items) {
    KnownDifference& row = out->known_differences.emplace_back();
    const std::string_view what = "a known difference";
    good = reader.IsMap(item, what) &&
           reader.KnownKeys(item, what, {"function", "prefix", "checkpoint", "module", "reason"}) &&
           good;
    if (!good) return false;
    const bool model = item.Find("checkpoint") != nullptr;
    for (const auto& [key, to] :
         {std::pair{model ? "checkpoint" : "function", model ? &row.checkpoint : &row.function},
          std::pair{model ? "module" : "prefix", model ? &row.module : &row.prefix},
          std::pair{"reason", &row.reason}}) {
      // A module may be recorded without a name.
      const bool nameless = model && item.Find(key) == nullptr && to == &row.module;
      const YamlNode* value = nameless ? nullptr : reader.Require(item, what, key);
      good =
          (nameless || (value != nullptr && reader.AsText(*value, fmt::format("`{}`", key), to))) &&
          good;
    }
  }
  return good;
}

}  // namespace

const RuntimeFunction* Runtime::Find(std::string_view function) const {
  for (const auto& known : functions)
    if (known->name == function) return known.get();
  return nullptr;
}

const Runtime& Runtime::Home(std::string_view function) const {
  for (const auto& [name, home] : origins)
    if (name == function) return *home;
  return *this;
}

const FusedMap* Runtime::Table(std::string_view name) const {
  for (const auto& [known, map] : tables)
    if (known == name) return &map;
  return nullptr;
}

std::shared_ptr<Runtime> ParseRuntime(std::string path, std::string text, Diagnostics* out) {
  std::optional<YamlFile> yaml = ParseYaml(std::move(path), std::move(text), out);
  if (!yaml) return nullptr;
  auto runtime = std::make_shared<Runtime>();
  runtime->yaml = std::move(*yaml);
  const YamlReader reader(runtime->yaml, out);
  const YamlNode& root = runtime->yaml.root;
  const std::string_view what = "a runtime file";
  if (!reader.IsMap(root, what)) return nullptr;
  bool good =
      reader.KnownKeys(root, what,
                       {"ferrule", "runtime", "version", "about", "covers", "regex", "tables",
                        "classes", "functions", "helpers", "known_differences", "methods",
                        "modules", "models", "block_check", "layers", "override"});
  int64_t format = 0;
  const YamlNode* number = reader.Require(root, what, "ferrule");
  good = number != nullptr && reader.AsInt(*number, "`ferrule`", &format) && good;
  if (number != nullptr && format > kFormat) {
    out->Add(
           Code::kNewerFormat,
           fmt::format("the file needs runtime format {}, this ferrule reads {}", format, kFormat),
           reader.At(*number))
        .Help("update ferrule");
    return nullptr;
  }
  const auto text_of = [&](std::string_view key, std::string* to) {
    const YamlNode* value = reader.Require(root, what, key);
    good = value != nullptr && reader.AsText(*value, fmt::format("`{}`", key), to) && good;
  };
  std::string about;
  text_of("runtime", &runtime->engine);
  text_of("version", &runtime->version);
  text_of("about", &about);
  if (const YamlNode* covers = root.Find("covers"))
    good = reader.AsTexts(*covers, "`covers`", &runtime->covers) && good;
  if (const YamlNode* module = root.Find("regex")) {
    constexpr std::string_view kWords[] = {"re", "regex"};
    size_t at = 0;
    good = reader.AsWord(*module, "`regex`", kWords, &at) && good;
    runtime->module = at == 0 ? PythonModule::kRe : PythonModule::kRegex;
  }
  if (const YamlNode* tables = root.Find("tables")) {
    if (!reader.IsMap(*tables, "`tables`")) return nullptr;
    for (const YamlEntry& table : tables->entries) {
      auto& [name, map] = runtime->tables.emplace_back(table.key, FusedMap());
      good = ReadFusedTable(reader, table.value, fmt::format("the table `{}`", name), &map) && good;
    }
  }
  if (const YamlNode* classes = root.Find("classes"))
    good = ReadFusedTable(reader, *classes, "`classes`", &runtime->classes) && good;
  const RuntimeNodeReader nodes(reader, runtime->module);
  if (const YamlNode* functions = reader.Require(root, what, "functions"))
    good = ReadFunctions(nodes, *functions, "`functions`", false, runtime.get()) && good;
  else
    good = false;
  if (const YamlNode* helpers = root.Find("helpers"))
    good = ReadFunctions(nodes, *helpers, "`helpers`", true, runtime.get()) && good;
  good = ReadRuntimeSections(reader, root, runtime.get()) && good;
  if (const YamlNode* rows = root.Find("known_differences"))
    good = ReadDifferences(reader, *rows, runtime.get()) && good;
  return good ? runtime : nullptr;
}

}  // namespace ferrule
