// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/block_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/name_match.h"

namespace ferrule {
namespace {

constexpr std::string_view kSizes[] = {"columns", "parts", "parts-but-last", "inner"};
constexpr std::string_view kBy[] = {"rows", "columns"};
constexpr std::string_view kWhen[] = {"cut-rows", "cut-columns", "several-parts", "tp"};

bool ReadRule(const YamlReader& reader, const YamlNode& node, BlockRule* out) {
  const std::string_view what = "a block rule";
  if (!reader.IsMap(node, what)) return false;
  bool good = reader.KnownKeys(node, what, {"size", "by", "when", "message"});
  size_t at = 0;
  const YamlNode* size = reader.Require(node, what, "size");
  if (size == nullptr || !reader.AsWord(*size, "`size`", kSizes, &at)) return false;
  out->size = static_cast<BlockSize>(at);
  const YamlNode* by = reader.Require(node, what, "by");
  if (by == nullptr || !reader.AsWord(*by, "`by`", kBy, &at)) return false;
  out->by_columns = at == 1;
  if (const YamlNode* when = node.Find("when")) {
    if (!reader.IsList(*when, "`when`")) return false;
    for (const YamlNode& item : when->items) {
      if (!reader.AsWord(item, "`when`", kWhen, &at)) return false;
      out->when.push_back(static_cast<BlockWhen>(at));
    }
  }
  const YamlNode* message = reader.Require(node, what, "message");
  return message != nullptr && reader.AsText(*message, "`message`", &out->message) && good;
}

bool Applies(const BlockRule& rule, const BlockShape& shape) {
  if (rule.when.empty()) return true;
  return std::any_of(rule.when.begin(), rule.when.end(), [&](BlockWhen when) {
    switch (when) {
      case BlockWhen::kCutRows:
        return shape.tp > 1 && shape.rows / shape.rows_per_rank == shape.tp;
      case BlockWhen::kCutColumns:
        return shape.tp > 1 && shape.columns / shape.columns_per_rank == shape.tp;
      case BlockWhen::kSeveralParts:
        return shape.parts.size() > 1;
      case BlockWhen::kTp:
        break;
    }
    return shape.tp > 1;
  });
}

std::vector<int64_t> Sizes(const BlockRule& rule, const BlockShape& shape) {
  if (rule.size == BlockSize::kColumns) return {shape.columns_per_rank};
  if (rule.size == BlockSize::kInner) return {shape.inner};
  std::vector<int64_t> sizes = shape.parts;
  if (rule.size == BlockSize::kPartsButLast && !sizes.empty()) sizes.pop_back();
  return sizes;
}

}  // namespace

bool ReadBlockCheck(const YamlReader& reader, const YamlNode& node, BlockCheck* out) {
  if (!reader.IsMap(node, "`block_check`")) return false;
  bool good = reader.KnownKeys(node, "`block_check`", {"linear", "experts"});
  const auto read = [&](const char* key, std::vector<BlockRule>* rules) {
    const YamlNode* list = reader.Require(node, "`block_check`", key);
    if (list == nullptr || !reader.IsList(*list, key)) return false;
    bool all = true;
    for (const YamlNode& item : list->items)
      all = ReadRule(reader, item, &rules->emplace_back()) && all;
    return all;
  };
  good = read("linear", &out->linear) && good;
  return read("experts", &out->experts) && good;
}

std::optional<std::string> Refusal(const BlockCheck& check, const BlockShape& shape) {
  if (shape.allowed) return std::nullopt;
  for (const BlockRule& rule : shape.experts ? check.experts : check.linear) {
    if (!Applies(rule, shape)) continue;
    const int64_t block = rule.by_columns ? shape.block_columns : shape.block_rows;
    for (const int64_t size : Sizes(rule, shape))
      if (size % block != 0)
        return ReplaceEvery(ReplaceEvery(rule.message, "{size}", fmt::format("{}", size)),
                            "{block}", fmt::format("{}", block));
  }
  return std::nullopt;
}

}  // namespace ferrule
