// SPDX-License-Identifier: Apache-2.0
#include "engine/dialect.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/rule_node.h"

namespace ferrule {
namespace {

constexpr std::string_view kPrimitives[] = {"exact", "ancestor", "last-segments", "regex-match",
                                            "class-name"};
constexpr std::string_view kActivations[] = {"none", "group", "token", "tensor", "static"};
constexpr std::string_view kPer[] = {"tensor", "row", "block"};

bool ParseStorage(const YamlReader& reader, const YamlNode& node, std::string_view what,
                  StorageRule* out) {
  if (!reader.IsMap(node, what)) return false;
  bool good = reader.KnownKeys(node, what, {"name", "dtype", "per", "optional"});
  const YamlNode* name = reader.Require(node, what, "name");
  good = name != nullptr && reader.AsText(*name, what, &out->name) && good;
  if (const YamlNode* dtype = reader.Require(node, what, "dtype")) {
    std::vector<std::string> names;
    good = reader.AsTexts(*dtype, what, &names) && good;
    for (const std::string& text : names) {
      const auto type = DTypeFromName(text);
      if (type) {
        out->dtypes.push_back(*type);
      } else {
        reader.out()->Add(Code::kBadValue, fmt::format("{} is no safetensors dtype", Quoted(text)),
                          reader.At(*dtype));
        good = false;
      }
    }
  } else {
    good = false;
  }
  if (const YamlNode* per = node.Find("per")) {
    size_t word = 0;
    good = reader.AsWord(*per, "`per`", kPer, &word) && good;
    out->per = static_cast<Per>(word);
  }
  if (const YamlNode* flag = node.Find("optional"))
    good = reader.AsBool(*flag, "`optional`", &out->optional) && good;
  return good;
}

bool ParseScheme(const YamlReader& reader, const YamlNode& node, SchemeRule* out) {
  const std::string_view what = "a scheme";
  if (!reader.IsMap(node, what)) return false;
  out->place = node.place;
  bool good = reader.KnownKeys(
      node, what, {"when", "scheme", "block", "activation", "power_of_two", "storage"});
  const YamlNode* scheme = reader.Require(node, what, "scheme");
  good = scheme != nullptr && reader.AsText(*scheme, "`scheme`", &out->scheme) && good;
  if (const YamlNode* when = node.Find("when")) {
    out->when.emplace();
    good = ParseDim(reader, *when, "`when`", &*out->when) && good;
  }
  if (const YamlNode* block = node.Find("block"))
    good = reader.AsText(*block, "`block`", &out->block_key) && good;
  if (const YamlNode* activation = node.Find("activation")) {
    size_t word = 0;
    good = reader.AsWord(*activation, "`activation`", kActivations, &word) && good;
    out->activation = static_cast<Activation>(word);
  }
  if (const YamlNode* power = node.Find("power_of_two")) {
    out->power_of_two.emplace();
    good = ParseDim(reader, *power, "`power_of_two`", &*out->power_of_two) && good;
  }
  const YamlNode* storage = node.Find("storage");
  if (storage == nullptr) return good;
  if (!reader.IsMap(*storage, "`storage`")) return false;
  good = reader.KnownKeys(*storage, "`storage`", {"weight", "scale", "input"}) && good;
  for (const YamlEntry& entry : storage->entries) {
    std::optional<StorageRule>& rule = entry.key == "weight"  ? out->weight
                                       : entry.key == "scale" ? out->scale
                                                              : out->input;
    rule.emplace();
    good =
        ParseStorage(reader, entry.value, fmt::format("`storage.{}`", entry.key), &*rule) && good;
  }
  return good;
}

bool ParseList(const YamlReader& reader, const YamlNode& node, Dialect* out) {
  if (!reader.IsMap(node, "`list`")) return false;
  bool good = reader.KnownKeys(node, "`list`", {"keys", "strip", "patterns"});
  const YamlNode* keys = reader.Require(node, "`list`", "keys");
  good = keys != nullptr && reader.AsTexts(*keys, "`list.keys`", &out->list_keys) && good;
  if (const YamlNode* strip = node.Find("strip"))
    good = reader.AsTexts(*strip, "`list.strip`", &out->strip) && good;
  if (const YamlNode* patterns = node.Find("patterns"))
    good = reader.AsText(*patterns, "`list.patterns`", &out->pattern_prefix) && good;
  return good;
}

bool ParseBody(const YamlReader& reader, const YamlNode& root, Dialect* out) {
  bool good = reader.KnownKeys(root, "the dialect file",
                               {"ferrule", "dialect", "about", "source", "claims", "list", "match",
                                "groups", "accept", "schemes"});
  const YamlNode* name = reader.Require(root, "the dialect file", "dialect");
  good = name != nullptr && reader.AsText(*name, "`dialect`", &out->name) && good;
  if (const YamlNode* claims = reader.Require(root, "the dialect file", "claims")) {
    if (!reader.IsMap(*claims, "`claims`")) return false;
    good = reader.KnownKeys(*claims, "`claims`", {"quant_method"}) && good;
    const YamlNode* methods = reader.Require(*claims, "`claims`", "quant_method");
    good = methods != nullptr &&
           reader.AsTexts(*methods, "`claims.quant_method`", &out->quant_methods) && good;
  } else {
    good = false;
  }
  const YamlNode* list = reader.Require(root, "the dialect file", "list");
  good = list != nullptr && ParseList(reader, *list, out) && good;
  if (const YamlNode* match = reader.Require(root, "the dialect file", "match")) {
    if (!reader.IsList(*match, "`match`")) return false;
    if (match->items.empty()) {
      reader.out()->Add(Code::kBadValue, "`match` is an empty list", reader.At(*match));
      good = false;
    }
    for (const YamlNode& item : match->items) {
      size_t word = 0;
      good = reader.AsWord(item, "an item of `match`", kPrimitives, &word) && good;
      out->match.push_back(static_cast<Primitive>(word));
    }
  } else {
    good = false;
  }
  if (const YamlNode* groups = root.Find("groups")) {
    if (!reader.IsMap(*groups, "`groups`")) return false;
    good = reader.KnownKeys(*groups, "`groups`", {"key", "targets"}) && good;
    const YamlNode* key = reader.Require(*groups, "`groups`", "key");
    const YamlNode* targets = reader.Require(*groups, "`groups`", "targets");
    good = key != nullptr && reader.AsText(*key, "`groups.key`", &out->groups_key) && good;
    good = targets != nullptr && reader.AsText(*targets, "`groups.targets`", &out->targets_key) &&
           good;
  }
  if (const YamlNode* accept = root.Find("accept")) {
    good = reader.IsMap(*accept, "`accept`") && good;
    for (const YamlEntry& entry : accept->entries) {
      AcceptRule rule{entry.key, {}, entry.key_place};
      good =
          reader.AsTexts(entry.value, fmt::format("`accept.{}`", entry.key), &rule.values) && good;
      out->accept.push_back(std::move(rule));
    }
  }
  if (const YamlNode* schemes = reader.Require(root, "the dialect file", "schemes")) {
    if (!reader.IsList(*schemes, "`schemes`")) return false;
    if (schemes->items.empty()) {
      reader.out()->Add(Code::kBadValue, "`schemes` is an empty list", reader.At(*schemes));
      good = false;
    }
    for (const YamlNode& item : schemes->items) {
      out->schemes.emplace_back();
      good = ParseScheme(reader, item, &out->schemes.back()) && good;
    }
  } else {
    good = false;
  }
  const bool regex =
      std::find(out->match.begin(), out->match.end(), Primitive::kRegexMatch) != out->match.end();
  if (good && regex != !out->pattern_prefix.empty()) {
    reader.out()->Add(
        Code::kConflictingKeys,
        regex ? "`match` has `regex-match`, and `list.patterns` does not say what marks "
                "a pattern"
              : "`list.patterns` marks patterns, and `match` has no `regex-match`",
        reader.At(root.KeyPlace(regex ? "match" : "list")));
    good = false;
  }
  return good;
}

}  // namespace

std::string_view PrimitiveName(Primitive primitive) {
  return kPrimitives[static_cast<size_t>(primitive)];
}

std::string_view ActivationName(Activation activation) {
  return kActivations[static_cast<size_t>(activation)];
}

std::shared_ptr<const Dialect> ParseDialect(std::string path, std::string text, Diagnostics* out) {
  auto dialect = std::make_shared<Dialect>();
  dialect->sha256 = Sha256(text);
  auto yaml = ParseYaml(std::move(path), std::move(text), out);
  if (!yaml) return nullptr;
  dialect->yaml = std::move(*yaml);
  const YamlReader reader(dialect->yaml, out);
  const YamlNode& root = dialect->yaml.root;
  if (!reader.IsMap(root, "a dialect file")) return nullptr;
  int64_t version = 0;
  const YamlNode* format = reader.Require(root, "the dialect file", "ferrule");
  if (format == nullptr || !reader.AsInt(*format, "`ferrule`", &version)) return nullptr;
  if (version == 0) {
    out->Add(Code::kBadValue, "`ferrule` is the version of the format, from 1", reader.At(*format));
    return nullptr;
  }
  if (version > kRuleFormat) {
    out->Add(Code::kNewerFormat,
             fmt::format("the file needs format {}, this ferrule reads {}", version, kRuleFormat),
             reader.At(*format))
        .Help("update ferrule");
    return nullptr;
  }
  if (!ParseBody(reader, root, dialect.get())) return nullptr;
  return dialect;
}

}  // namespace ferrule
