// SPDX-License-Identifier: Apache-2.0
// Runtime file → how entries name modules: matches, names, texts.
#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/runtime_node.h"

namespace ferrule {
namespace {

struct Word {
  std::string_view word;
  By by;
  Anchor anchor = Anchor::kMatch;
  bool marked = false;
};

constexpr Word kWords[] = {
    {"exact", By::kExact},
    {"ancestor", By::kAncestor},
    {"segments", By::kSegments},
    {"last-segments", By::kLastSegments},
    {"segment", By::kSegment},
    {"prefix", By::kPrefix},
    {"suffix", By::kSuffix},
    {"text", By::kText},
    {"text-any-case", By::kTextAnyCase},
    {"within", By::kWithin},
    {"child", By::kChild},
    {"glob", By::kGlob},
    {"modelopt-glob", By::kModelOptGlob, Anchor::kFull},
    {"regex-match", By::kRegex, Anchor::kMatch},
    {"regex-search", By::kRegex, Anchor::kSearch},
    {"regex-full", By::kRegex, Anchor::kFull},
    {"re:match", By::kRegex, Anchor::kMatch, true},
    {"re:full", By::kRegex, Anchor::kFull, true},
    {"last-of", By::kLastOf},
    {"class", By::kClass},
};

bool Any(const std::vector<std::string>& texts, std::string_view in,
         bool (*holds)(std::string_view, std::string_view)) {
  return texts.empty() || std::any_of(texts.begin(), texts.end(),
                                      [&](const std::string& text) { return holds(text, in); });
}

}  // namespace

bool TextRule::Holds(std::string_view text) const {
  const bool good = Any(is, text, IsExact) && Any(starts, text, HasPrefix) &&
                    Any(ends, text, HasSuffix) && Any(holds, text, HasText) &&
                    (characters.empty() || text.find_first_of(characters) != text.npos) &&
                    (!empty || *empty == text.empty());
  return good != negated;
}

void NameForm::Apply(std::string_view name, const NameContext& context,
                     std::vector<std::string>* out) const {
  if (kind == Kind::kSame) {
    out->emplace_back(name);
  } else if (kind == Kind::kAncestors) {  // the name itself, then each container, nearest first
    for (size_t end = name.size(); end != std::string_view::npos; end = name.rfind('.', end - 1)) {
      out->emplace_back(name.substr(0, end));
      if (end == 0) break;
    }
  } else if (kind == Kind::kClass) {
    out->emplace_back(context.layer);
  } else if (kind == Kind::kParts) {
    out->insert(out->end(), context.parts.begin(), context.parts.end());
  } else if (kind == Kind::kEachSegment) {
    for (const std::string_view segment : Segments(name)) out->emplace_back(segment);
  } else if (kind == Kind::kFirstOf) {
    const size_t before = out->size();
    for (const NameForm& form : first_of)
      if (out->size() == before) form.Apply(name, context, out);
  } else if (HasPrefix(starts, name) && HasSuffix(ends, name) && HasText(holds, name) &&
             std::none_of(except.begin(), except.end(),
                          [&](const TextRule& text) { return text.Holds(name); })) {
    if (!is.empty()) return out->push_back(is);
    for (const std::string& text : becomes)
      out->push_back(text + std::string(name.substr(starts.size())));
    if (!becomes.empty()) return;
    if (!drop.empty() && HasPrefix(drop, name)) name.remove_prefix(drop.size());
    if (!cut.empty() && HasSuffix(cut, name)) name.remove_suffix(cut.size());
    const std::string rest =
        replaced.empty() ? std::string(name) : ReplaceEvery(name, replaced, with);
    out->push_back(prepend + rest + append);
  }
}

bool RuntimeNodeReader::Text(const YamlNode& map, std::string_view key, std::string* out) const {
  const YamlNode* node = map.Find(key);
  return node == nullptr || reader_.AsText(*node, fmt::format("`{}`", key), out);
}

bool RuntimeNodeReader::Texts(const YamlNode& map, std::string_view key,
                              std::vector<std::string>* out) const {
  const YamlNode* node = map.Find(key);
  return node == nullptr || reader_.AsTexts(*node, fmt::format("`{}`", key), out);
}

bool RuntimeNodeReader::Flag(const YamlNode& map, std::string_view key, bool* out) const {
  const YamlNode* node = map.Find(key);
  return node == nullptr || reader_.AsBool(*node, fmt::format("`{}`", key), out);
}

bool RuntimeNodeReader::ReadText(const YamlNode& node, std::string_view what, TextRule* out) const {
  if (node.is_scalar() || node.is_list()) return reader_.AsTexts(node, what, &out->is);
  if (!reader_.IsMap(node, what)) return false;
  bool empty = false;
  if (const YamlNode* value = node.Find("empty")) {
    if (!reader_.AsBool(*value, "`empty`", &empty)) return false;
    out->empty = empty;
  }
  if (const YamlNode* inner = node.Find("not")) {
    if (!reader_.KnownKeys(node, what, {"not"}) || !ReadText(*inner, "`not`", out)) return false;
    out->negated = !out->negated;
    return true;
  }
  return reader_.KnownKeys(node, what,
                           {"is", "starts", "ends", "holds", "characters", "empty", "not"}) &&
         Texts(node, "is", &out->is) && Texts(node, "starts", &out->starts) &&
         Texts(node, "ends", &out->ends) && Texts(node, "holds", &out->holds) &&
         Text(node, "characters", &out->characters);
}

bool RuntimeNodeReader::ReadName(const YamlNode& node, std::string_view what, NameForm* out) const {
  if (node.is_scalar()) {
    constexpr std::string_view kForms[] = {"same", "each-segment", "ancestors", "class", "parts"};
    size_t word = 0;
    if (!reader_.AsWord(node, what, kForms, &word)) return false;
    out->kind = static_cast<NameForm::Kind>(word);
    return true;
  }
  if (node.is_list()) {
    out->kind = NameForm::Kind::kFirstOf;
    return ReadNames(node, what, &out->first_of);
  }
  if (!reader_.IsMap(node, what)) return false;
  out->kind = NameForm::Kind::kRewrite;
  if (const YamlNode* replace = node.Find("replace")) {
    if (!reader_.IsMap(*replace, "`replace`") || replace->entries.size() != 1)
      return reader_.WrongType(*replace, "`replace`", "a mapping of one text to another");
    out->replaced = replace->entries[0].key;
    if (!reader_.AsText(replace->entries[0].value, "`replace`", &out->with)) return false;
  }
  if (const YamlNode* except = node.Find("except")) {
    if (!reader_.IsList(*except, "`except`")) return false;
    for (const YamlNode& item : except->items)
      if (!ReadText(item, "`except`", &out->except.emplace_back())) return false;
  }
  return reader_.KnownKeys(node, what,
                           {"starts", "ends", "holds", "becomes", "is", "drop", "cut", "except",
                            "remove", "replace", "prepend", "append"}) &&
         Text(node, "starts", &out->starts) && Text(node, "ends", &out->ends) &&
         Text(node, "holds", &out->holds) && Texts(node, "becomes", &out->becomes) &&
         Text(node, "is", &out->is) && Text(node, "drop", &out->drop) &&
         Text(node, "cut", &out->cut) && Text(node, "remove", &out->replaced) &&
         Text(node, "prepend", &out->prepend) && Text(node, "append", &out->append);
}

bool RuntimeNodeReader::ReadNames(const YamlNode& node, std::string_view what,
                                  std::vector<NameForm>* out) const {
  if (!reader_.IsList(node, what)) return false;
  bool good = true;
  for (const YamlNode& item : node.items) good = ReadName(item, what, &out->emplace_back()) && good;
  return good;
}

bool RuntimeNodeReader::MatchWord(const YamlNode& node, MatchRule* out) const {
  std::vector<std::string_view> words;
  for (const Word& word : kWords) words.push_back(word.word);
  size_t at = 0;
  if (!reader_.AsWord(node, "a match", words, &at)) return false;
  out->by = kWords[at].by;
  out->anchor = kWords[at].anchor;
  out->marked = kWords[at].marked;
  out->module = module_;
  return true;
}

bool RuntimeNodeReader::ReadRule(const YamlNode& node, MatchRule* out) const {
  if (node.is_scalar()) return MatchWord(node, out);
  if (!reader_.IsMap(node, "a match")) return false;
  const YamlNode* by = reader_.Require(node, "a match", "by");
  bool good = by != nullptr && MatchWord(*by, out) &&
              reader_.KnownKeys(node, "a match",
                                {"by", "form", "ends-at", "bad", "without", "words", "names",
                                 "only", "prefixes", "cut", "module"});
  if (!good) return false;
  good = Text(node, "form", &out->form) && Texts(node, "words", &out->words) &&
         Texts(node, "prefixes", &out->prefixes) && Text(node, "cut", &out->cut);
  const auto word = [&](std::string_view key, std::string_view only, bool* flag) {
    const YamlNode* value = node.Find(key);
    size_t at = 0;
    const std::string_view words[] = {only};
    if (value == nullptr) return;
    good = reader_.AsWord(*value, fmt::format("`{}`", key), words, &at) && good;
    *flag = true;
  };
  word("ends-at", "segment", &out->to_boundary);
  word("bad", "ignored", &out->bad_ignored);
  word("without", "trailing-dots", &out->trailing_dots);
  if (const YamlNode* value = node.Find("module")) {
    constexpr std::string_view kModules[] = {"re", "regex"};
    size_t at = 0;
    good = reader_.AsWord(*value, "`module`", kModules, &at) && good;
    out->module = at == 0 ? PythonModule::kRe : PythonModule::kRegex;
  }
  if (const YamlNode* names = node.Find("names"))
    good = ReadNames(*names, "`names`", &out->names) && good;
  if (const YamlNode* only = node.Find("only"))
    good = ReadText(*only, "`only`", &out->only.emplace()) && good;
  return good;
}

bool RuntimeNodeReader::ReadMatch(const YamlNode& node, std::vector<MatchRule>* out) const {
  if (!node.is_list()) return ReadRule(node, &out->emplace_back());
  bool good = true;
  for (const YamlNode& item : node.items) good = ReadRule(item, &out->emplace_back()) && good;
  if (!node.items.empty()) return good;
  reader_.out()
      ->Add(Code::kBadValue, "`match` is an empty list", reader_.At(node))
      .Help("name at least one way to compare, such as `exact`");
  return false;
}

}  // namespace ferrule
