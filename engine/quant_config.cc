// SPDX-License-Identifier: Apache-2.0
#include "engine/quant_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/model_config.h"

namespace ferrule {
namespace {

class Reader {
 public:
  Reader(const JsonValue& config, const Dialect& dialect, Diagnostics* out)
      : config_(config), dialect_(dialect), out_(out) {}

  bool Fail(Code code, std::string message, const JsonValue& at, std::string help = {}) {
    out_->Add(code, std::move(message), at.location()).Help(std::move(help));
    return false;
  }

  bool Accept() {
    bool good = true;
    for (const AcceptRule& rule : dialect_.accept) {
      const JsonValue value = config_.Find(rule.key);
      if (!value || value.is_null()) continue;
      const auto text = value.AsString();
      if (text && std::find(rule.values.begin(), rule.values.end(), *text) != rule.values.end())
        continue;
      good = Fail(Code::kBadQuantConfig,
                  fmt::format("`{}` is {}; dialect `{}` knows {}", rule.key,
                              text ? Quoted(*text) : std::string(JsonKindName(value.kind())),
                              dialect_.name, fmt::join(rule.values, ", ")),
                  value, "a value that is not understood is never treated as another one");
    }
    return good;
  }

  // The texts of a list; null and absent give none.
  bool Texts(const JsonValue& list, std::string_view key, std::vector<ListEntry>* texts) {
    if (!list || list.is_null()) return true;
    if (!list.is_array())
      return Fail(
          Code::kBadQuantConfig,
          fmt::format("`{}` must be a list of texts, not {}", key, JsonKindName(list.kind())),
          list);
    for (const JsonValue item : list) {
      const auto text = item.AsString();
      if (!text)
        return Fail(
            Code::kBadQuantConfig,
            fmt::format("an item of `{}` must be a text, not {}", key, JsonKindName(item.kind())),
            item);
      texts->push_back({std::string(*text), item.location()});
    }
    return true;
  }

  bool List(std::vector<ListEntry>* entries, std::string* key) {
    JsonValue first;
    for (const std::string& name : dialect_.list_keys) {
      const JsonValue list = config_.Find(name);
      if (!list || list.is_null()) continue;
      if (!first) {
        first = list;
        *key = name;
        if (!Texts(list, name, entries)) return false;
        continue;
      }
      std::vector<ListEntry> others;
      if (!Texts(list, name, &others)) return false;
      const auto sorted = [](const std::vector<ListEntry>& from) {
        std::vector<std::string> texts;
        texts.reserve(from.size());
        for (const ListEntry& entry : from) texts.push_back(entry.text);
        std::sort(texts.begin(), texts.end());
        return texts;
      };
      if (sorted(*entries) != sorted(others))
        return Fail(Code::kListsDisagree,
                    fmt::format("`{}` has {} entries and `{}` has {}, and they differ", *key,
                                entries->size(), name, others.size()),
                    list, "engines read different keys; keep one list");
    }
    return true;
  }

  bool Block(const SchemeRule& rule, const JsonValue& group, Scheme* scheme) {
    if (rule.block_key.empty()) return true;
    const JsonValue block = ConfigScope(group, {}).Value(rule.block_key);
    const auto side = [&](size_t i) { return block[i].AsInt().value_or(0); };
    const bool good = block.is_array() && block.size() == 2 && side(0) > 0 && side(1) > 0 &&
                      side(0) <= 65536 && side(1) <= 65536;
    if (!good)
      return Fail(
          Code::kBadQuantConfig,
          fmt::format("`{}` must be two positive integers up to 65536, [rows, columns], not {}",
                      rule.block_key, block ? Quoted(block.ToString(), 60) : "absent"),
          block ? block : group);
    scheme->block_n = side(0);
    scheme->block_k = side(1);
    return true;
  }

  // The first scheme of the dialect whose condition holds for `group`.
  bool SchemeOf(const JsonValue& group, Scheme* scheme) {
    const ConfigScope scope(group, {});
    const auto holds = [&](const Dim& dim) {
      const Answer answer = dim.alternatives[0].Evaluate(scope);
      return answer.ok() && answer.value.kind == ExprValue::Kind::kBool && answer.value.number != 0;
    };
    for (const SchemeRule& rule : dialect_.schemes) {
      if (rule.when && !holds(*rule.when)) continue;
      scheme->name = rule.scheme;
      scheme->rule = &rule;
      scheme->power_of_two = rule.power_of_two && holds(*rule.power_of_two);
      scheme->at = group.location();
      return Block(rule, group, scheme);
    }
    return Fail(Code::kUnknownScheme,
                fmt::format("dialect `{}` knows no such combination: {}", dialect_.name,
                            Quoted(group.ToString(), 300)),
                group, "an unknown scheme is never treated as BF16");
  }

  bool Schemes(std::vector<Scheme>* schemes) {
    if (dialect_.groups_key.empty()) {
      schemes->emplace_back();
      return SchemeOf(config_, &schemes->back());
    }
    const JsonValue groups = config_.Find(dialect_.groups_key);
    if (!groups.is_object() || groups.size() == 0)
      return Fail(
          Code::kBadQuantConfig,
          fmt::format("`{}` must be an object with at least one group", dialect_.groups_key),
          groups ? groups : config_);
    for (const JsonValue group : groups) {
      if (!group.is_object())
        return Fail(Code::kBadQuantConfig,
                    fmt::format("a group must be an object, not {}", JsonKindName(group.kind())),
                    group);
      schemes->emplace_back();
      std::vector<ListEntry> targets;
      if (!SchemeOf(group, &schemes->back()) ||
          !Texts(group.Find(dialect_.targets_key), dialect_.targets_key, &targets))
        return false;
      if (targets.empty())
        return Fail(Code::kBadQuantConfig,
                    fmt::format("a group without `{}` applies to nothing", dialect_.targets_key),
                    group);
      auto compiled =
          SkipList::Compile(dialect_, std::move(targets), {}, out_, SkipList::Use::kTargets);
      if (!compiled) return false;
      schemes->back().targets = std::move(*compiled);
    }
    return true;
  }

 private:
  const JsonValue& config_;
  const Dialect& dialect_;
  Diagnostics* out_;
};

std::shared_ptr<const Dialect> FindDialect(std::string_view method, const Dialects& dialects) {
  for (const auto& dialect : dialects)
    for (const std::string& claimed : dialect->quant_methods)
      if (claimed == method) return dialect;
  return nullptr;
}

}  // namespace

bool Scheme::executed() const {
  return rule == nullptr || name == "fp8_block" || name == "fp8_channel" || name == "fp8_tensor";
}

std::optional<QuantConfig> ReadQuantConfig(const JsonValue& config, const Dialects& dialects,
                                           const Renames& renames, Diagnostics* out) {
  QuantConfig quant;
  quant.schemes.emplace_back();
  if (!config || config.is_null()) return quant;
  quant.at = config.location();
  if (!config.is_object()) {
    out->Add(
        Code::kBadQuantConfig,
        fmt::format("quantization_config must be an object, not {}", JsonKindName(config.kind())),
        config.location());
    return std::nullopt;
  }
  const JsonValue method = config.Find("quant_method");
  if (!method.is_string()) {
    const JsonValue algorithm = config.Find("quant_algo");
    out->Add(Code::kUnknownMethod,
             algorithm.is_string()
                 ? fmt::format("quantization_config names no quant_method, only quant_algo {}",
                               Quoted(algorithm.Text()))
                 : std::string("quantization_config names no quant_method"),
             config.location())
        .Help("without the method nobody can say what the list means; it is not treated as BF16");
    return std::nullopt;
  }
  quant.dialect = FindDialect(method.Text(), dialects);
  if (!quant.dialect) {
    std::vector<std::string> known;
    for (const auto& dialect : dialects)
      known.insert(known.end(), dialect->quant_methods.begin(), dialect->quant_methods.end());
    std::sort(known.begin(), known.end());
    out->Add(Code::kUnknownMethod,
             fmt::format("no dialect claims the quantization method {}", Quoted(method.Text())),
             method.location())
        .Fact("known", fmt::format("{}", fmt::join(known, ", ")))
        .Help("add a file to rules/dialects; an unknown method is never treated as BF16");
    return std::nullopt;
  }
  Reader reader(config, *quant.dialect, out);
  std::vector<ListEntry> entries;
  const bool accepted = reader.Accept();
  const bool listed = reader.List(&entries, &quant.list_key);
  if (!accepted || !listed || !reader.Schemes(&quant.schemes)) return std::nullopt;
  auto list = SkipList::Compile(*quant.dialect, std::move(entries), renames, out);
  if (!list) return std::nullopt;
  quant.list = std::move(*list);
  return quant;
}

}  // namespace ferrule
