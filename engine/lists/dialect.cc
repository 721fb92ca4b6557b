// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/dialect.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/dialect_parts.h"
#include "engine/rules/rule_node.h"

namespace ferrule {
namespace {

constexpr std::string_view kPrimitives[] = {
    "exact",     "ancestor",    "last-segments", "segments",   "glob",      "suffix",
    "substring", "regex-match", "regex-search",  "regex-full", "class-name"};
constexpr std::string_view kSections[] = {"list", "only", "layers", "groups"};
constexpr std::string_view kFiles[] = {"config.json", "hf_quant_config.json",
                                       "quant_model_description.json"};

bool IsRegex(Primitive primitive) {
  return primitive == Primitive::kRegexMatch || primitive == Primitive::kRegexSearch ||
         primitive == Primitive::kRegexFull;
}

class Parser {
 public:
  Parser(const YamlReader& reader, Dialect* out) : reader_(reader), out_(*out) {}

  bool Body(const YamlNode& root) {
    bool good = reader_.KnownKeys(root, "the dialect file",
                                  {"ferrule", "dialect", "about", "source", "claims", "places",
                                   "list", "match", "layers", "only", "groups", "base", "order",
                                   "otherwise", "accept", "other", "expect", "cache", "schemes"});
    const YamlNode* name = reader_.Require(root, "the dialect file", "dialect");
    good = name != nullptr && reader_.AsText(*name, "`dialect`", &out_.name) && good;
    const YamlNode* claims = reader_.Require(root, "the dialect file", "claims");
    good = claims != nullptr && Claims(*claims) && good;
    good = Optional(root, "places", &Parser::Places) && good;
    if (out_.places.empty())
      out_.places = {{"config.json", "quantization_config"},
                     {"config.json", "text_config.quantization_config"}};
    const YamlNode* list = reader_.Require(root, "the dialect file", "list");
    good = list != nullptr && List(*list) && good;
    const YamlNode* match = reader_.Require(root, "the dialect file", "match");
    good = match != nullptr && Match(*match, &out_.list.names) && good;
    if (good) good = Patterns(root, &out_.list.names, "list.patterns", "list");
    good = Optional(root, "layers", &Parser::Layers) && good;
    good = Optional(root, "only", &Parser::Only) && good;
    good = Optional(root, "groups", &Parser::Groups) && good;
    if (const YamlNode* base = root.Find("base"))
      good = reader_.AsText(*base, "`base`", &out_.base_key) && good;
    out_.order = {Section::kList, Section::kOnly, Section::kLayers, Section::kGroups};
    good = Optional(root, "order", &Parser::Order) && good;
    good = Optional(root, "otherwise", &Parser::Otherwise) && good;
    good = Optional(root, "accept", &Parser::Accept) && good;
    if (const YamlNode* other = root.Find("other"))
      good = reader_.AsTexts(*other, "`other`", &out_.other) && good;
    good = Optional(root, "expect", &Parser::Expect) && good;
    good = Optional(root, "cache", &Parser::Cache) && good;
    const YamlNode* schemes = reader_.Require(root, "the dialect file", "schemes");
    return schemes != nullptr && ParseSchemes(reader_, *schemes, &out_.schemes) && good;
  }

 private:
  bool Optional(const YamlNode& root, std::string_view key,
                bool (Parser::*parse)(const YamlNode&)) {
    const YamlNode* node = root.Find(key);
    return node == nullptr || (this->*parse)(*node);
  }

  bool Bad(Code code, std::string message, const YamlPlace& at, std::string help = {}) {
    reader_.out()->Add(code, std::move(message), reader_.At(at)).Help(std::move(help));
    return false;
  }

  bool Condition(const YamlNode& node, std::string_view what, std::optional<Dim>* out) {
    out->emplace();
    return ParseDim(reader_, node, what, &**out);
  }

  bool Claims(const YamlNode& node) {
    if (!reader_.IsMap(node, "`claims`")) return false;
    bool good = reader_.KnownKeys(node, "`claims`", {"quant_method", "when", "unnamed"});
    const YamlNode* methods = reader_.Require(node, "`claims`", "quant_method");
    good = methods != nullptr &&
           reader_.AsTexts(*methods, "`claims.quant_method`", &out_.quant_methods) && good;
    if (const YamlNode* when = node.Find("when"))
      good = Condition(*when, "`claims.when`", &out_.claims_when) && good;
    if (const YamlNode* unnamed = node.Find("unnamed"))
      good = Condition(*unnamed, "`claims.unnamed`", &out_.claims_unnamed) && good;
    return good;
  }

  bool Place(const YamlNode& node, std::string_view what, PlaceRule* out) {
    const YamlNode* file = reader_.Require(node, what, "file");
    size_t word = 0;
    if (file == nullptr || !reader_.AsWord(*file, "`file`", kFiles, &word)) return false;
    out->file = kFiles[word];
    const YamlNode* key = node.Find("key");
    return key == nullptr || reader_.AsText(*key, "`key`", &out->key);
  }

  bool Places(const YamlNode& node) {
    if (!reader_.IsList(node, "`places`")) return false;
    bool good = true;
    for (const YamlNode& item : node.items) {
      out_.places.emplace_back();
      good = reader_.IsMap(item, "a place") &&
             reader_.KnownKeys(item, "a place", {"file", "key"}) &&
             Place(item, "a place", &out_.places.back()) && good;
    }
    return good;
  }

  bool Match(const YamlNode& node, Matching* out) {
    if (!reader_.IsList(node, "`match`")) return false;
    out->dialect = out_.name;
    bool good = true;
    if (node.items.empty())
      good = Bad(Code::kBadValue, "`match` is an empty list", node.place,
                 "name at least one way to compare, such as `exact`");
    for (const YamlNode& item : node.items) {
      size_t word = 0;
      good = reader_.AsWord(item, "an item of `match`", kPrimitives, &word) && good;
      out->match.push_back(static_cast<Primitive>(word));
    }
    if (std::count_if(out->match.begin(), out->match.end(), IsRegex) > 1)
      good = Bad(Code::kConflictingKeys, "a list reads its patterns in one way only", node.place,
                 "keep one of `regex-match`, `regex-search` and `regex-full`");
    return good;
  }

  // `patterns` and a regular primitive go together.
  bool Patterns(const YamlNode& map, Matching* names, std::string_view key,
                std::string_view other) {
    const bool regex = std::any_of(names->match.begin(), names->match.end(), IsRegex);
    if (regex == (names->patterns != Matching::Patterns::kNone)) return true;
    const auto primitive = std::find_if(names->match.begin(), names->match.end(), IsRegex);
    return Bad(Code::kConflictingKeys,
               regex ? fmt::format("`match` has `{}`, and `{}` does not say what marks a pattern",
                                   PrimitiveName(*primitive), key)
                     : fmt::format("`{}` marks patterns, and `match` has no `regex-match`", key),
               map.KeyPlace(regex ? "match" : other),
               regex ? fmt::format("add what patterns begin with, as in `{}: 're:'`", key)
                     : "add the way in which patterns are read to `match`");
  }

  // Keys that every list of names has: `strip` and `patterns`.
  bool Names(const YamlNode& node, std::string_view what, Matching* names) {
    bool good = true;
    if (const YamlNode* strip = node.Find("strip"))
      good = reader_.AsTexts(*strip, fmt::format("`{}.strip`", what), &names->strip);
    const YamlNode* patterns = node.Find("patterns");
    if (patterns == nullptr) return good;
    if (!reader_.AsText(*patterns, fmt::format("`{}.patterns`", what), &names->prefix))
      return false;
    if (names->prefix == "all" || names->prefix == "special") {
      names->patterns =
          names->prefix == "all" ? Matching::Patterns::kAll : Matching::Patterns::kSpecial;
      names->prefix.clear();
    } else {
      names->patterns = Matching::Patterns::kPrefix;
      if (names->prefix.empty())
        good = Bad(Code::kBadValue, "an empty prefix marks every entry", patterns->place,
                   "write `patterns: all` if every entry is a pattern");
    }
    return good;
  }

  bool Keys(const YamlNode& node, std::string_view what, std::vector<std::string>* keys) {
    const YamlNode* texts = reader_.Require(node, fmt::format("`{}`", what), "keys");
    return texts != nullptr && reader_.AsTexts(*texts, fmt::format("`{}.keys`", what), keys);
  }

  bool List(const YamlNode& node) {
    if (!reader_.IsMap(node, "`list`")) return false;
    bool good = reader_.KnownKeys(node, "`list`", {"keys", "strip", "patterns", "leaves"});
    good = Keys(node, "list", &out_.list.keys) && good;
    if (const YamlNode* leaves = node.Find("leaves")) {
      constexpr std::string_view kLeaves[] = {"bf16", "base"};
      size_t word = 0;
      good = reader_.AsWord(*leaves, "`list.leaves`", kLeaves, &word) && good;
      out_.list.leaves_base = word == 1;
    }
    return Names(node, "list", &out_.list.names) && good;
  }

  bool Layer(const YamlNode& node) {
    LayersRule& rule = out_.layers.emplace_back();
    if (!reader_.IsMap(node, "`layers`")) return false;
    bool good = reader_.KnownKeys(node, "`layers`",
                                  {"keys", "match", "strip", "patterns", "ordered", "skips",
                                   "quantizes", "only", "word", "skip"});
    good = Keys(node, "layers", &rule.keys) && good;
    good = Names(node, "layers", &rule.names) && good;
    const YamlNode* match = reader_.Require(node, "`layers`", "match");
    good = match != nullptr && Match(*match, &rule.names) && good;
    if (good) good = Patterns(node, &rule.names, "layers.patterns", "patterns");
    if (const YamlNode* ordered = node.Find("ordered"))
      good = reader_.AsBool(*ordered, "`layers.ordered`", &rule.ordered) && good;
    for (const auto& [key, text] : {std::pair("skips", &rule.skips),
                                    {"quantizes", &rule.quantizes},
                                    {"only", &rule.only},
                                    {"word", &rule.word}})
      if (const YamlNode* value = node.Find(key))
        good = reader_.AsText(*value, fmt::format("`layers.{}`", key), text) && good;
    if (const YamlNode* skip = node.Find("skip"))
      good = Condition(*skip, "`layers.skip`", &rule.skip) && good;
    return good;
  }

  bool Layers(const YamlNode& node) {
    if (!node.is_list()) return Layer(node);
    return std::all_of(node.items.begin(), node.items.end(),
                       [&](const YamlNode& item) { return Layer(item); });
  }

  bool Only(const YamlNode& node) {
    OnlyRule& rule = out_.only.emplace();
    if (!reader_.IsMap(node, "`only`")) return false;
    bool good = reader_.KnownKeys(node, "`only`", {"keys", "match", "strip", "patterns", "split"});
    good = Keys(node, "only", &rule.keys) && good;
    good = Names(node, "only", &rule.names) && good;
    const YamlNode* match = reader_.Require(node, "`only`", "match");
    good = match != nullptr && Match(*match, &rule.names) && good;
    if (good) good = Patterns(node, &rule.names, "only.patterns", "patterns");
    if (const YamlNode* split = node.Find("split"))
      good = reader_.AsText(*split, "`only.split`", &rule.split) && good;
    return good;
  }

  bool Groups(const YamlNode& node) {
    if (!reader_.IsMap(node, "`groups`")) return false;
    bool good = reader_.KnownKeys(node, "`groups`", {"key", "targets"});
    const YamlNode* key = reader_.Require(node, "`groups`", "key");
    const YamlNode* targets = reader_.Require(node, "`groups`", "targets");
    good = key != nullptr && reader_.AsText(*key, "`groups.key`", &out_.groups_key) && good;
    return targets != nullptr && reader_.AsText(*targets, "`groups.targets`", &out_.targets_key) &&
           good;
  }

  bool Order(const YamlNode& node) {
    if (!reader_.IsList(node, "`order`")) return false;
    out_.order.clear();
    bool good = true;
    for (const YamlNode& item : node.items) {
      size_t word = 0;
      if (!reader_.AsWord(item, "an item of `order`", kSections, &word)) {
        good = false;
        continue;
      }
      const Section section = static_cast<Section>(word);
      if (std::find(out_.order.begin(), out_.order.end(), section) != out_.order.end())
        good = Bad(Code::kBadValue, fmt::format("`{}` stands twice in `order`", kSections[word]),
                   item.place, "remove one; the first that names a module decides");
      out_.order.push_back(section);
    }
    const auto missing = [&](Section section, bool used) {
      if (!used || std::find(out_.order.begin(), out_.order.end(), section) != out_.order.end())
        return;
      good = Bad(Code::kMissingKey, fmt::format("`order` leaves `{}` out", SectionName(section)),
                 node.place, "put it where it is to be asked");
    };
    missing(Section::kList, !out_.list.keys.empty());
    missing(Section::kOnly, out_.only.has_value());
    missing(Section::kLayers, !out_.layers.empty());
    missing(Section::kGroups, !out_.groups_key.empty());
    return good;
  }

  // quantized | bf16 | {bf16: condition}
  bool Otherwise(const YamlNode& node) {
    constexpr std::string_view kWords[] = {"quantized", "bf16"};
    if (!node.is_map()) {
      size_t word = 0;
      if (!reader_.AsWord(node, "`otherwise`", kWords, &word)) return false;
      out_.otherwise_bf16 = word == 1;
      return true;
    }
    if (!reader_.KnownKeys(node, "`otherwise`", {"bf16"})) return false;
    const YamlNode* when = reader_.Require(node, "`otherwise`", "bf16");
    return when != nullptr && Condition(*when, "`otherwise.bf16`", &out_.otherwise_when);
  }

  bool Accept(const YamlNode& node) {
    bool good = reader_.IsMap(node, "`accept`");
    for (const YamlEntry& entry : node.entries) {
      AcceptRule rule{entry.key, {}, entry.key_place};
      good =
          reader_.AsTexts(entry.value, fmt::format("`accept.{}`", entry.key), &rule.values) && good;
      out_.accept.push_back(std::move(rule));
    }
    return good;
  }

  bool Expect(const YamlNode& node) {
    if (!reader_.IsList(node, "`expect`")) return false;
    bool good = true;
    for (const YamlNode& item : node.items) {
      ExpectRule& rule = out_.expect.emplace_back();
      if (!reader_.IsMap(item, "an expectation")) return false;
      good = reader_.KnownKeys(item, "an expectation", {"file", "key", "without"}) && good;
      const YamlNode* key = reader_.Require(item, "an expectation", "key");
      const YamlNode* without = reader_.Require(item, "an expectation", "without");
      good = key != nullptr && Place(item, "an expectation", &rule.place) && good;
      good = without != nullptr && reader_.AsText(*without, "`without`", &rule.without) && good;
    }
    return good;
  }

  bool Cache(const YamlNode& node) {
    if (!reader_.IsList(node, "`cache`")) return false;
    bool good = true;
    for (const YamlNode& item : node.items) {
      out_.cache.emplace_back();
      good = ParseStorageRule(reader_, item, "an item of `cache`", "cache", &out_.cache.back()) &&
             good;
    }
    return good;
  }

  const YamlReader& reader_;
  Dialect& out_;
};

}  // namespace

std::string_view PrimitiveName(Primitive primitive) {
  return kPrimitives[static_cast<size_t>(primitive)];
}

std::string_view SectionName(Section section) { return kSections[static_cast<size_t>(section)]; }

bool Matching::Has(Primitive primitive) const {
  return std::find(match.begin(), match.end(), primitive) != match.end();
}

bool Matching::IsPattern(std::string_view entry) const {
  switch (patterns) {
    case Patterns::kNone:
      return false;
    case Patterns::kPrefix:
      return entry.substr(0, prefix.size()) == prefix;
    case Patterns::kAll:
      return true;
    case Patterns::kSpecial:
      return entry.find_first_of("*+?^$()[]{}|\\") != std::string_view::npos;
  }
  return false;
}

bool Dialect::Knows(std::string_view key) const {
  const auto has = [&](const std::vector<std::string>& keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  if (key == "quant_method" || has(other) || has(list.keys) || (only && has(only->keys)) ||
      key == groups_key || key == base_key)
    return true;
  for (const LayersRule& rule : layers)
    if (has(rule.keys) || rule.keys.empty()) return true;
  for (const AcceptRule& rule : accept)
    if (rule.key == key) return true;
  const auto reads = [&](const std::optional<Dim>& dim) {
    if (!dim) return false;
    for (const Expr& expr : dim->alternatives)
      for (const std::string& read : expr.Names())
        if (std::string_view(read).substr(0, read.find('.')) == key) return true;
    return false;
  };
  if (reads(claims_when) || reads(claims_unnamed) || reads(otherwise_when)) return true;
  return std::any_of(schemes.begin(), schemes.end(), [&](const SchemeRule& rule) {
    return rule.block_key == key || reads(rule.when) || reads(rule.group) || reads(rule.bits) ||
           reads(rule.power_of_two);
  });
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
    out->Add(Code::kBadValue, "`ferrule` is the version of the format, from 1", reader.At(*format))
        .Help("write `ferrule: 1`");
    return nullptr;
  }
  if (version > kRuleFormat) {
    out->Add(Code::kNewerFormat,
             fmt::format("the file needs dialect format {}, this ferrule reads {}", version,
                         kRuleFormat),
             reader.At(*format))
        .Help("update ferrule");
    return nullptr;
  }
  if (!Parser(reader, dialect.get()).Body(root)) return nullptr;
  return dialect;
}

}  // namespace ferrule
