// SPDX-License-Identifier: Apache-2.0
// One entry of `models` → EngineModel.
#include "engine/runtimes/engine_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "engine/lists/name_match.h"
#include "engine/rules/rule_node.h"
#include "engine/runtimes/runtime_node.h"

namespace ferrule {
namespace {

constexpr std::string_view kLayers[] = {"linear", "experts", "head", "embedding"};

std::vector<std::string> Pieces(std::string_view path) {
  std::vector<std::string> out;
  for (const std::string_view segment : Segments(path)) out.emplace_back(segment);
  return out;
}

class EntryReader {
 public:
  EntryReader(const YamlReader& reader, std::string_view what,
              const std::vector<std::pair<std::string, FusedMap>>& tables)
      : reader_(reader), what_(what), tables_(tables) {}

  bool Read(const YamlNode& node, EngineModel* out) const {
    if (!reader_.IsMap(node, what_)) return false;
    bool good = reader_.KnownKeys(
        node, what_,
        {"map",     "fuses",   "splits",  "apart",     "names",        "paths",  "omits",
         "plain",   "weights", "adds",    "draft",     "refuses",      "lists",  "unchecked",
         "unnamed", "renames", "becomes", "hands-map", "first-expert", "experts"});
    if (const YamlNode* map = node.Find("map")) good = Maps(*map, "map", &out->map) && good;
    if (const YamlNode* expert = node.Find("first-expert"))
      good = reader_.AsText(*expert, Of("first-expert"), &out->first_expert) && good;
    if (const YamlNode* experts = node.Find("experts")) {
      constexpr std::string_view kWords[] = {"linears"};
      size_t at = 0;
      good = reader_.AsWord(*experts, Of("experts"), kWords, &at) && good;
      out->linear_experts = true;
    }
    if (const YamlNode* hands = node.Find("hands-map"))
      good = reader_.AsBool(*hands, Of("hands-map"), &out->hands_map) && good;
    if (const YamlNode* fuses = node.Find("fuses"))
      good = Maps(*fuses, "fuses", &out->fuses) && good;
    if (const YamlNode* splits = node.Find("splits"))
      good = ReadFusedTable(reader_, *splits, Of("splits"), &out->splits) && good;
    if (const YamlNode* apart = node.Find("apart"))
      good = reader_.AsTexts(*apart, Of("apart"), &out->apart) && good;
    if (const YamlNode* names = node.Find("names"))
      good = Paths(*names, "names", &out->names) && good;
    if (const YamlNode* paths = node.Find("paths"))
      good = Paths(*paths, "paths", &out->paths) && good;
    if (const YamlNode* omits = node.Find("omits"))
      good = Modules(*omits, "omits", &out->omits) && good;
    if (const YamlNode* plain = node.Find("plain"))
      good = Modules(*plain, "plain", &out->plain) && good;
    if (const YamlNode* weights = node.Find("weights"))
      good = Layers(*weights, "weights", &out->weights) && good;
    if (const YamlNode* adds = node.Find("adds")) good = Adds(*adds, &out->adds) && good;
    if (const YamlNode* draft = node.Find("draft"))
      good = Class(*draft, "draft", &out->draft, &out->draft_when, nullptr) && good;
    if (const YamlNode* becomes = node.Find("becomes"))
      good = Class(*becomes, "becomes", &out->becomes, &out->becomes_when, &out->becomes_under) &&
             good;
    if (const YamlNode* refuses = node.Find("refuses"))
      good = Refuses(*refuses, &out->refuses) && good;
    if (const YamlNode* lists = node.Find("lists"))
      good = reader_.AsTexts(*lists, Of("lists"), &out->lists) && good;
    if (const YamlNode* unchecked = node.Find("unchecked"))
      good = reader_.AsTexts(*unchecked, Of("unchecked"), &out->unchecked) && good;
    if (const YamlNode* unnamed = node.Find("unnamed"))
      good = reader_.AsTexts(*unnamed, Of("unnamed"), &out->unnamed) && good;
    if (const YamlNode* renames = node.Find("renames")) good = Renames(*renames, out) && good;
    return good;
  }

 private:
  std::string Of(std::string_view key) const { return fmt::format("{}'s `{}`", what_, key); }

  // A class, or {class: it, when: condition}; where `dialects` are asked for, also with `under`,
  // one of the two at least.
  bool Class(const YamlNode& node, std::string_view key, std::string* out,
             std::optional<Dim>* condition, std::vector<std::string>* dialects) const {
    if (!node.is_map()) return reader_.AsText(node, Of(key), out);
    const YamlNode* name = reader_.Require(node, Of(key), "class");
    const YamlNode* under = dialects == nullptr ? nullptr : node.Find("under");
    const YamlNode* when =
        under == nullptr ? reader_.Require(node, Of(key), "when") : node.Find("when");
    bool good = dialects == nullptr ? reader_.KnownKeys(node, Of(key), {"class", "when"})
                                    : reader_.KnownKeys(node, Of(key), {"class", "when", "under"});
    good = name != nullptr && reader_.AsText(*name, "`class`", out) && good;
    if (under != nullptr) good = reader_.AsTexts(*under, "`under`", dialects) && good;
    if (when == nullptr) return good && under != nullptr;
    return ParseDim(reader_, *when, "`when`", &condition->emplace()) && good;
  }

  // A map, the name of a table of the file, or a list of these.
  bool Maps(const YamlNode& node, std::string_view key, FusedMap* out) const {
    if (node.is_list()) {
      bool good = true;
      for (const YamlNode& item : node.items) good = Maps(item, key, out) && good;
      return good;
    }
    if (node.is_map()) return ReadFusedTable(reader_, node, Of(key), out);
    std::string name;
    if (!reader_.AsText(node, Of(key), &name)) return false;
    for (const auto& [known, table] : tables_)
      if (known == name) {
        out->insert(out->end(), table.begin(), table.end());
        return true;
      }
    std::vector<std::string> known;
    for (const auto& table : tables_) known.push_back(table.first);
    const std::string nearest = NearestName(name, known);
    reader_.out()
        ->Add(Code::kUnknownName, fmt::format("the table {} is not in this file", Quoted(name)),
              reader_.At(node))
        .Help(nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
    return false;
  }

  bool Paths(const YamlNode& node, std::string_view key, std::vector<PathRule>* out) const {
    if (!reader_.IsMap(node, Of(key))) return false;
    bool good = true;
    for (const YamlEntry& entry : node.entries) {
      std::string to;
      good = reader_.AsText(entry.value, fmt::format("`{}`", entry.key), &to) && good;
      PathRule rule{Pieces(entry.key), Pieces(to)};
      // A number on the right side must be known from the left.
      for (const std::string& piece : rule.to)
        if (piece.size() > 1 && piece[0] == '<' &&
            std::find(rule.from.begin(), rule.from.end(), piece) == rule.from.end()) {
          reader_.out()->Add(Code::kUnknownName,
                             fmt::format("`{}` does not stand in `{}`", piece, entry.key),
                             reader_.At(entry.value));
          good = false;
        }
      out->push_back(std::move(rule));
    }
    return good;
  }

  bool Modules(const YamlNode& node, std::string_view key, std::vector<ModuleRule>* out) const {
    if (!reader_.IsList(node, Of(key))) return false;
    bool good = true;
    for (const YamlNode& item : node.items) {
      std::vector<std::string> paths;
      ModuleRule rule;
      if (item.is_map()) {
        good = reader_.KnownKeys(item, Of(key), {"modules", "under", "when", "if"}) && good;
        const YamlNode* modules = reader_.Require(item, Of(key), "modules");
        good = modules != nullptr && reader_.AsTexts(*modules, "`modules`", &paths) && good;
        if (const YamlNode* under = item.Find("under"))
          good = reader_.AsTexts(*under, "`under`", &rule.under) && good;
        if (const YamlNode* when = item.Find("when"))
          good = ParseDim(reader_, *when, "`when`", &rule.when.emplace()) && good;
        if (const YamlNode* function = item.Find("if"))
          good = reader_.AsText(*function, "`if`", &rule.function) && good;
      } else {
        good = reader_.AsText(item, Of(key), &paths.emplace_back()) && good;
      }
      for (const std::string& path : paths) rule.paths.push_back(Pieces(path));
      out->push_back(std::move(rule));
    }
    return good;
  }

  bool Layers(const YamlNode& node, std::string_view key,
              std::vector<std::pair<std::string, LayerKind>>* out) const {
    if (!reader_.IsMap(node, Of(key))) return false;
    bool good = true;
    for (const YamlEntry& entry : node.entries) {
      size_t at = 0;
      good = reader_.AsWord(entry.value, fmt::format("`{}`", entry.key), kLayers, &at) && good;
      out->emplace_back(entry.key, static_cast<LayerKind>(at));
    }
    return good;
  }

  // The engine's message, or {error: message, when: …, where-null: key}.
  bool Refuses(const YamlNode& node, EngineRefusal* out) const {
    if (!node.is_map()) return reader_.AsText(node, Of("refuses"), &out->error);
    bool good = reader_.KnownKeys(node, Of("refuses"), {"error", "when", "where-null"});
    const YamlNode* error = reader_.Require(node, Of("refuses"), "error");
    good = error != nullptr && reader_.AsText(*error, "`error`", &out->error) && good;
    if (const YamlNode* when = node.Find("when"))
      good = ParseDim(reader_, *when, "`when`", &out->when.emplace()) && good;
    if (const YamlNode* null = node.Find("where-null"))
      good = reader_.AsText(*null, "`where-null`", &out->null) && good;
    return good;
  }

  // {path: layer}, or a list of {modules: paths, layer: …, when: …}.
  bool Adds(const YamlNode& node, std::vector<AddRule>* out) const {
    bool good = true;
    if (!node.is_list()) {
      std::vector<std::pair<std::string, LayerKind>> entries;
      good = Layers(node, "adds", &entries);
      for (const auto& [path, layer] : entries) out->push_back(Added(path, layer));
      return good;
    }
    for (const YamlNode& item : node.items) {
      if (!reader_.IsMap(item, Of("adds"))) return false;
      good = reader_.KnownKeys(item, Of("adds"), {"modules", "layer", "when"}) && good;
      std::vector<std::string> paths;
      size_t layer = 0;
      std::optional<Dim> when;
      const YamlNode* modules = reader_.Require(item, Of("adds"), "modules");
      good = modules != nullptr && reader_.AsTexts(*modules, "`modules`", &paths) && good;
      const YamlNode* word = reader_.Require(item, Of("adds"), "layer");
      good = word != nullptr && reader_.AsWord(*word, "`layer`", kLayers, &layer) && good;
      if (const YamlNode* node_when = item.Find("when"))
        good = ParseDim(reader_, *node_when, "`when`", &when.emplace()) && good;
      for (const std::string& path : paths) {
        out->push_back(Added(path, static_cast<LayerKind>(layer)));
        out->back().when = when;
      }
    }
    return good;
  }

  // A segment `0-33` is a range.
  static AddRule Added(const std::string& path, LayerKind layer) {
    AddRule rule;
    rule.layer = layer;
    for (const std::string_view segment : Segments(path)) {
      if (!rule.path.empty()) rule.path += '.';
      int first = 0, last = 0, used = 0;
      const std::string text(segment);
      if (std::sscanf(text.c_str(), "%6d-%6d%n", &first, &last, &used) == 2 &&
          used == static_cast<int>(text.size()) && last >= first) {
        rule.first = first;
        rule.count = last - first + 1;
        rule.path += '#';
      } else {
        rule.path += segment;
      }
    }
    return rule;
  }

  bool Renames(const YamlNode& node, EngineModel* out) const {
    if (!reader_.IsMap(node, Of("renames"))) return false;
    out->hands_renames = true;
    bool good = reader_.KnownKeys(node, Of("renames"), {"prefix", "substr", "suffix"});
    for (const YamlEntry& table : node.entries) {
      auto& [name, entries] = out->renames.emplace_back();
      name = table.key;
      if (!reader_.IsMap(table.value, fmt::format("`{}`", name))) return false;
      for (const YamlEntry& entry : table.value.entries) {
        auto& [from, to] = entries.emplace_back(entry.key, std::string());
        good = reader_.AsText(entry.value, fmt::format("`{}`", from), &*to) && good;
      }
    }
    return good;
  }

  const YamlReader& reader_;
  std::string what_;
  const std::vector<std::pair<std::string, FusedMap>>& tables_;
};

}  // namespace

std::string_view LayerName(LayerKind kind) { return kLayers[static_cast<size_t>(kind)]; }

bool ReadEngineModel(const YamlReader& reader, const YamlNode& node, std::string_view what,
                     const std::vector<std::pair<std::string, FusedMap>>& tables,
                     EngineModel* out) {
  return EntryReader(reader, what, tables).Read(node, out);
}

}  // namespace ferrule
