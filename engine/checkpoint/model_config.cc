// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace ferrule {
namespace {

JsonValue Descend(JsonValue value, std::string_view name) {
  for (size_t at = 0; value && at <= name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    value = value.Find(name.substr(at, dot - at));
    at = dot + 1;
  }
  return value.is_null() ? JsonValue() : value;
}

Answer ToAnswer(const JsonValue& value, std::string_view name) {
  if (const auto number = value.AsInt()) return Answer::Int(*number);
  if (const auto flag = value.AsBool()) return Answer::Bool(*flag);
  if (const auto text = value.AsString()) return Answer::Text(*text);
  if (value.kind() == JsonKind::kDouble) return Answer::Decimal(*value.AsNumber());
  return Answer::Fail(fmt::format("`{}` is {} in config.json, not a number, true, false or a text",
                                  name, JsonKindName(value.kind())));
}

Answer NoList(const JsonValue& value, std::string_view name) {
  return Answer::Fail(
      fmt::format("`{}` is {} in config.json, not a list", name, JsonKindName(value.kind())));
}

// `3,4,5` as a text, which some releases write for a list; nothing when it is another text.
std::optional<Answer> InText(std::string_view text, const ExprValue& value) {
  if (value.kind != ExprValue::Kind::kInt) return std::nullopt;
  bool found = false;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    std::string_view piece = text.substr(at, comma - at);
    while (!piece.empty() && piece.front() == ' ') piece.remove_prefix(1);
    while (!piece.empty() && piece.back() == ' ') piece.remove_suffix(1);
    int64_t number = 0;
    const auto read = std::from_chars(piece.data(), piece.data() + piece.size(), number);
    if (read.ec != std::errc() || read.ptr != piece.data() + piece.size()) return std::nullopt;
    found = found || number == value.number;
    at = comma + 1;
  }
  return Answer::Bool(found);
}

}  // namespace

JsonValue ConfigScope::Value(std::string_view name) const {
  const JsonValue value = Descend(section_, name);
  return value ? value : Descend(root_, name);
}

Answer ConfigScope::Lookup(std::string_view name) const {
  const JsonValue value = Value(name);
  return value ? ToAnswer(value, name) : Answer::Missing(name);
}

Answer ConfigScope::Index(std::string_view name, int64_t index, std::string_view field) const {
  const JsonValue value = Value(name);
  if (!value) return Answer::Missing(name);
  const auto text = value.AsString();
  if (!text && !value.is_array()) return NoList(value, name);
  const size_t size = text ? text->size() : value.size();
  if (index < 0 || static_cast<size_t>(index) >= size)
    return Answer::Fail(fmt::format("index {} of `{}` is out of range: it has {} item{}", index,
                                    name, size, size == 1 ? "" : "s"));
  const size_t at = static_cast<size_t>(index);
  const std::string whole =
      field.empty() ? std::string(name) : fmt::format("{}({}).{}", name, index, field);
  if (text && !field.empty())
    return Answer::Fail(
        fmt::format("`{}` is a text in config.json, whose letters have no `{}`", name, field));
  if (text) return Answer::Text(text->substr(at, 1));
  if (field.empty()) return ToAnswer(value[at], whole);
  const JsonValue item = Descend(value[at], field);
  return item ? ToAnswer(item, whole) : Answer::Missing(whole);
}

Answer ConfigScope::Size(std::string_view name) const {
  const JsonValue value = Value(name);
  if (!value) return Answer::Missing(name);
  const auto text = value.AsString();
  if (!text && !value.is_array()) return NoList(value, name);
  return Answer::Int(static_cast<int64_t>(text ? text->size() : value.size()));
}

Answer ConfigScope::Contains(std::string_view name, const ExprValue& value) const {
  const JsonValue list = Value(name);
  if (!list) return Answer::Missing(name);
  if (const auto text = list.AsString())
    if (const std::optional<Answer> answer = InText(*text, value)) return *answer;
  if (!list.is_array()) return NoList(list, name);
  bool found = false;
  for (const JsonValue item : list) {
    const Answer answer = ToAnswer(item, name);
    if (!answer.ok() || answer.value.kind != value.kind || value.kind == ExprValue::Kind::kDecimal)
      return Answer::Fail(
          fmt::format("`{}` has items of another kind than what is looked for", name));
    found = found || (value.kind == ExprValue::Kind::kText ? answer.value.text == value.text
                                                           : answer.value.number == value.number);
  }
  return Answer::Bool(found);
}

bool ConfigScope::Has(std::string_view name) const { return static_cast<bool>(Value(name)); }

}  // namespace ferrule
