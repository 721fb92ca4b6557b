// SPDX-License-Identifier: Apache-2.0
// One JSON object → RuntimeQuestion: every key is an input under its own name.
#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/emulation.h"

namespace ferrule {
namespace {

void AddAll(const JsonValue& array, size_t group, QuestionList* out) {
  for (size_t i = 0; i < array.size(); ++i) {
    const JsonValue item = array[i];
    if (item.is_array())
      AddAll(item, i, out);
    else
      out->push_back({std::string(item.Text()), {}, out->size(), group});
  }
}

}  // namespace

FusedMap ReadFusedMap(const JsonValue& object) {
  FusedMap map;
  for (const JsonValue part : object) {
    auto& [name, parts] = map.emplace_back(std::string(part.name()), std::vector<std::string>());
    for (const JsonValue text : part) parts.emplace_back(text.Text());
  }
  return map;
}

std::optional<RuntimeQuestion> ReadRuntimeQuestion(const JsonValue& row, const RuntimeNames& names,
                                                   std::string* why) {
  RuntimeQuestion out;
  for (const JsonValue value : row) {
    const std::string key(value.name());
    if (key == "prefix") {
      if (!value.is_string()) return *why = "`prefix` must be text", std::nullopt;
      out.name = value.Text();
    } else if (key == "map" && value.is_object()) {
      out.map = ReadFusedMap(value);
    } else if (key == "map" && value.is_string()) {
      const auto known = std::find_if(names.maps.begin(), names.maps.end(),
                                      [&](const auto& map) { return map.first == value.Text(); });
      if (known != names.maps.end()) {
        out.map = known->second;
      } else if (value.Text() != "-" && value.Text() != "none") {
        *why = fmt::format("no map {} in the first line", Quoted(value.Text()));
        return std::nullopt;
      }
    } else if (value.is_string()) {
      out.texts[key] = value.Text();
      if (key == "mapper") {  // the rename tables of that class are inputs too
        for (const JsonValue table : names.mappers.Find(value.Text()))
          for (const JsonValue rename : table)
            out.lists[std::string(table.name())].push_back(
                {std::string(rename.name()), rename, rename.index(), 0});
      }
    } else if (value.is_array()) {
      AddAll(value, 0, &out.lists[key]);
    } else if (value.is_object()) {
      QuestionList& list = out.lists[key];
      for (const JsonValue member : value) {
        list.push_back({std::string(member.name()), member, list.size(), 0});
        if (member.is_array() && member[0].is_string())
          AddAll(member, 0, &out.lists[fmt::format("{}.{}", key, member.name())]);
      }
    } else if (value.is_null()) {
      out.absent.insert(key);
    } else {
      out.texts[key] = value.ToString();
      if (value.AsBool().value_or(false)) out.flags.insert(key);
    }
  }
  return out;
}

}  // namespace ferrule
