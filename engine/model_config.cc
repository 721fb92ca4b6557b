// SPDX-License-Identifier: Apache-2.0
#include "engine/model_config.h"

#include <fmt/format.h>

#include <algorithm>

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
  return Answer::Fail(
      fmt::format("`{}` is {} in config.json, not a whole number, true, false or a "
                  "text",
                  name, JsonKindName(value.kind())));
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

Answer ConfigScope::Index(std::string_view name, int64_t index) const {
  const JsonValue value = Value(name);
  if (!value) return Answer::Missing(name);
  const auto text = value.AsString();
  if (!text && !value.is_array())
    return Answer::Fail(
        fmt::format("`{}` is {} in config.json, not a list", name, JsonKindName(value.kind())));
  const size_t size = text ? text->size() : value.size();
  if (index < 0 || static_cast<size_t>(index) >= size)
    return Answer::Fail(
        fmt::format("index {} of `{}` is out of range: it has {} items", index, name, size));
  const size_t at = static_cast<size_t>(index);
  return text ? Answer::Text(text->substr(at, 1)) : ToAnswer(value[at], name);
}

bool ConfigScope::Has(std::string_view name) const { return static_cast<bool>(Value(name)); }

}  // namespace ferrule
