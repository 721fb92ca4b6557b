// SPDX-License-Identifier: Apache-2.0
// YamlNode tree → RuleFile: top level and definitions. The module tree is in rule_node.cc.
#include "engine/rules/rule_file.h"

#include <fmt/format.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <set>

#include "engine/rules/rule_node.h"

namespace ferrule {
namespace {

bool ParseDims(const YamlReader& reader, const YamlNode& map, std::string_view what,
               std::vector<std::pair<std::string, Dim>>* out) {
  if (!reader.IsMap(map, fmt::format("`{}`", what))) return false;
  bool good = true;
  for (const YamlEntry& entry : map.entries) {
    Dim dim;
    good = ParseDim(reader, entry.value, fmt::format("`{}.{}`", what, entry.key), &dim) && good;
    out->emplace_back(entry.key, std::move(dim));
  }
  return good;
}

bool ParseIndices(const YamlReader& reader, const YamlNode& map, std::vector<IndexRule>* out) {
  if (!reader.IsMap(map, "`index`")) return false;
  bool good = true;
  for (const YamlEntry& entry : map.entries) {
    IndexRule index;
    index.name = entry.key;
    index.place = entry.key_place;
    const std::string what = fmt::format("`index.{}`", entry.key);
    good = ParseWordKey(reader, entry, "the index") && good;
    if (entry.value.is_map()) {
      good = reader.KnownKeys(entry.value, what, {"from", "count"}) && good;
      const YamlNode* from = reader.Require(entry.value, what, "from");
      const YamlNode* count = reader.Require(entry.value, what, "count");
      if (from == nullptr || count == nullptr) {
        good = false;
        continue;
      }
      index.from.emplace();
      good = ParseDim(reader, *from, what, &*index.from) && good;
      good = ParseDim(reader, *count, what, &index.count) && good;
    } else {
      good = ParseDim(reader, entry.value, what, &index.count) && good;
    }
    out->push_back(std::move(index));
  }
  return good;
}

bool ParseHeader(const YamlReader& reader, const YamlNode& root, RuleFile* file) {
  const YamlNode* version = reader.Require(root, "the rule file", "ferrule");
  if (version == nullptr) return false;
  int64_t number = 0;
  if (!reader.AsInt(*version, "`ferrule`", &number)) return false;
  if (number == 0) {
    reader.out()
        ->Add(Code::kBadValue, "`ferrule` is the version of the format, from 1",
              reader.At(*version))
        .Help("write `ferrule: 1`");
    return false;
  }
  if (number > kRuleFormat) {
    reader.out()
        ->Add(Code::kNewerFormat,
              fmt::format("the file needs rule format {}, this ferrule reads {}", number,
                          kRuleFormat),
              reader.At(*version))
        .Help("update ferrule");
    return false;
  }
  bool good = reader.KnownKeys(
      root, "the rule file",
      {"ferrule", "model_type", "about", "config", "verified", "unverified", "dims", "index",
       "conditions", "modules", "leftovers", "shapes", "example", "tests"});
  const YamlNode* types = reader.Require(root, "the rule file", "model_type");
  good = types != nullptr && reader.AsTexts(*types, "`model_type`", &file->model_types) && good;
  std::set<std::string> names;
  for (size_t i = 0; i < file->model_types.size(); ++i)
    if (!names.insert(file->model_types[i]).second) {
      reader.out()->Add(Code::kBadValue,
                        fmt::format("the model_type {} stands twice", Quoted(file->model_types[i])),
                        reader.At(types->items[i]));
      good = false;
    }
  const YamlNode* about = reader.Require(root, "the rule file", "about");
  good = about != nullptr && reader.AsText(*about, "`about`", &file->about) && good;
  if (const YamlNode* node = root.Find("config"))
    good = reader.AsText(*node, "`config`", &file->config_section) && good;
  if (const YamlNode* node = root.Find("verified"))
    good = reader.AsTexts(*node, "`verified`", &file->verified) && good;
  if (const YamlNode* node = root.Find("unverified")) {
    if (node->is_map()) {
      for (const YamlEntry& entry : node->entries) {
        NamedText text{entry.key, "", entry.key_place};
        good = reader.AsText(entry.value, "a sentence of `unverified`", &text.text) && good;
        file->unverified.push_back(std::move(text));
      }
    } else {
      NamedText text{"", "", node->place};
      good = reader.AsText(*node, "`unverified`", &text.text) && good;
      file->unverified.push_back(std::move(text));
    }
  }
  if (file->verified.empty() && file->unverified.empty()) {
    reader.out()
        ->Add(Code::kMissingKey, "the file says neither `verified` nor `unverified`",
              reader.At(root))
        .Help("name the listings that every line was checked against, or say what was not checked");
    good = false;
  }
  return good;
}

bool ParseLeftovers(const YamlReader& reader, const YamlNode& list, RuleFile* file) {
  if (!reader.IsList(list, "`leftovers`")) return false;
  bool good = true;
  for (const YamlNode& item : list.items) {
    std::string text;
    std::vector<Segment> segments;
    good = reader.AsText(item, "an item of `leftovers`", &text) &&
           ParsePath(reader, item.place, text, &segments) && good;
    file->leftovers.push_back(std::move(segments));
  }
  return good;
}

void AppendJsonText(std::string_view text, std::string* out) {
  *out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\')
      (*out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      *out += fmt::format("\\u{:04x}", c);
    else
      *out += c;
  }
  *out += '"';
}

// 2.625: digits, a point, digits.
bool IsDecimal(std::string_view text) {
  const size_t point = text.find('.');
  return point != std::string_view::npos && point > 0 && point + 1 < text.size() &&
         text.size() < 19 && (point == 1 || text[0] != '0') &&
         text.find_first_not_of("0123456789", point + 1) == std::string_view::npos &&
         text.substr(0, point).find_first_not_of("0123456789") == std::string_view::npos;
}

void AppendJson(const YamlNode& node, std::string* out) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      *out += "null";
      return;
    case YamlNode::Kind::kScalar: {
      const std::string_view digits =
          std::string_view(node.text).substr(node.text.rfind('-', 0) == 0 ? 1 : 0);
      const bool number = !digits.empty() && digits.size() < 19 &&
                          digits.find_first_not_of("0123456789") == std::string_view::npos &&
                          (node.text.size() == 1 || digits[0] != '0');
      if (node.plain && (number || IsDecimal(digits) || node.text == "true" ||
                         node.text == "false" || node.text == "null"))
        *out += node.text;
      else
        AppendJsonText(node.text, out);
      return;
    }
    case YamlNode::Kind::kList:
      *out += '[';
      for (const YamlNode& item : node.items) {
        if (&item != &node.items.front()) *out += ',';
        AppendJson(item, out);
      }
      *out += ']';
      return;
    case YamlNode::Kind::kMap:
      *out += '{';
      for (const YamlEntry& entry : node.entries) {
        if (&entry != &node.entries.front()) *out += ',';
        AppendJsonText(entry.key, out);
        *out += ':';
        AppendJson(entry.value, out);
      }
      *out += '}';
  }
}

// Bytes before `tests:` where that is plainly the last key: what follows is indented, a comment or
// empty. Else all.
size_t BeforeTests(std::string_view text) {
  const size_t tests = text.find("\ntests:");
  if (tests == std::string_view::npos) return text.size();
  for (size_t line = text.find('\n', tests + 1); line != std::string_view::npos;
       line = text.find('\n', line + 1))
    if (line + 1 < text.size() &&
        std::string_view(" #\n").find(text[line + 1]) == std::string_view::npos)
      return text.size();
  return tests + 1;
}

}  // namespace

std::string YamlToJson(const YamlNode& node) {
  std::string out;
  AppendJson(node, &out);
  return out;
}

std::string Sha256(std::string_view bytes) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, bytes.size(), reinterpret_cast<const uint8_t*>(bytes.data()));
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof digest, digest);
  std::string out;
  for (const uint8_t byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

std::string_view SplitName(Split split) {
  return split == Split::kColumn ? "column" : split == Split::kRow ? "row" : "none";
}

std::string_view KindName(NodeKind kind) {
  switch (kind) {
    case NodeKind::kRows:
      return "rows";
    case NodeKind::kUnified:
      return "unified";
    case NodeKind::kFused:
      return "fused";
    case NodeKind::kWeight:
      return "weight";
    case NodeKind::kParam:
      return "param";
    default:
      return "tree";
  }
}

std::string Dim::Text() const {
  std::string out;
  for (const Expr& expr : alternatives) out += (out.empty() ? "" : " | ") + expr.text();
  return out;
}

bool Dim::Uses(std::string_view name) const {
  return std::any_of(alternatives.begin(), alternatives.end(),
                     [&](const Expr& expr) { return expr.Uses(name); });
}

std::string PathText(const std::vector<Segment>& segments) {
  std::string out;
  for (const Segment& segment : segments) {
    if (!out.empty()) out += '.';
    out += segment.placeholder ? "<" + segment.text + ">" : segment.text;
  }
  return out;
}

std::shared_ptr<const RuleFile> ParseRuleFile(std::string path, std::string text, Diagnostics* out,
                                              Tests tests) {
  auto file = std::make_shared<RuleFile>();
  file->path = path;
  file->sha256 = Sha256(text);
  if (tests == Tests::kLeave) text.resize(BeforeTests(text));
  auto yaml = ParseYaml(std::move(path), std::move(text), out);
  if (!yaml) return nullptr;
  file->yaml = std::move(*yaml);
  const YamlReader reader(file->yaml, out);
  const YamlNode& root = file->yaml.root;
  if (!reader.IsMap(root, "a rule file") || !ParseHeader(reader, root, file.get())) return nullptr;

  bool good = true;
  if (const YamlNode* node = root.Find("dims"))
    good = ParseDims(reader, *node, "dims", &file->dims) && good;
  if (const YamlNode* node = root.Find("conditions"))
    good = ParseDims(reader, *node, "conditions", &file->conditions) && good;
  if (const YamlNode* node = root.Find("index"))
    good = ParseIndices(reader, *node, &file->indices) && good;
  if (const YamlNode* node = root.Find("leftovers"))
    good = ParseLeftovers(reader, *node, file.get()) && good;
  if (const YamlNode* node = root.Find("shapes")) {
    good = reader.IsMap(*node, "`shapes`") && good;
    for (const YamlEntry& entry : node->entries) {
      RuleNode shape;
      good =
          ParseRuleNode(reader, entry.value, fmt::format("`shapes.{}`", entry.key), &shape) && good;
      shape.place = entry.key_place;
      file->shapes.emplace_back(entry.key, std::move(shape));
    }
  }
  const YamlNode* modules = reader.Require(root, "the rule file", "modules");
  good = modules != nullptr && ParseRuleNode(reader, *modules, "`modules`", &file->root) && good;
  const YamlNode* example = reader.Require(root, "the rule file", "example");
  if (example == nullptr || !reader.IsMap(*example, "`example`"))
    good = false;
  else
    file->example_json = YamlToJson(*example);
  if (const YamlNode* list = root.Find("tests")) good = reader.IsList(*list, "`tests`") && good;
  if (!good) return nullptr;
  const Soundness soundness = CheckRuleFile(*file, out);
  if (soundness == Soundness::kEndless) return nullptr;
  file->sound = soundness == Soundness::kSound;
  return file;
}

}  // namespace ferrule
