// SPDX-License-Identifier: Apache-2.0
// A JSON object → a Question, and its answer.
#include <fmt/format.h>

#include <algorithm>

#include "engine/plan/ask.h"

namespace ferrule {
namespace {

class Row {
 public:
  Row(const JsonValue& row, Diagnostics* out) : row_(row), out_(out) {}

  bool Text(const char* key, std::string* to) const {
    const JsonValue value = row_.Find(key);
    if (!value || value.is_null()) return true;
    if (!value.is_string()) return Wrong(key, "a text", value);
    *to = value.Text();
    return true;
  }

  bool Texts(const char* key, const JsonValue& value, std::vector<std::string>* to) const {
    if (!value || value.is_null()) return true;
    if (!value.is_array()) return Wrong(key, "a list of texts", value);
    for (const JsonValue item : value) {
      if (!item.is_string()) return Wrong(key, "a list of texts", item);
      to->emplace_back(item.Text());
    }
    return true;
  }
  bool Texts(const char* key, std::vector<std::string>* to) const {
    return Texts(key, row_.Find(key), to);
  }

  // visit(name, value) for each member of an object.
  template <typename Visit>
  bool Members(const char* key, const Visit& visit) const {
    const JsonValue value = row_.Find(key);
    if (!value || value.is_null()) return true;
    if (!value.is_object()) return Wrong(key, "an object", value);
    for (const JsonValue member : value)
      if (!visit(std::string(member.name()), member)) return false;
    return true;
  }

  bool Count(const char* key, int64_t least, int64_t* to) const {
    const JsonValue value = row_.Find(key);
    if (!value || value.is_null()) return true;
    const auto number = value.AsInt();
    if (!number || *number < least) return Wrong(key, "a positive whole number", value);
    *to = *number;
    return true;
  }

  bool Wrong(const char* key, std::string_view what, const JsonValue& at) const {
    out_->Add(Code::kJsonType,
              fmt::format("`{}` must be {}, not {}", key, what, JsonKindName(at.kind())),
              at.location());
    return false;
  }

 private:
  const JsonValue& row_;
  Diagnostics* out_;
};

// Rows write `modelopt-mixed` where config.json has `modelopt_mixed`.
bool SameMethod(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return x == y || ((x == '-' || x == '_') && (y == '-' || y == '_'));
  });
}

bool Claims(const Dialect& dialect, std::string_view method) {
  return dialect.name == method || method == "any" ||
         std::any_of(dialect.quant_methods.begin(), dialect.quant_methods.end(),
                     [&](const std::string& claimed) { return SameMethod(claimed, method); });
}

}  // namespace

std::optional<Question> ReadQuestion(const JsonValue& row, Diagnostics* out) {
  const Row read(row, out);
  if (!row.Find("module").is_string()) {
    out->Add(Code::kJsonType, "a question needs `module`, the path of a linear", row.location())
        .Help(row.Find("fn") ? "rows with `fn` ask an engine: name it with --as"
                             : "a line is {\"module\": …, \"quant_method\": …, \"ignore\": […]}");
    return std::nullopt;
  }
  Question q;
  const bool good = read.Text("module", &q.module) && read.Texts("ignore", &q.list) &&
                    read.Texts("include", &q.include) &&
                    read.Members("quantized_layers",
                                 [&](std::string name, const JsonValue&) {
                                   q.layers.push_back(std::move(name));
                                   return true;
                                 }) &&
                    read.Text("wrapper_suffix", &q.wrapper_suffix) &&
                    read.Texts("disk", &q.stored) && read.Texts("absent_on_disk", &q.absent) &&
                    read.Count("tp", 1, &q.tp) && read.Count("size", 1, &q.size) &&
                    read.Members("fused",
                                 [&](std::string name, const JsonValue& parts) {
                                   q.fused.push_back({std::move(name), {}});
                                   return read.Texts("fused", parts, &q.fused.back().parts);
                                 }) &&
                    read.Members("renames",
                                 [&](std::string from, const JsonValue& to) {
                                   if (!to.is_string()) return read.Wrong("renames", "texts", to);
                                   q.renames.emplace_back(std::move(from), to.Text());
                                   return true;
                                 }) &&
                    read.Members("disk_dtype", [&](std::string name, const JsonValue& value) {
                      const std::optional<DType> dtype = DTypeFromName(value.Text());
                      if (!dtype)
                        return read.Wrong("disk_dtype", "names of safetensors dtypes", value);
                      q.dtypes.emplace_back(std::move(name), *dtype);
                      return true;
                    });
  if (!good) return std::nullopt;
  return q;
}

std::optional<AskAnswer> AskRow(const Dialects& dialects, const JsonValue& row, Diagnostics* out) {
  const auto question = ReadQuestion(row, out);
  if (!question) return std::nullopt;
  if (!row.Find("quant_method").is_string()) {
    out->Add(Code::kJsonType, "a question needs `quant_method`, by which its list is read",
             row.location())
        .Help("as config.json has it, `fp8` say, or `any` where it does not matter");
    return std::nullopt;
  }
  const std::string_view method = row.Find("quant_method").Text();
  const auto dialect = std::find_if(dialects.begin(), dialects.end(),
                                    [&](const auto& known) { return Claims(*known, method); });
  if (dialect == dialects.end()) {
    out->Add(Code::kUnknownMethod, fmt::format("no dialect claims {}", Quoted(method)),
             row.location());
    return std::nullopt;
  }
  return Ask(**dialect, *question);
}

}  // namespace ferrule
