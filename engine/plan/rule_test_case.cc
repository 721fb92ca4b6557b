// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/rule_test_case.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/rules/partition.h"

namespace ferrule {
namespace {

// `over` laid over `base`: keys are replaced, mappings within mappings merged.
YamlNode Merge(YamlNode base, const YamlNode& over) {
  for (const YamlEntry& entry : over.entries) {
    const auto at = std::find_if(base.entries.begin(), base.entries.end(),
                                 [&](const YamlEntry& own) { return own.key == entry.key; });
    if (at == base.entries.end())
      base.entries.push_back(entry);
    else if (at->value.is_map() && entry.value.is_map())
      at->value = Merge(std::move(at->value), entry.value);
    else
      at->value = entry.value;
  }
  return base;
}

YamlNode Text(std::string text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = std::move(text);
  return node;
}

class CaseReader {
 public:
  CaseReader(const Book& book, const RuleFile& file, Diagnostics* out)
      : book_(book), file_(file), reader_(file.yaml, out), out_(out) {}

  bool Run(const YamlNode& node, RuleTest* test) {
    test->place = node.place;
    if (!reader_.IsMap(node, "a test")) return false;
    bool good = reader_.KnownKeys(
        node, "a test",
        {"it", "skip", "tp", "config", "model_type", "quantization_config", "expect", "dead"});
    const YamlNode* it = reader_.Require(node, "a test", "it");
    good = it != nullptr && reader_.AsText(*it, "`it`", &test->it) && good;
    if (node.Find("expect") == nullptr && node.Find("dead") == nullptr)
      good = Fail(Code::kMissingKey, "a test without `expect` checks nothing", node.place);
    good = Tp(node, test) && good;
    good = Config(node, test) && good;
    good = Quantization(node, test) && good;
    good = Expect(node, test) && good;
    return Dead(node, test) && good;
  }

 private:
  bool Fail(Code code, std::string message, const YamlPlace& place, std::string help = {}) {
    out_->Add(code, std::move(message), reader_.At(place)).Help(std::move(help));
    return false;
  }

  bool Tp(const YamlNode& node, RuleTest* test) {
    const YamlNode* tp = node.Find("tp");
    int64_t number = 1;
    if (tp == nullptr) return true;
    if (!reader_.AsInt(*tp, "`tp`", &number)) return false;
    if (number < 1 || number > kMaxTp)
      return Fail(Code::kBadValue,
                  fmt::format("`tp` must be between 1 and {}, not {}", kMaxTp, number), tp->place);
    test->tp = static_cast<int>(number);
    return true;
  }

  std::optional<JsonValue> Json(const YamlNode& from, const YamlPlace& place) {
    return ParseJson(fmt::format("{}:{}", file_.path, place.line), YamlToJson(from), {}, out_);
  }

  bool Config(const YamlNode& node, RuleTest* test) {
    YamlNode merged = *file_.yaml.root.Find("example");
    bool good = true;
    if (const YamlNode* config = node.Find("config")) {
      good = reader_.IsMap(*config, "`config`");
      if (good) merged = Merge(std::move(merged), *config);
    }
    std::string type = file_.model_types[0];
    if (const YamlNode* own = node.Find("model_type")) {
      const std::vector<std::string>& known = file_.model_types;
      if (!reader_.AsText(*own, "`model_type`", &type)) return false;
      if (std::find(known.begin(), known.end(), type) == known.end()) {
        const std::string nearest = NearestName(type, known);
        return Fail(Code::kBadValue,
                    fmt::format("the file does not describe the model_type {}; it describes {}",
                                Quoted(type), fmt::join(known, ", ")),
                    own->place, nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
      }
    }
    YamlNode model_type;
    model_type.entries.push_back({"model_type", {}, Text(type)});
    auto json = Json(Merge(std::move(merged), model_type), node.place);
    if (!json) return false;
    test->config = std::move(*json);
    return good;
  }

  bool Skip(const YamlNode& node, YamlNode* list) {
    list->kind = YamlNode::Kind::kList;
    const YamlNode* skip = node.Find("skip");
    if (skip == nullptr) return true;
    if (!reader_.IsList(*skip, "`skip`")) return false;
    std::vector<std::string> texts;
    if (!reader_.AsTexts(*skip, "`skip`", &texts)) return false;
    for (std::string& text : texts) list->items.push_back(Text(std::move(text)));
    return true;
  }

  bool Quantization(const YamlNode& node, RuleTest* test) {
    YamlNode list;
    if (!Skip(node, &list)) return false;
    const YamlNode* own = node.Find("quantization_config");
    YamlNode quant;
    if (own == nullptr) {
      quant.kind = YamlNode::Kind::kMap;
      YamlNode block, side = Text("128");
      block.kind = YamlNode::Kind::kList;
      side.plain = true;
      block.items = {side, side};
      quant.entries = {{"quant_method", {}, Text("fp8")},
                       {"activation_scheme", {}, Text("dynamic")},
                       {"weight_block_size", {}, std::move(block)}};
    } else if (own->kind == YamlNode::Kind::kNull) {
      if (node.Find("skip") == nullptr) return true;
      return Fail(Code::kConflictingKeys, "`skip` without a quantization_config skips nothing",
                  own->place);
    } else if (!reader_.IsMap(*own, "`quantization_config`")) {
      return false;
    } else {
      quant = *own;
    }
    if (own == nullptr || node.Find("skip") != nullptr) {
      const YamlNode* method = quant.Find("quant_method");
      std::vector<std::string> keys{"modules_to_not_convert"};
      if (const auto dialect = FindDialect(method != nullptr ? method->text : "", book_.dialects);
          dialect && !dialect->list.keys.empty())
        keys = dialect->list.keys;
      for (const std::string& key : keys)
        if (quant.Find(key) != nullptr)
          return Fail(Code::kConflictingKeys,
                      fmt::format("`skip` and `quantization_config.{}` are the same list", key),
                      node.Find("skip")->place, "keep one of them");
      quant.entries.push_back({keys[0], {}, std::move(list)});
    }
    auto json = Json(quant, own == nullptr ? node.place : own->place);
    if (!json) return false;
    test->quantization_config = std::move(*json);
    return true;
  }

  bool SizeList(const YamlNode& node, std::string_view what, Sizes* sizes) {
    if (!reader_.IsList(node, what)) return false;
    bool good = true;
    for (const YamlNode& item : node.items) {
      sizes->push_back(0);
      good = reader_.AsInt(item, fmt::format("an item of {}", what), &sizes->back()) && good;
    }
    return good;
  }

  // A code by its slug; `level` says which may stand there.
  bool Slug(const YamlNode& node, std::string_view key, bool error, std::optional<Code>* code) {
    std::string text;
    if (!reader_.AsText(node, fmt::format("`{}`", key), &text)) return false;
    std::vector<std::string> known;
    for (const CodeInfo& info : AllCodes()) {
      if ((info.level == Level::kError) != error) continue;
      known.emplace_back(info.slug);
      if (text == info.slug) {
        *code = info.code;
        return true;
      }
    }
    const std::string nearest = NearestName(text, known);
    std::string help = nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest);
    for (const CodeInfo& info : AllCodes())
      if (text == info.slug)
        help = fmt::format("{} is {}: write `{}: {}`", info.slug, error ? "no error" : "an error",
                           error ? "note" : "error", text);
    return Fail(Code::kBadValue,
                fmt::format("`{}` is {}, which is no slug of {}", key, Quoted(text),
                            error ? "an error" : "a note or warning"),
                node.place, std::move(help));
  }

  bool Module(const YamlEntry& entry, const RuleTest& test, ExpectedModule* module) {
    const std::string what = fmt::format("the expectation for {}", Quoted(entry.key));
    const YamlNode& node = entry.value;
    if (!reader_.IsMap(node, what)) return false;
    bool good = reader_.KnownKeys(
        node, what, {"scheme", "kind", "shape", "per_rank", "parts", "error", "note", "absent"});
    if (good && node.entries.empty())
      return Fail(Code::kBadValue, fmt::format("{} is empty", what), node.place);
    if (const YamlNode* scheme = node.Find("scheme"))
      good = reader_.AsText(*scheme, "`scheme`", &module->scheme.emplace()) && good;
    if (const YamlNode* kind = node.Find("kind")) {
      static constexpr std::string_view kKinds[] = {"rows", "unified", "fused", "weight", "param"};
      size_t word = 0;
      if (reader_.AsWord(*kind, "`kind`", kKinds, &word))
        module->kind = kKinds[word];
      else
        good = false;
    }
    if (const YamlNode* shape = node.Find("shape"))
      good = SizeList(*shape, "`shape`", &module->shape.emplace()) && good;
    if (const YamlNode* ranks = node.Find("per_rank")) good = PerRank(*ranks, test, module) && good;
    if (const YamlNode* parts = node.Find("parts"))
      good = reader_.IsList(*parts, "`parts`") &&
             reader_.AsTexts(*parts, "`parts`", &module->parts.emplace()) && good;
    if (const YamlNode* error = node.Find("error"))
      good = Slug(*error, "error", true, &module->error) && good;
    if (const YamlNode* note = node.Find("note"))
      good = Slug(*note, "note", false, &module->note) && good;
    if (const YamlNode* absent = node.Find("absent")) {
      good = reader_.AsBool(*absent, "`absent`", &module->absent) && good;
      if (good && !module->absent)
        good = Fail(Code::kBadValue, "`absent` is true or left out", absent->place);
      if (node.entries.size() > 1)
        good = Fail(Code::kConflictingKeys,
                    fmt::format("{} is `absent` and has a {}", what,
                                node.entries[node.entries[0].key == "absent" ? 1 : 0].key),
                    node.KeyPlace("absent"));
    }
    return good;
  }

  bool PerRank(const YamlNode& node, const RuleTest& test, ExpectedModule* module) {
    if (!reader_.IsList(node, "`per_rank`")) return false;
    if (node.items.empty() || !node.items[0].is_list())
      return SizeList(node, "`per_rank`", &module->per_rank.emplace_back());
    bool good = true;
    for (const YamlNode& item : node.items)
      good = SizeList(item, "a rank of `per_rank`", &module->per_rank.emplace_back()) && good;
    if (good && module->per_rank.size() != static_cast<size_t>(test.tp))
      return Fail(
          Code::kBadValue,
          fmt::format("`per_rank` lists {} ranks, and `tp` is {}", node.items.size(), test.tp),
          node.place);
    return good;
  }

  bool Expect(const YamlNode& node, RuleTest* test) {
    const YamlNode* expect = node.Find("expect");
    if (expect == nullptr) return true;
    if (!reader_.IsMap(*expect, "`expect`")) return false;
    bool good = true;
    for (const YamlEntry& entry : expect->entries) {
      ExpectedModule module;
      module.path = entry.key;
      module.place = entry.key_place;
      good = Module(entry, *test, &module) && good;
      test->expect.push_back(std::move(module));
    }
    return good;
  }

  bool Dead(const YamlNode& node, RuleTest* test) {
    const YamlNode* dead = node.Find("dead");
    if (dead == nullptr) return true;
    if (!reader_.IsMap(*dead, "`dead`")) return false;
    bool good = true;
    for (const YamlEntry& entry : dead->entries) {
      ExpectedDead expected{entry.key, ""};
      if (entry.value.kind != YamlNode::Kind::kNull)
        good =
            reader_.AsText(entry.value, fmt::format("`dead.{}`", entry.key), &expected.nearest) &&
            good;
      test->dead.push_back(std::move(expected));
    }
    return good;
  }

  const Book& book_;
  const RuleFile& file_;
  YamlReader reader_;
  Diagnostics* out_;
};

}  // namespace

bool ParseRuleTest(const Book& book, const RuleFile& file, const YamlNode& node, RuleTest* test,
                   Diagnostics* out) {
  return CaseReader(book, file, out).Run(node, test);
}

}  // namespace ferrule
