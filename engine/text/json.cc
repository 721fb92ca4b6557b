// SPDX-License-Identifier: Apache-2.0
#include "engine/text/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "engine/text/json_document.h"

namespace ferrule {
namespace {

const JsonNode* NodeOf(const std::shared_ptr<const JsonValue::Document>& document, uint32_t node) {
  return document && node < document->nodes.size() ? &document->nodes[node] : nullptr;
}

}  // namespace

std::string_view JsonKindName(JsonKind kind) {
  switch (kind) {
    case JsonKind::kMissing:
      return "nothing";
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "a boolean";
    case JsonKind::kInt:
    case JsonKind::kUint:
      return "a whole number";
    case JsonKind::kDouble:
      return "a number with a fraction";
    case JsonKind::kString:
      return "text";
    case JsonKind::kArray:
      return "a list";
    case JsonKind::kObject:
      return "an object";
  }
  return "nothing";
}

std::string JsonPointerStep(std::string_view name) {
  std::string out = "/";
  for (const char c : name) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\u{:04x}", byte);
    else
      out += c;
  }
  return out + '"';
}

JsonKind JsonValue::kind() const {
  const JsonNode* const node = NodeOf(document_, node_);
  return node ? node->kind : JsonKind::kMissing;
}

std::optional<bool> JsonValue::AsBool() const {
  if (kind() != JsonKind::kBool) return std::nullopt;
  return document_->nodes[node_].boolean;
}

std::optional<int64_t> JsonValue::AsInt() const {
  if (kind() != JsonKind::kInt) return std::nullopt;
  return document_->nodes[node_].integer;
}

std::optional<uint64_t> JsonValue::AsUint() const {
  if (kind() == JsonKind::kUint) return document_->nodes[node_].natural;
  const std::optional<int64_t> integer = AsInt();
  if (!integer || *integer < 0) return std::nullopt;
  return static_cast<uint64_t>(*integer);
}

std::optional<double> JsonValue::AsNumber() const {
  switch (kind()) {
    case JsonKind::kInt:
      return static_cast<double>(document_->nodes[node_].integer);
    case JsonKind::kUint:
      return static_cast<double>(document_->nodes[node_].natural);
    case JsonKind::kDouble:
      return document_->nodes[node_].real;
    default:
      return std::nullopt;
  }
}

std::optional<std::string_view> JsonValue::AsString() const {
  if (kind() != JsonKind::kString) return std::nullopt;
  return document_->nodes[node_].text;
}

std::string_view JsonValue::Text(std::string_view otherwise) const {
  return AsString().value_or(otherwise);
}

size_t JsonValue::size() const {
  return is_array() || is_object() ? document_->nodes[node_].children.count : 0;
}

JsonValue JsonValue::operator[](size_t i) const {
  if (i >= size()) return {};
  return {document_, document_->children[document_->nodes[node_].children.first + i]};
}

JsonValue JsonValue::Find(std::string_view name) const {
  if (!is_object()) return {};
  const JsonRange range = document_->nodes[node_].children;
  const auto first = document_->children.begin() + range.first + range.count;
  const auto last = first + range.count;
  const auto name_of = [&](uint32_t node) { return document_->nodes[node].name; };
  const auto found = std::lower_bound(
      first, last, name, [&](uint32_t node, std::string_view n) { return name_of(node) < n; });
  if (found == last || name_of(*found) != name) return {};
  return {document_, *found};
}

std::string_view JsonValue::name() const {
  const JsonNode* const node = NodeOf(document_, node_);
  return node ? node->name : std::string_view();
}

size_t JsonValue::index() const {
  const JsonNode* const node = NodeOf(document_, node_);
  return node ? node->index : 0;
}

std::string JsonValue::pointer() const {
  std::vector<const JsonNode*> chain;
  for (const JsonNode* node = NodeOf(document_, node_); node && node->parent != UINT32_MAX;
       node = NodeOf(document_, node->parent))
    chain.push_back(node);
  std::string out;
  for (auto node = chain.rbegin(); node != chain.rend(); ++node)
    out += document_->nodes[(*node)->parent].kind == JsonKind::kObject
               ? JsonPointerStep((*node)->name)
               : fmt::format("/{}", (*node)->index);
  return out;
}

const std::string& JsonValue::path() const {
  static const std::string none;
  return document_ ? document_->path : none;
}

Location JsonValue::location() const { return {nullptr, path(), 0, 0, 0, pointer()}; }

std::string JsonValue::ToString() const {
  switch (kind()) {
    case JsonKind::kMissing:
      return "";
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return *AsBool() ? "true" : "false";
    case JsonKind::kInt:
      return fmt::format("{}", *AsInt());
    case JsonKind::kUint:
      return fmt::format("{}", *AsUint());
    case JsonKind::kDouble: {
      const std::string text = fmt::format("{}", *AsNumber());
      return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
    }
    case JsonKind::kString:
      return JsonText(document_->nodes[node_].text);
    case JsonKind::kArray:
    case JsonKind::kObject:
      break;
  }
  std::string out(1, is_object() ? '{' : '[');
  for (const JsonValue child : *this) {
    if (out.size() > 1) out += ',';
    if (is_object()) out += JsonText(child.name()) + ':';
    out += child.ToString();
  }
  return out + (is_object() ? '}' : ']');
}

bool operator==(const JsonValue& a, const JsonValue& b) {
  if (a.kind() != b.kind() || a.size() != b.size()) return false;
  switch (a.kind()) {
    case JsonKind::kMissing:
    case JsonKind::kNull:
      return true;
    case JsonKind::kArray:
      for (size_t i = 0; i < a.size(); ++i)
        if (!(a[i] == b[i])) return false;
      return true;
    case JsonKind::kObject:
      for (const JsonValue child : a)
        if (!(child == b.Find(child.name()))) return false;
      return true;
    case JsonKind::kString:
      return a.AsString() == b.AsString();
    case JsonKind::kBool:
      return a.AsBool() == b.AsBool();
    case JsonKind::kDouble:
      return a.AsNumber() == b.AsNumber();
    case JsonKind::kInt:
    case JsonKind::kUint:
      return a.AsUint() == b.AsUint() && a.AsInt() == b.AsInt();
  }
  return false;
}

}  // namespace ferrule
