// SPDX-License-Identifier: Apache-2.0
// simdjson's DOM → our tree. simdjson tells no position and keeps duplicates: positions of mistakes
// come from a second pass with JsonScan, duplicates are found while the tree is built.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <vector>

#include "engine/text/json.h"
#include "engine/text/json_document.h"
#include "engine/text/json_scan.h"

namespace ferrule {

class JsonBuilder {
 public:
  JsonBuilder(const std::string& path, size_t depth, Diagnostics* diagnostics)
      : document_(std::make_shared<JsonValue::Document>()),
        depth_(depth),
        diagnostics_(diagnostics) {
    document_->path = path;
  }

  std::optional<JsonValue> Build(simdjson::dom::element top) {
    JsonNode node;
    if (!Fill(top, node, 0)) return std::nullopt;
    return JsonValue(document_, 0);
  }
  // Whether Build failed because a name stands twice, which it does not report.
  bool duplicate() const { return duplicate_; }

 private:
  // Adds `node` as what `element` says, its children after it.
  bool Fill(simdjson::dom::element element, JsonNode node, size_t depth) {
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
      JsonNode node;
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
      return duplicate_ = true, false;
    }
    return true;
  }

  Finding& Refuse(Code code, uint32_t at, std::string message) {
    return diagnostics_->Add(code, std::move(message), JsonValue(document_, at).location());
  }

  std::shared_ptr<JsonValue::Document> document_;
  bool duplicate_ = false;
  size_t depth_;
  Diagnostics* diagnostics_;
};

namespace {

// Line and column of byte `at`.
Location Place(const std::string& path, std::string_view text, size_t at) {
  Location where;
  where.path = path;
  const std::string_view before = text.substr(0, at);
  where.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const size_t line = before.rfind('\n') + 1;  // npos + 1 is 0
  where.column =
      1 + static_cast<int>(std::count_if(before.begin() + static_cast<ptrdiff_t>(line),
                                         before.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  // Minified files are one line of megabytes: not to be shown.
  if (std::min(text.find('\n', at), text.size()) - line <= 400)
    where.source = std::make_shared<const Source>(path, std::string(text));
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
  if (scan.mistake() == JsonScan::Mistake::kDuplicate) {
    diagnostics->Add(Code::kJsonDuplicate, scan.problem(), Place(path, text, scan.at()))
        .Mark(Place(path, text, scan.first()), "first here")
        .Help("remove one of them; readers differ on which one counts");
    return;
  }
  if (scan.failed()) {
    Finding& finding = diagnostics->Add(Code::kJsonSyntax, "this is not JSON: " + scan.problem(),
                                        Place(path, text, scan.at()));
    if (scan.problem().find("`NaN`") != std::string::npos ||
        scan.problem().find("Infinity`") != std::string::npos)
      finding.Help("Python writes it, JSON does not have it: write null, or leave the key out");
    return;
  }
  diagnostics->Add(Code::kJsonSyntax,
                   error == simdjson::NUMBER_ERROR
                       ? std::string("this is not JSON as ferrule reads it: a number is too large")
                       : fmt::format("this is not JSON: {}", simdjson::error_message(error)),
                   {nullptr, path, 0, 0, 0, ""});
}

// Infinity and -Infinity outside of texts → null and spaces. Empty when there are none.
std::string WithoutInfinity(std::string_view text) {
  std::string out;
  size_t done = 0;
  bool inside = false;  // of a text
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (inside && c == '\\') {
      ++at;
    } else if (c == '"') {
      inside = !inside;
    } else if (!inside && (c == 'I' || c == '-')) {
      for (const std::string_view word : {"Infinity", "-Infinity"}) {
        if (text.substr(at, word.size()) != word) continue;
        // As long as before, so that places stay right.
        out.append(text.substr(done, at - done)).append("null").append(word.size() - 4, ' ');
        done = at + word.size();
        at = done - 1;
        break;
      }
    }
  }
  if (done > 0) out.append(text.substr(done));
  return out;
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
  const std::string changed = limits.infinity_is_null ? WithoutInfinity(text) : std::string();
  if (!changed.empty()) text = changed;
  const simdjson::padded_string padded(text);
  const simdjson::error_code error = parser.parse(padded).get(top);
  if (error != simdjson::SUCCESS) {
    ReportSyntax(path, text, error, diagnostics);
    return std::nullopt;
  }
  JsonBuilder builder(path, limits.depth, diagnostics);
  const auto value = builder.Build(top);
  if (builder.duplicate()) ReportSyntax(path, text, simdjson::SUCCESS, diagnostics);
  return value;
}

}  // namespace ferrule
