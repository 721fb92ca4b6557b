// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/quant_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/checkpoint/model_config.h"
#include "engine/lists/quant_agree.h"

namespace ferrule {
namespace {

constexpr size_t kMaxSchemes = 100;

// One word under a name, then the description.
class WordScope : public ConfigScope {
 public:
  WordScope(std::string_view name, std::string_view word, const JsonValue& config)
      : ConfigScope(config, {}), name_(name), word_(word) {}

  Answer Lookup(std::string_view name) const override {
    return name == name_ ? Answer::Text(word_) : ConfigScope::Lookup(name);
  }
  bool Has(std::string_view name) const override { return name == name_ || ConfigScope::Has(name); }

 private:
  std::string_view name_, word_;
};

bool Holds(const Dim& dim, const Scope& scope) {
  const Answer answer = dim.alternatives[0].Evaluate(scope);
  return answer.ok() && answer.value.kind == ExprValue::Kind::kBool && answer.value.number != 0;
}

class Reader {
 public:
  Reader(const Description& description, const Renames& renames, QuantConfig* quant,
         Diagnostics* out)
      : config_(description.value),
        place_(description.place),
        dialect_(*description.dialect),
        renames_(renames),
        quant_(*quant),
        out_(out) {}

  bool Run() {
    Keys();
    const bool accepted = Accept();
    std::vector<ListEntry> entries;
    if (!List(&entries) || !accepted || !Base() || !Beside() || !Groups() || !Layers() || !Only())
      return false;
    auto list = SkipList::Compile(dialect_.list.names, std::move(entries), renames_, out_);
    if (!list) return false;
    quant_.list = std::move(*list);
    if (quant_.schemes.size() > 1) return true;
    return Fail(
        Code::kBadQuantConfig,
        fmt::format("nothing here is quantized, although dialect `{}` claims it", dialect_.name),
        config_, "a part of the description is missing");
  }

 private:
  bool Fail(Code code, std::string message, const JsonValue& at, std::string help = {}) {
    out_->Add(code, std::move(message), at.location()).Help(std::move(help));
    return false;
  }

  // A key that the dialect does not know may decide something.
  void Keys() {
    for (const JsonValue value : config_) {
      if (dialect_.Knows(value.name())) continue;
      Finding& finding = out_->Add(
          Code::kUnknownConfigKey,
          fmt::format("dialect `{}` does not know the key {}", dialect_.name, Quoted(value.name())),
          value.location());
      finding.Fact("effect", "what it says is not read");
      const std::string nearest = NearestName(value.name(), dialect_.list.keys);
      finding.Help(nearest.empty() ? "if it decides nothing, add it to `other` of the dialect file"
                                   : fmt::format("did you mean `{}`?", nearest));
    }
  }

  // Texts as they are, numbers and `true` as they are written.
  bool Accept() {
    bool good = true;
    for (const AcceptRule& rule : dialect_.accept) {
      const JsonValue value = config_.Find(rule.key);
      if (!value || value.is_null()) continue;
      const auto text = value.AsString();
      const std::string written = text                                    ? std::string(*text)
                                  : value.is_array() || value.is_object() ? ""
                                                                          : value.ToString();
      if (std::find(rule.values.begin(), rule.values.end(), written) != rule.values.end()) continue;
      good = Fail(Code::kBadQuantConfig,
                  fmt::format("`{}` is {}; dialect `{}` knows {}", rule.key,
                              text ? Quoted(*text) : std::string(JsonKindName(value.kind())),
                              dialect_.name, fmt::join(rule.values, ", ")),
                  value, "a value that is not understood is never treated as another one");
    }
    return good;
  }

  // The texts of a list; null and absent give none. With `nested`, lists in it are read as well.
  bool Texts(const JsonValue& list, std::string_view key, std::vector<ListEntry>* texts,
             bool nested = false) {
    if (!list || list.is_null()) return true;
    if (!list.is_array())
      return Fail(
          Code::kBadQuantConfig,
          fmt::format("`{}` must be a list of texts, not {}", key, JsonKindName(list.kind())), list,
          "write a list of module paths, `[]` when there is none");
    for (const JsonValue item : list) {
      if (nested && item.is_array()) {
        if (!Texts(item, key, texts)) return false;
        continue;
      }
      const auto text = item.AsString();
      if (!text)
        return Fail(
            Code::kBadQuantConfig,
            fmt::format("an item of `{}` must be a text, not {}", key, JsonKindName(item.kind())),
            item, "every item is the path of a module, in quotes");
      texts->push_back({std::string(*text), item.location()});
    }
    return true;
  }

  // The first of these keys that is present and not null.
  JsonValue First(const std::vector<std::string>& keys, std::string* key) {
    for (const std::string& name : keys) {
      const JsonValue value = config_.Find(name);
      if (value.is_null())
        out_->Add(Code::kNullList, fmt::format("`{}` is null, which is read as absent", name),
                  value.location())
            .Help("write `[]` where nothing is meant: engines differ on what null means");
      if (!value || value.is_null()) continue;
      *key = name;
      return value;
    }
    return {};
  }

  bool List(std::vector<ListEntry>* entries) {
    std::string& key = quant_.list_key;
    const JsonValue first = First(dialect_.list.keys, &key);
    if (!first) return true;
    if (!Texts(first, key, entries)) return false;
    for (const std::string& name : dialect_.list.keys) {
      const JsonValue list = config_.Find(name);
      if (name == key || !list || list.is_null()) continue;
      std::vector<ListEntry> others;
      if (!Texts(list, name, &others)) return false;
      if (!ListsAgree(*entries, key, others, name, list.location(), out_)) return false;
    }
    return true;
  }

  bool Block(const SchemeRule& rule, const JsonValue& group, Scheme* scheme) {
    if (rule.block_key.empty()) return true;
    const JsonValue block = ConfigScope(config_, group).Value(rule.block_key);
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

  // A whole number of the description; absent gives none.
  bool Number(const std::optional<Dim>& dim, std::string_view what, int64_t least,
              const Scope& scope, const JsonValue& at, int64_t* value) {
    if (!dim) return true;
    for (const Expr& expr : dim->alternatives) {
      const Answer answer = expr.Evaluate(scope);
      if (answer.outcome == Answer::Outcome::kUnanswerable) continue;
      if (answer.ok() && answer.value.kind == ExprValue::Kind::kInt &&
          answer.value.number >= least && answer.value.number <= 65536) {
        *value = answer.value.number;
        return true;
      }
      return Fail(Code::kBadQuantConfig,
                  fmt::format("the {} ({}) must be a whole number from {} to 65536", what,
                              Quoted(expr.text()), least),
                  at);
    }
    return true;
  }

  // The first scheme of the dialect whose condition holds for `group`, which is an object or, under
  // the name `word`, a text.
  bool SchemeOf(const JsonValue& group, std::string_view word, Scheme* scheme) {
    const ConfigScope object(config_, group);
    const WordScope text(word, group.Text(), config_);
    const Scope& scope = group.is_string() ? static_cast<const Scope&>(text) : object;
    for (const SchemeRule& rule : dialect_.schemes) {
      if (rule.named || (rule.when && !Holds(*rule.when, scope))) continue;
      scheme->name = rule.scheme;
      scheme->rule = &rule;
      scheme->power_of_two = rule.power_of_two && Holds(*rule.power_of_two, scope);
      scheme->at = group.location();
      return Block(rule, group, scheme) &&
             Number(rule.group, "group size", -1, scope, group, &scheme->group) &&
             Number(rule.bits, "number of bits", 1, scope, group, &scheme->bits);
    }
    return Fail(Code::kUnknownScheme,
                fmt::format("dialect `{}` knows no such combination: {}", dialect_.name,
                            Quoted(group.ToString(), 300)),
                group, "an unknown scheme is never treated as BF16");
  }

  // What nobody names: one scheme, or BF16.
  bool Base() {
    if (!dialect_.groups_key.empty() || dialect_.otherwise_bf16) return true;
    if (dialect_.otherwise_when && Holds(*dialect_.otherwise_when, ConfigScope(config_, {})))
      return true;
    JsonValue base = config_;
    if (!dialect_.base_key.empty()) {
      base = config_.Find(dialect_.base_key);
      if (!base || base.is_null()) return true;
      if (!base.is_object())
        return Fail(Code::kBadQuantConfig,
                    fmt::format("`{}` must be an object, not {}", dialect_.base_key,
                                JsonKindName(base.kind())),
                    base);
    }
    quant_.schemes.emplace_back();
    quant_.base = 1;
    return SchemeOf(base, "", &quant_.schemes.back());
  }

  // Schemes that only a rule file can ask for, beside the one of all others.
  bool Beside() {
    if (quant_.base == 0) return true;
    for (const SchemeRule& rule : dialect_.schemes) {
      if (!rule.named || (rule.when && !Holds(*rule.when, ConfigScope(config_, {})))) continue;
      Scheme scheme;
      scheme.name = rule.scheme;
      scheme.rule = &rule;
      scheme.at = config_.location();
      const ConfigScope scope(config_, {});
      if (!Block(rule, config_, &scheme) ||
          !Number(rule.group, "group size", -1, scope, config_, &scheme.group) ||
          !Number(rule.bits, "number of bits", 1, scope, config_, &scheme.bits))
        return false;
      quant_.schemes.push_back(std::move(scheme));
    }
    return true;
  }

  bool Groups() {
    if (dialect_.groups_key.empty()) return true;
    const JsonValue groups = config_.Find(dialect_.groups_key);
    if (!groups.is_object() || groups.size() == 0)
      return Fail(
          Code::kBadQuantConfig,
          fmt::format("`{}` must be an object with at least one group", dialect_.groups_key),
          groups ? groups : config_);
    if (groups.size() > kMaxSchemes)
      return Fail(Code::kTooLarge, fmt::format("more than {} groups", kMaxSchemes), groups);
    for (const JsonValue group : groups) {
      if (!group.is_object())
        return Fail(Code::kBadQuantConfig,
                    fmt::format("a group must be an object, not {}", JsonKindName(group.kind())),
                    group);
      quant_.schemes.emplace_back();
      std::vector<ListEntry> targets;
      if (!SchemeOf(group, "", &quant_.schemes.back()) ||
          !Texts(group.Find(dialect_.targets_key), dialect_.targets_key, &targets))
        return false;
      if (targets.empty())
        return Fail(Code::kBadQuantConfig,
                    fmt::format("a group without `{}` applies to nothing", dialect_.targets_key),
                    group);
      auto compiled = SkipList::Compile(dialect_.list.names, std::move(targets), {}, out_,
                                        SkipList::Use::kTargets);
      if (!compiled) return false;
      quant_.schemes.back().targets = std::move(*compiled);
    }
    return true;
  }

  bool Layers() {
    return std::all_of(dialect_.layers.begin(), dialect_.layers.end(),
                       [&](const LayersRule& rule) { return Layer(rule); });
  }

  bool Layer(const LayersRule& rule) {
    LayerTable table;
    table.rule = &rule;
    table.key = place_.file;
    const JsonValue object = rule.keys.empty() ? config_ : First(rule.keys, &table.key);
    if (!object) return true;
    if (!object.is_object())
      return Fail(Code::kBadQuantConfig,
                  fmt::format("`{}` must be an object with names, not {}", table.key,
                              JsonKindName(object.kind())),
                  object);
    std::vector<ListEntry> entries;
    for (const JsonValue value : object) {
      std::string name(value.name());
      if (!rule.only.empty() && !name.ends_with(rule.only)) continue;
      table.texts.push_back(name);
      const auto mark = [&](const std::string& text) {
        const bool marked = !text.empty() && name.rfind(text, 0) == 0;
        if (marked) name.erase(0, text.size());
        return marked;
      };
      int8_t scheme = 0;
      if (!mark(rule.skips)) {
        mark(rule.quantizes);
        if (!LayerScheme(rule, value, table.key, &scheme)) return false;
      }
      entries.push_back({std::move(name), value.location()});
      table.schemes.push_back(scheme);
    }
    auto names =
        SkipList::Compile(rule.names, std::move(entries), renames_, out_, SkipList::Use::kTargets);
    if (!names) return false;
    table.names = std::move(*names);
    quant_.layers.push_back(std::move(table));
    return true;
  }

  // Tables have thousands of names and a handful of values.
  bool LayerScheme(const LayersRule& rule, const JsonValue& value, const std::string& key,
                   int8_t* scheme) {
    if (!value.is_object() && (rule.word.empty() || !value.is_string()))
      return Fail(Code::kBadQuantConfig,
                  fmt::format("a value of `{}` must be {}, not {}", key,
                              rule.word.empty() ? "an object" : "an object or a text",
                              JsonKindName(value.kind())),
                  value);
    const std::string text = value.ToString();
    if (const auto at = known_.find(text); at != known_.end()) {
      *scheme = at->second;
      return true;
    }
    const ConfigScope object(config_, value);
    const WordScope word(rule.word, value.Text(), config_);
    const Scope& scope = value.is_string() ? static_cast<const Scope&>(word) : object;
    if (!rule.skip || !Holds(*rule.skip, scope)) {
      Scheme read;
      if (!SchemeOf(value, rule.word, &read)) return false;
      *scheme = Added(std::move(read));
      if (*scheme == 0)
        return Fail(Code::kTooLarge, fmt::format("more than {} schemes", kMaxSchemes), value);
    }
    known_.emplace(text, *scheme);
    return true;
  }

  // The index of an equal scheme, or of the new one; 0 when there are too many.
  int8_t Added(Scheme scheme) {
    for (size_t s = 1; s < quant_.schemes.size(); ++s) {
      const Scheme& other = quant_.schemes[s];
      if (!other.targets && other.rule == scheme.rule && other.block_n == scheme.block_n &&
          other.block_k == scheme.block_k && other.group == scheme.group &&
          other.bits == scheme.bits && other.power_of_two == scheme.power_of_two)
        return static_cast<int8_t>(s);
    }
    if (quant_.schemes.size() > kMaxSchemes) return 0;
    quant_.schemes.push_back(std::move(scheme));
    return static_cast<int8_t>(quant_.schemes.size() - 1);
  }

  bool Only() {
    if (!dialect_.only) return true;
    const OnlyRule& rule = *dialect_.only;
    AllowList allowed;
    const JsonValue list = First(rule.keys, &allowed.key);
    if (!list) return true;
    std::vector<ListEntry> entries;
    if (list.is_string() && !rule.split.empty()) {
      const std::string_view text = list.Text();
      for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(rule.split, at), text.size());
        entries.push_back({std::string(text.substr(at, end - at)), list.location()});
        at = end + rule.split.size();
      }
    } else if (!Texts(list, allowed.key, &entries, true)) {
      return false;
    }
    if (entries.empty()) return true;  // engines read an empty allow-list as none
    auto names =
        SkipList::Compile(rule.names, std::move(entries), renames_, out_, SkipList::Use::kTargets);
    if (!names) return false;
    allowed.names = std::move(*names);
    quant_.only = std::move(allowed);
    return true;
  }

  const JsonValue config_;
  const PlaceRule place_;
  const Dialect& dialect_;
  const Renames& renames_;
  QuantConfig& quant_;
  Diagnostics* out_;
  std::map<std::string, int8_t> known_;  // value of a layer as text → scheme
};

std::optional<QuantConfig> ReadOne(const Description& description, const Renames& renames,
                                   Diagnostics* out) {
  QuantConfig quant;
  quant.schemes.emplace_back();
  quant.at = description.value.location();
  quant.dialect = description.dialect;
  if (!Reader(description, renames, &quant, out).Run()) return std::nullopt;
  return quant;
}

}  // namespace

bool Scheme::executed() const {
  return rule == nullptr || name == "fp8_block" || name == "fp8_channel" || name == "fp8_tensor";
}

const SkipList& QuantConfig::ListIn(int8_t where) const {
  if (where >= 0) return layers[static_cast<size_t>(where)].names;
  return where == kInOnly ? only->names : list;
}

const std::string& QuantConfig::KeyOf(int8_t where) const {
  if (where >= 0) return layers[static_cast<size_t>(where)].key;
  return where == kInOnly ? only->key : list_key;
}

const std::string& QuantConfig::TextOf(int8_t where, int32_t entry) const {
  const size_t i = static_cast<size_t>(entry);
  return where >= 0 ? layers[static_cast<size_t>(where)].texts[i] : ListIn(where).entry(i).text;
}

std::optional<QuantConfig> ReadQuantConfig(const JsonValue& config, const Dialects& dialects,
                                           const Renames& renames, Diagnostics* out) {
  QuantSources sources;
  sources.quantization_config = config;
  return ReadQuantSources(sources, dialects, renames, out);
}

std::optional<QuantConfig> ReadQuantSources(const QuantSources& sources, const Dialects& dialects,
                                            const Renames& renames, Diagnostics* out) {
  const auto descriptions = FindDescriptions(sources, dialects, out);
  if (!descriptions) return std::nullopt;
  if (descriptions->empty()) {
    QuantConfig none;
    none.schemes.emplace_back();
    return none;
  }
  const Description& first = (*descriptions)[0];
  auto quant = ReadOne(first, renames, out);
  if (!quant) return std::nullopt;
  for (const ExpectRule& rule : first.dialect->expect) {
    if (rule.place.file != first.place.file || ConfigScope(first.file, {}).Has(rule.place.key))
      continue;
    out->Add(Code::kExpectedKey, fmt::format("{} has no `{}`", rule.place.file, rule.place.key),
             first.file.location())
        .Fact("effect", rule.without);
  }
  for (size_t i = 1; i < descriptions->size(); ++i) {
    const Description& other = (*descriptions)[i];
    Diagnostics quiet;  // what both have was said about the first
    const auto second = ReadOne(other, renames, &quiet);
    if (!second) {
      out->Append(quiet);
      return std::nullopt;
    }
    CompareDescriptions(first, *quant, other, *second, out);
  }
  return quant;
}

}  // namespace ferrule
