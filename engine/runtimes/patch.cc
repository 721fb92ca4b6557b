// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/patch.h"

#include <algorithm>
#include <optional>

namespace ferrule {
namespace {

// `root` with `text` in the place of the value at `pointer`.
std::string Replaced(const JsonValue& root, const std::string& pointer, const std::string& text) {
  const std::string here = root.pointer();
  if (here == pointer) return text;
  if (!root.is_object() || pointer.compare(0, here.size() + 1, here + "/") != 0)
    return root.ToString();
  std::string out = "{";
  for (const JsonValue member : root) {
    if (out.size() > 1) out += ",";
    out += JsonText(member.name()) + ":" + Replaced(member, pointer, text);
  }
  return out + "}";
}

std::optional<JsonValue> Parse(const std::string& path, const std::string& text) {
  JsonLimits limits;
  limits.infinity_is_null = true;
  Diagnostics ignored;
  return ParseJson(path, text, limits, &ignored);
}

}  // namespace

std::string PatchedDescription(const JsonValue& description, const ListPatch& patch, bool wide) {
  const std::string line = wide ? "\n  " : "";
  const std::string item = wide ? "\n    " : "";
  std::string list = "[";
  for (const std::string& entry : patch.entries)
    list += (list.size() > 1 ? "," : "") + item + JsonText(entry);
  list += (patch.entries.empty() ? "" : line) + "]";
  std::string out = "{";
  bool written = false;
  const auto add = [&](std::string_view name, const std::string& value) {
    out += (out.size() > 1 ? "," : "") + line + JsonText(name) + (wide ? ": " : ":") + value;
  };
  for (const JsonValue member : description) {
    const std::string name(member.name());
    if (name == patch.key) {
      add(name, list);
      written = true;
    } else if (name == "quant_method" && !patch.method.empty()) {
      add(name, JsonText(patch.method));
    } else if (std::find(patch.without.begin(), patch.without.end(), name) == patch.without.end()) {
      add(name, member.ToString());
    }
  }
  if (!written && !patch.entries.empty()) add(patch.key, list);
  return out + (wide ? "\n}" : "}");
}

bool PatchConfig(const JsonValue& description, const std::string& text, Checkpoint* checkpoint) {
  const std::string& path = description.path();
  JsonValue* const apart = &checkpoint->quantization_config;
  for (JsonValue* const file :
       {&checkpoint->config, &checkpoint->hf_quant_config, &checkpoint->quant_model_description}) {
    if (!*file || file->path() != path) continue;
    const auto json = Parse(path, Replaced(*file, description.pointer(), text));
    if (!json) return false;
    *file = *json;
    if (file == &checkpoint->config && *apart && apart->path() == path)
      *apart = json->Find("quantization_config");
    return true;
  }
  if (!*apart || apart->path() != path) return false;
  const auto json = Parse(path, text);  // quantization_config.json, which is nothing else
  if (json) *apart = *json;
  return json.has_value();
}

}  // namespace ferrule
