// SPDX-License-Identifier: Apache-2.0
// `schemes:` of a dialect file: when each applies and what it stores for a linear.
#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/dialect_parts.h"
#include "engine/rules/rule_node.h"

namespace ferrule {
namespace {

constexpr std::string_view kActivations[] = {"none", "group", "token", "tensor", "static"};
constexpr std::string_view kPer[] = {"tensor", "row", "block"};
constexpr std::string_view kSizes[] = {"rows", "in", "bits", "group", "groups"};

bool ParseDtypes(const YamlReader& reader, const YamlNode& node, std::string_view what,
                 StorageRule* out) {
  const YamlNode* dtype = reader.Require(node, what, "dtype");
  std::vector<std::string> names;
  if (dtype == nullptr) return false;
  bool good = reader.AsTexts(*dtype, what, &names);
  for (const std::string& text : names) {
    const auto type = DTypeFromName(text);
    if (type) {
      out->dtypes.push_back(*type);
      continue;
    }
    reader.out()
        ->Add(Code::kBadValue, fmt::format("{} is no safetensors dtype", Quoted(text)),
              reader.At(*dtype))
        .Help("dtypes are BF16, F16, F32, F8_E4M3, F8_E5M2, F8_E8M0, F4, U8, I8, I32 …");
    good = false;
  }
  return good;
}

// `shape: any`, or a list of expressions over the sizes of the linear.
bool ParseShape(const YamlReader& reader, const YamlNode& node, StorageRule* out) {
  if (node.is_scalar() && node.text == "any") {
    out->per = Per::kAny;
    return true;
  }
  out->per = Per::kShape;
  if (!reader.IsList(node, "`shape`")) return false;
  bool good = true;
  for (const YamlNode& item : node.items) {
    Dim dim;
    if (!item.is_scalar()) {
      good = reader.WrongType(item, "an item of `shape`", "an expression");
      continue;
    }
    if (!ParseDim(reader, item, "an item of `shape`", &dim)) {
      good = false;
      continue;
    }
    for (const std::string& name : dim.alternatives[0].Names()) {
      if (std::find(std::begin(kSizes), std::end(kSizes), name) != std::end(kSizes)) continue;
      reader.out()->Add(Code::kBadExpression,
                        fmt::format("{} is no size of a linear; there are `{}`", Quoted(name),
                                    fmt::join(kSizes, "`, `")),
                        reader.At(item));
      good = false;
    }
    out->shape.push_back(std::move(dim.alternatives[0]));
  }
  return good;
}

bool ParseOptionalDim(const YamlReader& reader, const YamlNode& node, std::string_view key,
                      std::optional<Dim>* out) {
  const YamlNode* value = node.Find(key);
  if (value == nullptr) return true;
  out->emplace();
  return ParseDim(reader, *value, fmt::format("`{}`", key), &**out);
}

bool ParseScheme(const YamlReader& reader, const YamlNode& node, SchemeRule* out) {
  const std::string_view what = "a scheme";
  if (!reader.IsMap(node, what)) return false;
  out->place = node.place;
  bool good = reader.KnownKeys(node, what,
                               {"when", "scheme", "block", "group", "bits", "activation",
                                "power_of_two", "named", "storage"});
  const YamlNode* scheme = reader.Require(node, what, "scheme");
  good = scheme != nullptr && reader.AsText(*scheme, "`scheme`", &out->scheme) && good;
  if (scheme != nullptr && out->scheme == "bf16") {
    reader.out()
        ->Add(Code::kBadValue, "`bf16` is what is not quantized, never a scheme",
              reader.At(*scheme))
        .Help("modules stay BF16 by `list` or by `otherwise: bf16`");
    good = false;
  }
  if (const YamlNode* named = node.Find("named"))
    good = reader.AsBool(*named, "`named`", &out->named) && good;
  good = ParseOptionalDim(reader, node, "when", &out->when) && good;
  good = ParseOptionalDim(reader, node, "group", &out->group) && good;
  good = ParseOptionalDim(reader, node, "bits", &out->bits) && good;
  good = ParseOptionalDim(reader, node, "power_of_two", &out->power_of_two) && good;
  if (const YamlNode* block = node.Find("block"))
    good = reader.AsText(*block, "`block`", &out->block_key) && good;
  if (const YamlNode* activation = node.Find("activation")) {
    size_t word = 0;
    good = reader.AsWord(*activation, "`activation`", kActivations, &word) && good;
    out->activation = static_cast<Activation>(word);
  }
  const YamlNode* storage = node.Find("storage");
  if (storage == nullptr) return good;
  if (!reader.IsMap(*storage, "`storage`")) return false;
  good = reader.KnownKeys(*storage, "`storage`", {"weight", "scale", "input", "more"}) && good;
  for (const YamlEntry& entry : storage->entries) {
    if (entry.key == "more") {
      if (!reader.IsList(entry.value, "`storage.more`")) return false;
      for (const YamlNode& item : entry.value.items) {
        out->storage.emplace_back();
        good = ParseStorageRule(reader, item, "an item of `storage.more`", entry.key,
                                &out->storage.back()) &&
               good;
      }
      continue;
    }
    out->storage.emplace_back();
    good = ParseStorageRule(reader, entry.value, fmt::format("`storage.{}`", entry.key), entry.key,
                            &out->storage.back()) &&
           good;
  }
  if (good && out->weight() == nullptr) {
    reader.out()
        ->Add(Code::kMissingKey, "`storage` needs a `weight`", reader.At(*storage))
        .Help("leave `storage` out where nothing is known about the tensors");
    good = false;
  }
  return good;
}

}  // namespace

std::string_view ActivationName(Activation activation) {
  return kActivations[static_cast<size_t>(activation)];
}

bool ParseStorageRule(const YamlReader& reader, const YamlNode& node, std::string_view what,
                      std::string_view role, StorageRule* out) {
  out->role = role;
  if (!reader.IsMap(node, what)) return false;
  bool good = reader.KnownKeys(node, what, {"name", "dtype", "per", "shape", "optional"});
  const YamlNode* name = reader.Require(node, what, "name");
  good = name != nullptr && reader.AsTexts(*name, what, &out->names) && good;
  if (good && out->names.empty()) {
    reader.out()
        ->Add(Code::kBadValue, fmt::format("the list of names of {} is empty", what),
              reader.At(*name))
        .Help("write the last segment of the tensor's name, such as `weight_scale`");
    good = false;
  }
  good = ParseDtypes(reader, node, what, out) && good;
  if (const YamlNode* per = node.Find("per")) {
    size_t word = 0;
    good = reader.AsWord(*per, "`per`", kPer, &word) && good;
    out->per = static_cast<Per>(word);
  }
  if (const YamlNode* shape = node.Find("shape")) {
    if (node.Find("per") != nullptr) {
      reader.out()
          ->Add(Code::kConflictingKeys, "`per` and `shape` both say what shape the tensor has",
                reader.At(*shape))
          .Help("keep one of them");
      good = false;
    }
    good = ParseShape(reader, *shape, out) && good;
  } else if (role == "weight") {
    out->per = Per::kPlain;
  }
  if (const YamlNode* flag = node.Find("optional"))
    good = reader.AsBool(*flag, "`optional`", &out->optional) && good;
  return good;
}

bool ParseSchemes(const YamlReader& reader, const YamlNode& node, std::vector<SchemeRule>* out) {
  if (!reader.IsList(node, "`schemes`")) return false;
  bool good = true;
  if (node.items.empty()) {
    reader.out()
        ->Add(Code::kBadValue, "`schemes` is an empty list", reader.At(node))
        .Help("a dialect describes at least one scheme, such as `- {scheme: fp8_tensor}`");
    good = false;
  }
  for (const YamlNode& item : node.items) {
    out->emplace_back();
    good = ParseScheme(reader, item, &out->back()) && good;
  }
  return good;
}

const StorageRule* SchemeRule::Role(std::string_view role) const {
  for (const StorageRule& rule : storage)
    if (rule.role == role) return &rule;
  return nullptr;
}

}  // namespace ferrule
