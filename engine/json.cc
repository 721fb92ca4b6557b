// SPDX-License-Identifier: Apache-2.0
// simdjson's DOM → our tree. simdjson tells no position and keeps duplicates: positions of mistakes
// come from a second pass with JsonScan, duplicates are found while the tree is built.
#include "engine/json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <vector>

#include "engine/arena.h"
#include "engine/json_scan.h"

namespace ferrule {
namespace {

struct Range {
  uint32_t first, count;
};

struct Node {
  JsonKind kind = JsonKind::kNull;
  uint32_t parent = UINT32_MAX;
  uint32_t index = 0;
  std::string_view name;
  union {
    bool boolean;
    int64_t integer;
    uint64_t natural;
    double real;
    Range children;  // in Document::children; objects have their order by name behind it
  };
  std::string_view text;

  Node() : natural(0) {}
};

}  // namespace

struct JsonValue::Document {
  std::string path;
  Arena texts;
  std::vector<Node> nodes;  // the first is the top
  std::vector<uint32_t> children;
};

class JsonBuilder {
 public:
  JsonBuilder(const std::string& path, size_t depth, Diagnostics* diagnostics)
      : document_(std::make_shared<JsonValue::Document>()),
        depth_(depth),
        diagnostics_(diagnostics) {
    document_->path = path;
  }

  std::optional<JsonValue> Build(simdjson::dom::element top) {
    Node node;
    if (!Fill(top, node, 0)) return std::nullopt;
    return JsonValue(document_, 0);
  }

 private:
  // Adds `node` as what `element` says, its children after it.
  bool Fill(simdjson::dom::element element, Node node, size_t depth) {
    using Type = simdjson::dom::element_type;
    const uint32_t at = static_cast<uint32_t>(document_->nodes.size());
    switch (element.type()) {
      case Type::NULL_VALUE:
        node.kind = JsonKind::kNull;
        break;
      case Type::BOOL:
        node.kind = JsonKind::kBool, node.boolean = bool(element);
        break;
      case Type::INT64:
        node.kind = JsonKind::kInt, node.integer = int64_t(element);
        break;
      case Type::UINT64:
        node.kind = JsonKind::kUint, node.natural = uint64_t(element);
        break;
      case Type::DOUBLE:
        node.kind = JsonKind::kDouble, node.real = double(element);
        break;
      case Type::STRING:
        node.kind = JsonKind::kString;
        node.text = document_->texts.Copy(std::string_view(element));
        break;
      case Type::ARRAY:
        node.kind = JsonKind::kArray;
        break;
      case Type::OBJECT:
        node.kind = JsonKind::kObject;
        break;
    }
    document_->nodes.push_back(node);
    if (!IsUtf8(node.text))
      return Refuse(Code::kJsonSyntax, at, "a text with half of a surrogate pair"), false;
    if (node.kind != JsonKind::kArray && node.kind != JsonKind::kObject) return true;
    if (depth == depth_)
      return Refuse(Code::kJsonLimit, at, fmt::format("more than {} levels", depth_)), false;
    return FillChildren(element, at, depth + 1);
  }

  bool FillChildren(simdjson::dom::element element, uint32_t at, size_t depth) {
    std::vector<uint32_t> children;
    const auto add = [&](std::string_view name, simdjson::dom::element value) {
      Node node;
      node.parent = at;
      node.index = static_cast<uint32_t>(children.size());
      node.name = document_->texts.Copy(name);
      children.push_back(static_cast<uint32_t>(document_->nodes.size()));
      return Fill(value, node, depth);
    };
    const bool object = element.is_object();
    if (object) {
      for (const auto field : simdjson::dom::object(element))
        if (!add(field.key, field.value)) return false;
    } else {
      for (const auto value : simdjson::dom::array(element))
        if (!add({}, value)) return false;
    }
    document_->nodes[at].children = {static_cast<uint32_t>(document_->children.size()),
                                     static_cast<uint32_t>(children.size())};
    document_->children.insert(document_->children.end(), children.begin(), children.end());
    return !object || SortMembers(at, std::move(children));
  }

  bool SortMembers(uint32_t at, std::vector<uint32_t> members) {
    const auto name = [&](uint32_t node) { return document_->nodes[node].name; };
    std::stable_sort(members.begin(), members.end(),
                     [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
    document_->children.insert(document_->children.end(), members.begin(), members.end());
    for (size_t i = 0; i < members.size(); ++i) {
      if (!IsUtf8(name(members[i])))
        return Refuse(Code::kJsonSyntax, at, "a name with half of a surrogate pair"), false;
      if (i == 0 || name(members[i - 1]) != name(members[i])) continue;
      Refuse(Code::kJsonDuplicate, at, Quoted(name(members[i])) + " stands twice in one object")
          .Help("remove one of them; readers differ on which one counts");
      return false;
    }
    return true;
  }

  Finding& Refuse(Code code, uint32_t at, std::string message) {
    return diagnostics_->Add(code, std::move(message), JsonValue(document_, at).location());
  }

  std::shared_ptr<JsonValue::Document> document_;
  size_t depth_;
  Diagnostics* diagnostics_;
};

namespace {

const Node* NodeOf(const std::shared_ptr<const JsonValue::Document>& document, uint32_t node) {
  return document && node < document->nodes.size() ? &document->nodes[node] : nullptr;
}

// Line and column of byte `at`.
Location Place(const std::string& path, std::string_view text, size_t at) {
  Location where;
  where.source = std::make_shared<const Source>(path, std::string(text));
  where.path = path;
  const std::string_view before = text.substr(0, at);
  where.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const size_t line = before.rfind('\n') + 1;  // npos + 1 is 0
  where.column =
      1 + static_cast<int>(std::count_if(before.begin() + static_cast<ptrdiff_t>(line),
                                         before.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  return where;
}

// What simdjson refused: JsonScan says where.
void ReportSyntax(const std::string& path, std::string_view text, simdjson::error_code error,
                  Diagnostics* diagnostics) {
  if (error == simdjson::DEPTH_ERROR || error == simdjson::CAPACITY) {
    diagnostics->Add(Code::kJsonLimit, "the value is nested too deep",
                     {nullptr, path, 0, 0, 0, ""});
    return;
  }
  Arena arena;
  JsonScan scan(text, &arena);
  scan.Skip(1024);
  scan.End();
  if (scan.failed()) {
    diagnostics->Add(Code::kJsonSyntax, "this is not JSON: " + scan.problem(),
                     Place(path, text, scan.at()));
    return;
  }
  diagnostics->Add(Code::kJsonSyntax,
                   error == simdjson::NUMBER_ERROR
                       ? std::string("this is not JSON as ferrule reads it: a number is too large")
                       : fmt::format("this is not JSON: {}", simdjson::error_message(error)),
                   {nullptr, path, 0, 0, 0, ""});
}

}  // namespace

std::optional<JsonValue> ParseJson(const std::string& path, std::string_view text,
                                   const JsonLimits& limits, Diagnostics* diagnostics) {
  if (text.size() > limits.bytes) {
    diagnostics->Add(
        Code::kJsonLimit,
        fmt::format("the file has {} bytes; at most {} are read", text.size(), limits.bytes),
        {nullptr, path, 0, 0, 0, ""});
    return std::nullopt;
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    diagnostics
        ->Add(Code::kJsonSyntax, "the file starts with a byte-order mark", Place(path, text, 0))
        .Help("save it as UTF-8 without byte-order mark");
    return std::nullopt;
  }
  simdjson::dom::parser parser;
  simdjson::dom::element top;
  const simdjson::padded_string padded(text);
  const simdjson::error_code error = parser.parse(padded).get(top);
  if (error != simdjson::SUCCESS) {
    ReportSyntax(path, text, error, diagnostics);
    return std::nullopt;
  }
  return JsonBuilder(path, limits.depth, diagnostics).Build(top);
}

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
  const Node* const node = NodeOf(document_, node_);
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
  const Range range = document_->nodes[node_].children;
  const auto first = document_->children.begin() + range.first + range.count;
  const auto last = first + range.count;
  const auto name_of = [&](uint32_t node) { return document_->nodes[node].name; };
  const auto found = std::lower_bound(
      first, last, name, [&](uint32_t node, std::string_view n) { return name_of(node) < n; });
  if (found == last || name_of(*found) != name) return {};
  return {document_, *found};
}

std::string_view JsonValue::name() const {
  const Node* const node = NodeOf(document_, node_);
  return node ? node->name : std::string_view();
}

size_t JsonValue::index() const {
  const Node* const node = NodeOf(document_, node_);
  return node ? node->index : 0;
}

std::string JsonValue::pointer() const {
  std::vector<const Node*> chain;
  for (const Node* node = NodeOf(document_, node_); node && node->parent != UINT32_MAX;
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
    case JsonKind::kDouble:
      return fmt::format("{:#}", *AsNumber());
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
