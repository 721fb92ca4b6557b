// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/quant_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/checkpoint/model_config.h"

namespace ferrule {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kHfQuantConfig = "hf_quant_config.json";
constexpr std::string_view kMainKey = "quantization_config";
constexpr std::string_view kTextKey = "text_config.quantization_config";

bool Holds(const std::optional<Dim>& condition, const JsonValue& value) {
  if (!condition) return false;
  const Answer answer = condition->alternatives[0].Evaluate(ConfigScope(value, {}));
  return answer.ok() && answer.value.kind == ExprValue::Kind::kBool && answer.value.number != 0;
}

class Finder {
 public:
  Finder(const QuantSources& sources, const Dialects& dialects, Diagnostics* out)
      : sources_(sources), dialects_(dialects), out_(out) {}

  std::optional<std::vector<Description>> Run() {
    for (const PlaceRule& place : Places())
      if (!At(place)) return std::nullopt;
    if (found_.empty() && sources_.hf_quant_config) {
      out_->Add(Code::kUnknownMethod,
                "hf_quant_config.json describes the quantization, and no dialect claims it",
                sources_.hf_quant_config.location())
          .Help("without its dialect it is not treated as BF16");
      return std::nullopt;
    }
    for (Description& description : found_)
      description.has_hf_quant_config = bool(sources_.hf_quant_config);
    return std::move(found_);
  }

 private:
  // Every place that some dialect names: config.json before the other files, each in the order in
  // which dialects name them.
  std::vector<PlaceRule> Places() const {
    std::vector<PlaceRule> places = {{std::string(kConfig), std::string(kMainKey)},
                                     {std::string(kConfig), std::string(kTextKey)}};
    for (const auto& dialect : dialects_)
      for (const PlaceRule& place : dialect->places)
        if (std::none_of(places.begin(), places.end(), [&](const PlaceRule& other) {
              return other.file == place.file && other.key == place.key;
            }))
          places.push_back(place);
    const auto rank = [](const PlaceRule& place) {
      return place.file == kConfig ? 0 : place.file == kHfQuantConfig ? 1 : 2;
    };
    std::stable_sort(places.begin(), places.end(),
                     [&](const PlaceRule& a, const PlaceRule& b) { return rank(a) < rank(b); });
    return places;
  }

  JsonValue File(const PlaceRule& place) const {
    if (place.file == kConfig) return sources_.config;
    return place.file == kHfQuantConfig ? sources_.hf_quant_config
                                        : sources_.quant_model_description;
  }

  JsonValue Value(const PlaceRule& place) const {
    const JsonValue file = File(place);
    if (place.file == kConfig && place.key == kMainKey && sources_.quantization_config)
      return sources_.quantization_config;
    if (!file || place.key.empty()) return file;
    const JsonValue value = ConfigScope(file, {}).Value(place.key);
    // The section need not be called text_config.
    if (!value && place.key == kTextKey && place.file == kConfig)
      return sources_.section.Find(kMainKey);
    return value;
  }

  bool At(const PlaceRule& place) {
    const JsonValue value = Value(place);
    if (!value || value.is_null()) return true;
    const std::string name = place.file == kConfig
                                 ? std::string(value.name().empty() ? kMainKey : value.name())
                                 : place.file;
    if (!value.is_object()) {
      out_->Add(Code::kBadQuantConfig,
                fmt::format("{} must be an object, not {}", name, JsonKindName(value.kind())),
                value.location());
      return false;
    }
    const auto dialect = Claimed(place, value, name);
    if (!dialect) return false;
    found_.push_back({dialect, value, File(place), place});
    return true;
  }

  std::shared_ptr<const Dialect> Claimed(const PlaceRule& place, const JsonValue& value,
                                         const std::string& name) {
    const JsonValue method = value.Find("quant_method");
    std::vector<std::shared_ptr<const Dialect>> plain, special;
    for (const auto& dialect : dialects_) {
      const std::vector<PlaceRule>& at = dialect->places;
      if (std::none_of(at.begin(), at.end(), [&](const PlaceRule& other) {
            return other.file == place.file && other.key == place.key;
          }))
        continue;
      if (!method.is_string()) {
        if (Holds(dialect->claims_unnamed, value)) special.push_back(dialect);
        continue;
      }
      const std::vector<std::string>& methods = dialect->quant_methods;
      if (std::find(methods.begin(), methods.end(), method.Text()) == methods.end()) continue;
      if (!dialect->claims_when)
        plain.push_back(dialect);
      else if (Holds(dialect->claims_when, value))
        special.push_back(dialect);
    }
    if (special.size() > 1) {
      out_->Add(Code::kDialectTwice,
                fmt::format("the dialects `{}` and `{}` both claim it", special[0]->name,
                            special[1]->name),
                value.location());
      return nullptr;
    }
    if (!special.empty()) return special[0];
    if (!plain.empty()) return plain[0];
    Unclaimed(value, method, name);
    return nullptr;
  }

  void Unclaimed(const JsonValue& value, const JsonValue& method, const std::string& name) {
    if (!method.is_string()) {
      const JsonValue algorithm = value.Find("quant_algo");
      out_->Add(Code::kUnknownMethod,
                algorithm.is_string() ? fmt::format("{} names no quant_method, only quant_algo {}",
                                                    name, Quoted(algorithm.Text()))
                                      : fmt::format("{} names no quant_method", name),
                value.location())
          .Help("without the method nobody can say what the list means; it is not treated as BF16");
      return;
    }
    std::vector<std::string> known;
    for (const auto& dialect : dialects_)
      known.insert(known.end(), dialect->quant_methods.begin(), dialect->quant_methods.end());
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    out_->Add(Code::kUnknownMethod,
              fmt::format("no dialect claims the quantization method {}", Quoted(method.Text())),
              method.location())
        .Fact("known", fmt::format("{}", fmt::join(known, ", ")))
        .Help("add a file to rules/dialects; an unknown method is never treated as BF16");
  }

  const QuantSources& sources_;
  const Dialects& dialects_;
  Diagnostics* out_;
  std::vector<Description> found_;
};

std::string Plain(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

}  // namespace

std::optional<std::vector<Description>> FindDescriptions(const QuantSources& sources,
                                                         const Dialects& dialects,
                                                         Diagnostics* out) {
  return Finder(sources, dialects, out).Run();
}

std::shared_ptr<const Dialect> FindDialect(std::string_view name, const Dialects& dialects) {
  const std::string plain = Plain(name);
  for (const auto& dialect : dialects)
    if (Plain(dialect->name) == plain) return dialect;
  for (const auto& dialect : dialects)
    for (const std::string& method : dialect->quant_methods)
      if (!dialect->claims_when && Plain(method) == plain) return dialect;
  return nullptr;
}

}  // namespace ferrule
