// SPDX-License-Identifier: Apache-2.0
// YamlNode → typed values, or a finding that says what was expected where.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/text/yaml.h"

namespace ferrule {

std::string YamlReader::Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "empty";
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
    case YamlNode::Kind::kScalar:
      break;
  }
  return "the text " + Quoted(node.text, 60);
}

bool YamlReader::WrongType(const YamlNode& node, std::string_view what,
                           std::string_view expected) const {
  Finding& finding =
      out_->Add(Code::kWrongType,
                fmt::format("{} must be {}, not {}", what, expected, Describe(node)), At(node));
  const bool flow = (node.is_map() || node.is_list()) && node.flow;
  if (flow && expected.find("text") != std::string_view::npos)
    finding.Help("quote a text that begins with `{` or `[`");
  return false;
}

bool YamlReader::AsInt(const YamlNode& node, std::string_view what, int64_t* value) const {
  const bool digits = node.is_scalar() && node.plain && !node.text.empty() &&
                      node.text.find_first_not_of("0123456789") == std::string::npos &&
                      (node.text.size() == 1 || node.text[0] != '0');
  if (!digits) return WrongType(node, what, "a decimal integer");
  const char* end = node.text.data() + node.text.size();
  if (std::from_chars(node.text.data(), end, *value).ec != std::errc()) {
    out_->Add(Code::kBadValue, fmt::format("{} is larger than 2^63 - 1", what), At(node));
    return false;
  }
  return true;
}

bool YamlReader::AsBool(const YamlNode& node, std::string_view what, bool* value) const {
  if (!node.is_scalar() || !node.plain || (node.text != "true" && node.text != "false"))
    return WrongType(node, what, "`true` or `false`");
  *value = node.text == "true";
  return true;
}

bool YamlReader::AsText(const YamlNode& node, std::string_view what, std::string* value) const {
  if (!node.is_scalar()) return WrongType(node, what, "a text");
  if (node.text.empty()) {
    out_->Add(Code::kBadValue, fmt::format("{} is an empty text", what), At(node))
        .Help("write it, or leave the key out");
    return false;
  }
  *value = node.text;
  return true;
}

bool YamlReader::AsWord(const YamlNode& node, std::string_view what,
                        std::span<const std::string_view> words, size_t* at) const {
  std::string text;
  if (!AsText(node, what, &text)) return false;
  const auto found = std::find(words.begin(), words.end(), text);
  *at = static_cast<size_t>(found - words.begin());
  if (found != words.end()) return true;
  std::string known;
  for (const std::string_view word : words)
    known += fmt::format("{}`{}`", known.empty() ? "" : word == words.back() ? " or " : ", ", word);
  Finding& finding = out_->Add(
      Code::kBadValue, fmt::format("{} is {}; it must be {}", what, Quoted(text), known), At(node));
  const std::string nearest = NearestName(text, {words.begin(), words.end()});
  if (!nearest.empty() && words.size() > 1)
    finding.Help(fmt::format("did you mean `{}`?", nearest));
  return false;
}

bool YamlReader::AsTexts(const YamlNode& node, std::string_view what,
                         std::vector<std::string>* value) const {
  value->clear();
  if (node.is_list()) {
    bool good = true;
    for (const YamlNode& item : node.items) {
      value->emplace_back();
      good = AsText(item, fmt::format("an item of {}", what), &value->back()) && good;
    }
    return good;
  }
  value->emplace_back();
  return AsText(node, what, &value->back());
}

bool YamlReader::IsMap(const YamlNode& node, std::string_view what) const {
  return node.is_map() || WrongType(node, what, "a mapping");
}

bool YamlReader::IsList(const YamlNode& node, std::string_view what) const {
  return node.is_list() || WrongType(node, what, "a list");
}

bool YamlReader::KnownKeys(const YamlNode& map, std::string_view what,
                           std::initializer_list<std::string_view> known) const {
  bool good = true;
  for (const YamlEntry& entry : map.entries) {
    bool found = false;
    for (const std::string_view name : known) found = found || entry.key == name;
    if (found) continue;
    good = false;
    const std::vector<std::string> names(known.begin(), known.end());
    const std::string nearest = NearestName(entry.key, names);
    Finding& finding =
        out_->Add(Code::kUnknownKey, fmt::format("unknown key {} in {}", Quoted(entry.key), what),
                  At(entry.key_place));
    if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
    finding.Fact("known", fmt::format("{}", fmt::join(known, ", ")));
  }
  return good;
}

const YamlNode* YamlReader::Require(const YamlNode& map, std::string_view what,
                                    std::string_view key) const {
  const YamlNode* node = map.Find(key);
  if (node == nullptr)
    out_->Add(Code::kMissingKey, fmt::format("{} lacks the key `{}`", what, key), At(map));
  return node;
}

}  // namespace ferrule
