// SPDX-License-Identifier: Apache-2.0
#include "engine/rules/rule_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace ferrule {
namespace {

constexpr size_t kMaxWord = 128;
constexpr size_t kMaxSegments = 32;
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxParts = 64;  // slices of a tensor, parts of a fused module
constexpr std::string_view kKinds[] = {"rows", "unified", "fused", "weight", "param"};

bool IsWord(std::string_view text) {
  return !text.empty() && text.size() <= kMaxWord &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
         });
}

bool ParseWhen(const YamlReader& reader, const YamlNode& node, std::string_view what, When* when) {
  std::string text;
  if (!node.is_scalar()) return reader.WrongType(node, what, "the name of a condition");
  if (!reader.AsText(node, what, &text)) return false;
  when->place = node.place;
  when->negated = text.rfind("not ", 0) == 0;
  when->condition = when->negated ? text.substr(4) : text;
  if (IsWord(when->condition)) return true;
  reader.out()
      ->Add(Code::kWrongType,
            fmt::format("{} must be the name of a condition, or `not` and a name, not {}", what,
                        Quoted(text)),
            reader.At(node))
      .Help("define it once under `conditions:` and name it here");
  return false;
}

bool ParseOptionalWhen(const YamlReader& reader, const YamlNode& map, std::optional<When>* when) {
  const YamlNode* node = map.Find("when");
  if (node == nullptr) return true;
  when->emplace();
  return ParseWhen(reader, *node, "`when`", &**when);
}

bool ParseFlag(const YamlReader& reader, const YamlNode& map, std::string_view key, bool* flag) {
  const YamlNode* node = map.Find(key);
  return node == nullptr || reader.AsBool(*node, fmt::format("`{}`", key), flag);
}

bool ParseOptionalDim(const YamlReader& reader, const YamlNode& map, std::string_view key,
                      std::optional<Dim>* dim) {
  const YamlNode* node = map.Find(key);
  if (node == nullptr) return true;
  dim->emplace();
  return ParseDim(reader, *node, fmt::format("`{}`", key), &**dim);
}

// `key:` with one of the given words; its position in `words` in `value`.
bool ParseWord(const YamlReader& reader, const YamlNode& node, std::string_view key,
               std::initializer_list<std::string_view> words, size_t* value) {
  return reader.AsWord(node, fmt::format("`{}`", key), {words.begin(), words.size()}, value);
}

bool ParseQuantize(const YamlReader& reader, const YamlNode& map, RuleNode* out) {
  const YamlNode* node = map.Find("quantize");
  if (node == nullptr) return true;
  if (node->is_map()) {
    bool good = reader.KnownKeys(*node, "`quantize`", {"as", "when"});
    const YamlNode* as = reader.Require(*node, "`quantize`", "as");
    good = as != nullptr && reader.AsText(*as, "`quantize.as`", &out->quantize_as) && good;
    return ParseOptionalWhen(reader, *node, &out->quantize_when) && good;
  }
  size_t word = 0;
  if (!ParseWord(reader, *node, "quantize", {"never", "named"}, &word)) return false;
  out->quantize = word == 0 ? Quantize::kNever : Quantize::kNamed;
  return true;
}

bool ParseNamedTexts(const YamlReader& reader, const YamlNode& map, std::string_view key,
                     std::vector<NamedText>* out) {
  const YamlNode* node = map.Find(key);
  if (node == nullptr) return true;
  if (!reader.IsMap(*node, fmt::format("`{}`", key))) return false;
  bool good = true;
  for (const YamlEntry& entry : node->entries) {
    NamedText text{entry.key, "", entry.key_place};
    good = reader.AsText(entry.value, fmt::format("`{}.{}`", key, entry.key), &text.text) && good;
    out->push_back(std::move(text));
  }
  return good;
}

// Second names of a root: paths without placeholders.
bool ParseRenames(const YamlReader& reader, const YamlNode& map, std::vector<NamedText>* out) {
  if (!ParseNamedTexts(reader, map, "renames", out)) return false;
  bool good = true;
  for (size_t i = 0; i < out->size(); ++i) {
    const YamlPlace& place = map.Find("renames")->entries[i].value.place;
    std::vector<Segment> segments;
    good = ParsePath(reader, place, (*out)[i].text, &segments) && good;
    if (std::none_of(segments.begin(), segments.end(),
                     [](const Segment& s) { return s.placeholder; }))
      continue;
    reader.out()->Add(Code::kBadValue, "a renamed root has no placeholder", reader.At(place));
    good = false;
  }
  return good;
}

bool ParseSlices(const YamlReader& reader, const YamlNode& node, RuleNode* out) {
  if (!reader.IsMap(node, "`unified`")) return false;
  bool good = true;
  for (const YamlEntry& entry : node.entries) {
    SliceRule slice;
    slice.name = entry.key;
    slice.place = entry.key_place;
    const std::string what = fmt::format("the slice {}", Quoted(entry.key));
    good = ParseWordKey(reader, entry, "the slice") && good;
    if (entry.value.is_map()) {
      good = reader.KnownKeys(entry.value, what, {"rows", "per", "replicate"}) && good;
      const YamlNode* rows = reader.Require(entry.value, what, "rows");
      good = rows != nullptr && ParseDim(reader, *rows, what, &slice.rows) && good;
      good = ParseOptionalDim(reader, entry.value, "per", &slice.per) && good;
      good = ParseFlag(reader, entry.value, "replicate", &slice.replicate) && good;
      if (slice.replicate && !slice.per) {
        reader.out()->Add(Code::kConflictingKeys,
                          "`replicate` needs `per`: it says that head groups are shared",
                          reader.At(entry.value.KeyPlace("replicate")));
        good = false;
      }
    } else {
      good = ParseDim(reader, entry.value, what, &slice.rows) && good;
    }
    out->slices.push_back(std::move(slice));
  }
  if (out->slices.size() < 2) {
    reader.out()
        ->Add(Code::kBadValue, "`unified` needs at least two slices", reader.At(node))
        .Help("a tensor with one projection is `rows`");
    good = false;
  }
  if (out->slices.size() > kMaxParts) {
    reader.out()->Add(Code::kBadValue, fmt::format("`unified` has at most {} slices", kMaxParts),
                      reader.At(node));
    good = false;
  }
  return good;
}

bool ParseLinear(const YamlReader& reader, const YamlNode& map, std::string_view what,
                 RuleNode* out) {
  bool good = reader.KnownKeys(
      map, what,
      {"rows", "unified", "per", "replicate", "in", "split", "bias", "suffix", "stack", "optional",
       "transposed", "groups", "scales", "quantize", "same", "when", "differs"});
  good = ParseOptionalDim(reader, map, "rows", &out->rows) && good;
  if (const YamlNode* node = map.Find("unified")) good = ParseSlices(reader, *node, out) && good;
  good = ParseOptionalDim(reader, map, "per", &out->per) && good;
  good = ParseOptionalDim(reader, map, "in", &out->in) && good;
  good = ParseOptionalDim(reader, map, "stack", &out->stack) && good;
  good = ParseOptionalDim(reader, map, "groups", &out->groups) && good;
  good = ParseFlag(reader, map, "replicate", &out->replicate) && good;
  good = ParseFlag(reader, map, "optional", &out->optional) && good;
  if (const YamlNode* node = map.Find("transposed")) {
    out->transposed = true;
    out->transposed_either = node->is_scalar() && node->plain && node->text == "either";
    if (!out->transposed_either)
      good = ParseFlag(reader, map, "transposed", &out->transposed) && good;
  }
  good = reader.Require(map, what, "in") != nullptr && good;
  const YamlNode* split = reader.Require(map, what, "split");
  size_t word = 0;
  if (split == nullptr || !ParseWord(reader, *split, "split", {"none", "column", "row"}, &word))
    good = false;
  else
    out->split = static_cast<Split>(word);
  if (const YamlNode* node = map.Find("suffix")) {
    good = ParseWord(reader, *node, "suffix", {"none"}, &word) && good;
    out->suffix = false;
  }
  if (const YamlNode* node = map.Find("scales")) {
    good = ParseWord(reader, *node, "scales", {"per_group"}, &word) && good;
    out->scales_per_group = true;
  }
  if (const YamlNode* node = map.Find("bias")) {
    if (node->is_scalar() && node->plain && (node->text == "true" || node->text == "false")) {
      out->bias = node->text == "true";
    } else {
      out->bias = true;
      out->bias_when.emplace();
      good = ParseWhen(reader, *node, "`bias`", &*out->bias_when) && good;
    }
  }
  if (const YamlNode* node = map.Find("same")) {
    if (!reader.IsMap(*node, "`same`")) return false;
    good = reader.KnownKeys(*node, "`same`", {"when", "as"}) && good;
    good = ParseOptionalWhen(reader, *node, &out->same_when) && good;
    const YamlNode* as = reader.Require(*node, "`same`", "as");
    good = as != nullptr && reader.AsText(*as, "`same.as`", &out->same_as) && good;
    if (as != nullptr) out->same_place = as->place;
  }
  const auto conflict = [&](bool wrong, std::string_view key, std::string message) {
    if (!wrong) return;
    reader.out()->Add(Code::kConflictingKeys, std::move(message), reader.At(map.KeyPlace(key)));
    good = false;
  };
  const bool slice_per = std::any_of(out->slices.begin(), out->slices.end(),
                                     [](const SliceRule& slice) { return slice.per.has_value(); });
  conflict(out->per && slice_per, "per",
           "`per` stands on the linear and on a slice; groups repeat either as a whole or slice by "
           "slice");
  conflict(out->replicate && !out->per, "replicate",
           "`replicate` needs `per`: it says that head groups are shared");
  conflict(out->transposed && !out->stack, "transposed",
           "`transposed` needs `stack`: only stacked experts are stored with rows and columns "
           "exchanged");
  conflict(out->scales_per_group && !out->groups, "scales", "`scales: per_group` needs `groups`");
  conflict(out->groups && out->per, "per", "`groups` and `per` exclude each other");
  return good;
}

bool ParseFused(const YamlReader& reader, const YamlNode& map, std::string_view what,
                RuleNode* out) {
  bool good = reader.KnownKeys(map, what, {"fused", "mixed", "when", "differs"});
  const YamlNode& list = *map.Find("fused");
  if (!reader.IsList(list, "`fused`")) return false;
  if (list.items.size() > kMaxParts) {
    reader.out()->Add(Code::kBadFused, fmt::format("`fused` has at most {} parts", kMaxParts),
                      reader.At(list));
    return false;
  }
  for (const YamlNode& item : list.items) {
    NamedText part{"", "", item.place};
    good = reader.AsText(item, "a part of `fused`", &part.name) && good;
    for (const NamedText& other : out->parts)
      if (other.name == part.name) {
        reader.out()->Add(Code::kBadFused,
                          fmt::format("the part {} stands twice", Quoted(part.name)),
                          reader.At(item));
        good = false;
      }
    out->parts.push_back(std::move(part));
  }
  if (out->parts.size() < 2) {
    reader.out()
        ->Add(Code::kBadFused,
              fmt::format("`fused` needs at least two parts, not {}", out->parts.size()),
              reader.At(list))
        .Help("a name that the checkpoint stores itself is `rows` or `unified`");
    good = false;
  }
  if (const YamlNode* node = map.Find("mixed")) {
    size_t word = 0;
    good = ParseWord(reader, *node, "mixed", {"apart"}, &word) && good;
    out->mixed_apart = true;
  }
  return good;
}

bool ParseStored(const YamlReader& reader, const YamlNode& map, std::string_view key,
                 std::string_view what, RuleNode* out) {
  bool good = key == "weight"
                  ? reader.KnownKeys(map, what, {"weight", "bias", "optional", "when", "differs"})
                  : reader.KnownKeys(map, what, {"param", "optional", "when", "differs"});
  good = ParseFlag(reader, map, "optional", &out->optional) && good;
  good = ParseFlag(reader, map, "bias", &out->bias) && good;
  const YamlNode& list = *map.Find(key);
  if (!reader.IsList(list, fmt::format("`{}`", key))) return false;
  if (list.items.size() > kMaxRank) {
    reader.out()->Add(Code::kBadValue, fmt::format("`{}` has at most {} dimensions", key, kMaxRank),
                      reader.At(list));
    return false;
  }
  for (const YamlNode& item : list.items) {
    out->dims.emplace_back();
    good =
        ParseDim(reader, item, fmt::format("a dimension of `{}`", key), &out->dims.back()) && good;
  }
  return good;
}

// `draft: true`; a module may have that name too.
bool IsDraftFlag(const YamlEntry& entry) { return entry.key == "draft" && !entry.value.is_map(); }

// A key that linears alone have; a module may have that name too.
bool IsOfLinears(const YamlEntry& entry) {
  constexpr std::string_view kKeys[] = {"in",     "split",  "per",       "replicate",
                                        "bias",   "suffix", "stack",     "groups",
                                        "scales", "same",   "transposed"};
  return !entry.value.is_map() &&
         std::find(std::begin(kKeys), std::end(kKeys), entry.key) != std::end(kKeys);
}

// The word that says what a linear is, where `key` is that word spelt wrong: `row`, `unifed`.
std::string MeantWord(const YamlEntry& entry) {
  return IsOfLinears(entry) ? "" : NearestName(entry.key, {"rows", "unified", "fused"});
}

bool ParseTree(const YamlReader& reader, const YamlNode& map, std::string_view what,
               RuleNode* out) {
  bool good = true;
  good = ParseRenames(reader, map, &out->renames) && good;
  good = ParseFlag(reader, map, "optional", &out->optional) && good;
  if (const YamlNode* draft = map.Find("draft"); draft != nullptr && !draft->is_map())
    good = reader.AsBool(*draft, "`draft`", &out->draft) && good;
  if (const YamlNode* node = map.Find("use")) {
    out->kind = NodeKind::kUse;
    out->use_place = node->place;
    good = reader.KnownKeys(
               map, what,
               {"use", "with", "when", "optional", "draft", "quantize", "differs", "renames"}) &&
           reader.AsText(*node, "`use`", &out->use) && good;
    if (const YamlNode* with = map.Find("with")) {
      good = reader.IsMap(*with, "`with`") && good;
      for (const YamlEntry& entry : with->entries) {
        Dim dim;
        good = ParseDim(reader, entry.value, fmt::format("`with.{}`", entry.key), &dim) && good;
        out->with.emplace_back(entry.key, std::move(dim));
      }
    }
    return good;
  }
  // A linear of which only the word that makes it one is wrong: one mistake, not one for each key.
  const bool linear = std::any_of(map.entries.begin(), map.entries.end(), IsOfLinears);
  bool said = linear && std::any_of(map.entries.begin(), map.entries.end(),
                                    [](const YamlEntry& e) { return !MeantWord(e).empty(); });
  bool empty = true;
  for (const YamlEntry& entry : map.entries) {
    if (entry.key == "when" || entry.key == "optional" || entry.key == "quantize" ||
        entry.key == "differs" || entry.key == "renames" || IsDraftFlag(entry))
      continue;
    empty = false;
    if (entry.key == "either") {
      if (!reader.IsList(entry.value, "`either`")) return false;
      for (const YamlNode& item : entry.value.items) {
        RuleNode way;
        good = ParseRuleNode(reader, item, "an alternative of `either`", &way) && good;
        way.place = item.place;
        out->either.push_back(std::move(way));
      }
      if (out->either.size() < 2) {
        reader.out()->Add(Code::kBadValue, "`either` needs at least two alternatives",
                          reader.At(entry.value));
        good = false;
      }
      continue;
    }
    if (linear && IsOfLinears(entry)) {
      if (!said)
        reader.out()
            ->Add(
                Code::kMissingKey,
                fmt::format("{} has `{}`, as linears do, and none of `rows`, `unified` and `fused`",
                            what, entry.key),
                reader.At(entry.key_place))
            .Help("say which of the three it is; or the key stands one level too high");
      said = true;
      good = false;
      continue;
    }
    const std::string meant = linear ? MeantWord(entry) : "";
    if (!entry.value.is_map() || !meant.empty()) {  // a module is a mapping: a key is spelt wrong
      const std::string nearest =
          !meant.empty() ? meant
                         : NearestName(entry.key, {"rows", "unified", "fused", "weight", "param",
                                                   "use", "with", "when", "either", "quantize",
                                                   "differs", "renames", "in", "split", "per"});
      const std::string why = entry.value.is_map()
                                  ? ""
                                  : fmt::format(": its value is {}, and a module is a mapping",
                                                YamlReader::Describe(entry.value));
      Finding& finding = reader.out()->Add(
          Code::kUnknownKey, fmt::format("unknown key {} in {}{}", Quoted(entry.key), what, why),
          reader.At(entry.key_place));
      if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
      good = false;
      continue;
    }
    RuleNode child;
    good = ParsePath(reader, entry.key_place, entry.key, &child.segments) &&
           ParseRuleNode(reader, entry.value, Quoted(entry.key), &child) && good;
    child.place = entry.key_place;
    out->children.push_back(std::move(child));
  }
  if (!empty) return good;
  reader.out()
      ->Add(Code::kMissingKey, fmt::format("{} says nothing", what), reader.At(map))
      .Help("a module is one of rows, unified, fused, weight, param, use, or a subtree");
  return false;
}

}  // namespace

bool ParseDim(const YamlReader& reader, const YamlNode& node, std::string_view what, Dim* dim) {
  dim->place = node.place;
  const auto add = [&](const YamlNode& scalar) {
    std::string text, error;
    int column = 0;
    if (!scalar.is_scalar()) return reader.WrongType(scalar, what, "an expression");
    if (!reader.AsText(scalar, what, &text)) return false;
    auto expr = Expr::Parse(text, &error, &column);
    if (expr) {
      dim->alternatives.push_back(std::move(*expr));
      return true;
    }
    YamlPlace place = scalar.place;
    place.column += column + (scalar.plain ? 0 : 1);
    place.end_column = place.column + 1;
    reader.out()->Add(Code::kBadExpression, fmt::format("in {}: {}", what, error),
                      reader.At(place));
    return false;
  };
  if (!node.is_list()) return add(node);
  bool good = !node.items.empty();
  if (!good)
    reader.out()
        ->Add(Code::kBadValue, fmt::format("{} is an empty list", what), reader.At(node))
        .Help(
            "write one expression, or several, of which the first that config.json can answer "
            "counts");
  for (const YamlNode& item : node.items) good = add(item) && good;
  return good;
}

bool ParseWordKey(const YamlReader& reader, const YamlEntry& entry, std::string_view what) {
  if (IsWord(entry.key)) return true;
  reader.out()->Add(
      Code::kBadValue,
      fmt::format("{} {} is no word of letters, digits, `_` and `-`", what, Quoted(entry.key)),
      reader.At(entry.key_place));
  return false;
}

bool ParsePath(const YamlReader& reader, const YamlPlace& place, std::string_view text,
               std::vector<Segment>* segments) {
  for (size_t at = 0; at <= text.size();) {
    const size_t dot = std::min(text.find('.', at), text.size());
    std::string_view piece = text.substr(at, dot - at);
    Segment segment;
    segment.placeholder = piece.size() > 2 && piece.front() == '<' && piece.back() == '>';
    if (segment.placeholder) piece = piece.substr(1, piece.size() - 2);
    segment.text = std::string(piece);
    if (segments->size() >= kMaxSegments) {
      reader.out()->Add(Code::kBadValue,
                        fmt::format("a path of more than {} segments", kMaxSegments),
                        reader.At(place));
      return false;
    }
    if (!IsWord(piece)) {
      reader.out()
          ->Add(Code::kBadValue, fmt::format("{} is not a path of whole segments", Quoted(text)),
                reader.At(place))
          .Help("segments are words or placeholders such as `<layer>`, with dots between them");
      return false;
    }
    segments->push_back(std::move(segment));
    at = dot + 1;
  }
  return true;
}

bool ParseRuleNode(const YamlReader& reader, const YamlNode& node, std::string_view what,
                   RuleNode* out) {
  if (!reader.IsMap(node, what)) return false;
  out->value_place = node.place;
  std::vector<std::string_view> kinds;
  for (const std::string_view kind : kKinds)
    if (node.Find(kind) != nullptr) kinds.push_back(kind);
  if (kinds.size() > 1) {
    reader.out()
        ->Add(Code::kConflictingKeys,
              fmt::format("{} is both `{}` and `{}`", what, kinds[0], kinds[1]),
              reader.At(node.KeyPlace(kinds[1])))
        .Help("a module is exactly one of rows, unified, fused, weight, param");
    return false;
  }
  bool good = ParseOptionalWhen(reader, node, &out->when);
  good = ParseQuantize(reader, node, out) && good;
  good = ParseNamedTexts(reader, node, "differs", &out->differs) && good;
  if (kinds.empty()) return ParseTree(reader, node, what, out) && good;
  if (kinds[0] == "rows" || kinds[0] == "unified") {
    out->kind = kinds[0] == "rows" ? NodeKind::kRows : NodeKind::kUnified;
    return ParseLinear(reader, node, what, out) && good;
  }
  if (kinds[0] == "fused") {
    out->kind = NodeKind::kFused;
    return ParseFused(reader, node, what, out) && good;
  }
  out->kind = kinds[0] == "weight" ? NodeKind::kWeight : NodeKind::kParam;
  return ParseStored(reader, node, kinds[0], what, out) && good;
}

}  // namespace ferrule
