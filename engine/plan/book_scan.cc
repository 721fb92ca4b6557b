// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/book_scan.h"

#include <algorithm>

#include "engine/checkpoint/model_config.h"

namespace ferrule {
namespace {

constexpr std::string_view kMain = "quantization_config", kText = "text_config.quantization_config";

bool Is(const JsonValue& value) { return value && !value.is_null(); }

// The line `key…` at the first column and all lines below it that are indented, comments or empty;
// empty when there is no such line.
std::string_view Block(std::string_view text, std::string_view key) {
  size_t begin = 0;
  while (begin != std::string_view::npos && !text.substr(begin).starts_with(key)) {
    begin = text.find('\n', begin);
    if (begin != std::string_view::npos) ++begin;
  }
  if (begin == std::string_view::npos) return {};
  size_t end = begin;
  do {
    end = text.find('\n', end);
    if (end == std::string_view::npos) return text.substr(begin);
    ++end;
  } while (end < text.size() && std::string_view(" #\n").find(text[end]) != std::string_view::npos);
  return text.substr(begin, end - begin);
}

// Whether `word` stands in a YAML text as a value by itself.
bool HasWord(std::string_view text, std::string_view word) {
  constexpr std::string_view kAround = " \t\r\n,:[]{}'\"";
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || kAround.find(text[at - 1]) != std::string_view::npos) &&
        (end == text.size() || kAround.find(text[end]) != std::string_view::npos))
      return true;
  }
  return false;
}

// What stands between `from` and `to` in a line; false when it is not there.
bool Between(std::string_view* line, std::string_view from, std::string_view to,
             std::string_view* out) {
  if (!line->starts_with(from)) return false;
  const size_t end = line->find(to, from.size());
  if (end == std::string_view::npos) return false;
  *out = line->substr(from.size(), end - from.size());
  line->remove_prefix(end);
  return true;
}

}  // namespace

bool HasKey(std::string_view text, std::string_view key) {
  const std::string line = "\n" + std::string(key) + ":";
  return text.starts_with(std::string_view(line).substr(1)) ||
         text.find(line) != std::string_view::npos;
}

bool MayClaim(std::string_view text, std::string_view model_type) {
  size_t at = text.rfind("model_type:", 0) == 0 ? 0 : text.find("\nmodel_type:");
  if (at == std::string_view::npos) return true;
  if (at > 0) ++at;
  std::string_view value = text.substr(at, text.find('\n', at) - at).substr(11);
  value = value.substr(0, std::min(value.find(" #"), value.find("\t#")));
  const size_t begin = value.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return true;  // a list below
  if (value.find(model_type) != std::string_view::npos) return true;
  // Only what ends on its line says plainly that it is another name; an escape may hide any letter.
  if (value.find('\\') != std::string_view::npos) return true;
  value = value.substr(begin, value.find_last_not_of(" \t\r") + 1 - begin);
  switch (value[0]) {
    case '[':
      return value.back() != ']';
    case '"':
    case '\'':
      return value.size() == 1 || value.back() != value[0];
    default:
      return std::string_view("{}],&*!|>%@`").find(value[0]) != std::string_view::npos;
  }
}

DialectScan::DialectScan(const QuantSources& sources) : sources_(sources) {
  const JsonValue own =
      sources.quantization_config ? sources.quantization_config : sources.config.Find(kMain);
  if (Is(own)) found_.emplace_back(own, false);
  // The section of the text model need not be called text_config.
  for (const JsonValue section : sources.config)
    if (section.is_object())
      if (const JsonValue inner = section.Find(kMain); Is(inner)) found_.emplace_back(inner, false);
}

bool DialectScan::MayApply(std::string_view text) {
  const std::string_view claims = Block(text, "claims:");
  const bool claimed = claims.empty() || MayClaimAny(claims);
  const std::string_view places = Block(text, "places:");
  const bool elsewhere =
      places.empty() ? text.find("places") != std::string_view::npos : StandsElsewhere(places);
  elsewhere_ = elsewhere_ || elsewhere;
  return claimed || elsewhere;
}

bool DialectScan::MayClaimAny(std::string_view claims) {
  bool any = claims.find('\\') != std::string_view::npos;  // may stand for any letter
  for (auto& [value, claimed] : found_) {
    const JsonValue method = value.Find("quant_method");
    if (any || HasWord(claims, method.is_string() ? method.Text() : "unnamed"))
      any = claimed = true;
  }
  return any;
}

// Whether a description stands at one of a dialect's places that not all dialects have, or the
// places are not written as `- {file: …, key: …}`.
bool DialectScan::StandsElsewhere(std::string_view places) const {
  constexpr std::string_view kKey = "places:";
  const size_t line = std::min(places.size(), places.find('\n'));
  if (line != kKey.size()) return true;
  places.remove_prefix(line);
  while (!places.empty()) {
    places.remove_prefix(1);
    std::string_view item = places.substr(0, places.find('\n'));
    places.remove_prefix(item.size());
    item.remove_prefix(std::min(item.size(), item.find_first_not_of(' ')));
    if (item.empty() || item[0] == '#') continue;
    std::string_view file, key;
    if (!Between(&item, "- {file: ", item.find(',') < item.find('}') ? "," : "}", &file))
      return true;
    if (item[0] == ',' && !Between(&item, ", key: ", "}", &key)) return true;
    if (item != "}" || file.find_first_of("'\"") != std::string_view::npos ||
        key.find_first_of("'\"") != std::string_view::npos || ElsewhereIs(file, key))
      return true;
  }
  return false;
}

bool DialectScan::ElsewhereIs(std::string_view file, std::string_view key) const {
  if (file == "config.json") {
    if (key == kMain || key == kText) return false;
    return key.empty() || Is(ConfigScope(sources_.config, {}).Value(key));
  }
  if (file == "hf_quant_config.json") return Is(sources_.hf_quant_config);
  return file != "quant_model_description.json" || Is(sources_.quant_model_description);
}

bool DialectScan::all_claimed() const {
  return !elsewhere_ &&
         std::all_of(found_.begin(), found_.end(), [](const auto& one) { return one.second; });
}

}  // namespace ferrule
