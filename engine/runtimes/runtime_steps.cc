// SPDX-License-Identifier: Apache-2.0
// Runtime file → tests and steps.
#include <fmt/format.h>

#include <algorithm>

#include "engine/runtimes/runtime_node.h"

namespace ferrule {

const YamlEntry* RuntimeNodeReader::Verb(const YamlNode& map, std::string_view what,
                                         std::initializer_list<std::string_view> verbs) const {
  const YamlEntry* found = nullptr;
  for (const YamlEntry& entry : map.entries) {
    if (std::find(verbs.begin(), verbs.end(), entry.key) == verbs.end()) continue;
    if (found != nullptr) {
      reader_.out()->Add(Code::kConflictingKeys,
                         fmt::format("{} is either `{}` or `{}`", what, found->key, entry.key),
                         reader_.At(entry.key_place));
      return nullptr;
    }
    found = &entry;
  }
  if (found == nullptr) {
    std::string known;
    for (const std::string_view verb : verbs) known += fmt::format(" `{}`", verb);
    reader_.out()->Add(Code::kMissingKey, fmt::format("{} needs one of{}", what, known),
                       reader_.At(map));
  }
  return found;
}

bool RuntimeNodeReader::TestWord(const YamlNode& node, Test* out) const {
  constexpr std::string_view kWords[] = {"listed", "fused", "same-part"};
  size_t at = 0;
  if (!reader_.AsWord(node, "a test", kWords, &at)) return false;
  out->kind = at == 0 ? Test::Kind::kListed : at == 1 ? Test::Kind::kFused : Test::Kind::kSamePart;
  return true;
}

bool RuntimeNodeReader::ReadTests(const YamlNode& node, std::string_view what,
                                  std::vector<Test>* out) const {
  if (!reader_.IsList(node, what)) return false;
  bool good = true;
  for (const YamlNode& item : node.items) good = ReadTest(item, &out->emplace_back()) && good;
  return good;
}

bool RuntimeNodeReader::ReadListed(const YamlNode& map, const YamlNode& value, Test* out) const {
  out->kind = Test::Kind::kListed;
  bool good = reader_.KnownKeys(map, "a test", {"listed", "in", "only", "exhaustive"}) &&
              Text(map, "in", &out->name) && Flag(map, "exhaustive", &out->exhaustive);
  const bool by_function = value.is_scalar() && value.text == "as-usual";
  if (!by_function) good = ReadMatch(value, &out->match) && good;
  if (const YamlNode* only = map.Find("only"))
    good = ReadText(*only, "`only`", &out->only.emplace()) && good;
  return good;
}

bool RuntimeNodeReader::ReadTest(const YamlNode& node, Test* out) const {
  if (node.is_scalar()) return TestWord(node, out);
  if (!reader_.IsMap(node, "a test")) return false;
  const YamlEntry* verb = Verb(node, "a test",
                               {"listed", "name", "leaf", "layer", "text", "all", "any", "not",
                                "says", "given", "present", "each", "flag"});
  if (verb == nullptr) return false;
  const std::string& key = verb->key;
  const YamlNode& value = verb->value;
  using Kind = Test::Kind;
  if (key == "listed") return ReadListed(node, value, out);
  if (key == "says") {
    out->kind = Kind::kSays;
    const bool good = reader_.KnownKeys(node, "a test", {"says", "result"}) &&
                      reader_.AsText(value, "`says`", &out->name) &&
                      Text(node, "result", &out->result);
    if (out->result.empty()) out->result = "skip";
    return good;
  }
  if (key == "each") {
    out->kind = Kind::kEach;
    const YamlNode* test = reader_.Require(node, "a test", "is");
    const YamlNode* replaced = reader_.Require(node, "a test", "for");
    return reader_.KnownKeys(node, "a test", {"each", "for", "is"}) && test != nullptr &&
           replaced != nullptr && reader_.AsTexts(value, "`each`", &out->by) &&
           reader_.AsText(*replaced, "`for`", &out->replaced) &&
           ReadTest(*test, &out->tests.emplace_back());
  }
  if (key == "text") {
    out->kind = Kind::kText;
    const YamlNode* text = node.Find("is");
    return reader_.KnownKeys(node, "a test", {key, "is"}) &&
           reader_.AsText(value, fmt::format("`{}`", key), &out->name) && text != nullptr &&
           ReadText(*text, "`is`", &out->text);
  }
  if (!reader_.KnownKeys(node, "a test", {key})) return false;
  if (key == "all" || key == "any") {
    out->kind = key == "all" ? Kind::kAll : Kind::kAny;
    return ReadTests(value, fmt::format("`{}`", key), &out->tests);
  }
  if (key == "not") {
    out->kind = Kind::kNot;
    return ReadTest(value, &out->tests.emplace_back());
  }
  if (key == "given" || key == "present" || key == "flag") {
    out->kind = key == "given" ? Kind::kGiven : key == "flag" ? Kind::kFlag : Kind::kPresent;
    return reader_.AsText(value, fmt::format("`{}`", key), &out->name);
  }
  out->kind = key == "name" ? Kind::kName : key == "leaf" ? Kind::kLeaf : Kind::kLayer;
  return ReadText(value, fmt::format("`{}`", key), &out->text);
}

bool RuntimeNodeReader::ReadIf(const YamlNode& node, Step* out) const {
  out->kind = Step::Kind::kIf;
  const YamlNode* then = reader_.Require(node, "a step", "then");
  bool good = reader_.KnownKeys(node, "a step", {"if", "then", "else"}) && then != nullptr &&
              ReadTest(*node.Find("if"), &out->test) && ReadSteps(*then, &out->then);
  if (const YamlNode* otherwise = node.Find("else"))
    good = ReadSteps(*otherwise, &out->otherwise) && good;
  return good;
}

bool RuntimeNodeReader::ReadParts(const YamlNode& node, const YamlNode& value, Step* out) const {
  out->kind = Step::Kind::kParts;
  bool good =
      reader_.KnownKeys(node, "a step", {"parts", "of", "disagree", "eager", "absent", "if-any"}) &&
      ReadSteps(value, &out->then) && Text(node, "disagree", &out->disagree) &&
      Text(node, "of", &out->of) && Flag(node, "eager", &out->eager);
  if (const YamlNode* absent = node.Find("absent")) {
    constexpr std::string_view kWords[] = {"ignored"};
    size_t at = 0;
    good = reader_.AsWord(*absent, "`absent`", kWords, &at) && good;
    out->absent_ignored = true;
  }
  if (const YamlNode* test = node.Find("if-any"))
    good = ReadTest(*test, &out->if_any.emplace_back()) && good;
  if (out->disagree.empty()) {
    reader_.out()->Add(
        Code::kMissingKey,
        "a step with `parts` needs `disagree`: the class of the error, `any` or `all`",
        reader_.At(node));
    return false;
  }
  return good;
}

bool RuntimeNodeReader::ReadFirst(const YamlNode& node, const YamlNode& value, Step* out) const {
  out->kind = Step::Kind::kFirst;
  const YamlNode* then = reader_.Require(node, "a step", "then");
  bool good =
      reader_.KnownKeys(node, "a step", {"first", "match", "names", "only", "then", "go-on"}) &&
      Flag(node, "go-on", &out->go_on) && reader_.AsText(value, "`first`", &out->text) &&
      then != nullptr && ReadSteps(*then, &out->then);
  if (const YamlNode* match = node.Find("match")) good = ReadMatch(*match, &out->match) && good;
  if (const YamlNode* names = node.Find("names"))
    good = ReadNames(*names, "`names`", &out->names) && good;
  if (const YamlNode* only = node.Find("only"))
    good = ReadText(*only, "`only`", &out->only.emplace()) && good;
  return good;
}

bool RuntimeNodeReader::ReadAsk(const YamlNode& node, const YamlNode& value, Step* out) const {
  out->kind = Step::Kind::kAsk;
  bool good = reader_.KnownKeys(node, "a step", {"ask", "map", "names", "then"}) &&
              reader_.AsText(value, "`ask`", &out->text) && Text(node, "map", &out->map);
  if (const YamlNode* names = node.Find("names"))
    good = ReadNames(*names, "`names`", &out->names) && good;
  if (const YamlNode* then = node.Find("then")) good = ReadSteps(*then, &out->then) && good;
  return good;
}

bool RuntimeNodeReader::ReadList(const YamlNode& node, const YamlNode& value, Step* out) const {
  out->kind = Step::Kind::kList;
  bool good =
      reader_.KnownKeys(node, "a step",
                        {"list", "add", "from", "that", "names", "renamed", "new", "sorted"}) &&
      reader_.AsText(value, "`list`", &out->text) && Texts(node, "add", &out->add) &&
      Text(node, "from", &out->from) && Flag(node, "renamed", &out->renamed) &&
      Flag(node, "new", &out->only_new) && Flag(node, "sorted", &out->sorted);
  if (const YamlNode* match = node.Find("that")) good = ReadMatch(*match, &out->match) && good;
  if (const YamlNode* names = node.Find("names"))
    good = ReadNames(*names, "`names`", &out->names) && good;
  return good;
}

bool RuntimeNodeReader::ReadStep(const YamlNode& node, Step* out) const {
  out->place = node.place;
  if (node.is_scalar()) return reader_.AsText(node, "a result", &out->text);
  if (node.is_list()) {
    out->kind = Step::Kind::kSteps;
    return ReadSteps(node, &out->then);
  }
  if (!reader_.IsMap(node, "a step")) return false;
  const YamlEntry* verb = Verb(
      node, "a step", {"if", "result", "raise", "ask", "parts", "first", "set", "test", "list"});
  if (verb == nullptr) return false;
  const std::string& key = verb->key;
  const YamlNode& value = verb->value;
  if (key == "if") return ReadIf(node, out);
  if (key == "parts") return ReadParts(node, value, out);
  if (key == "first") return ReadFirst(node, value, out);
  if (key == "ask") return ReadAsk(node, value, out);
  if (key == "test") {
    out->kind = Step::Kind::kTest;
    return reader_.KnownKeys(node, "a step", {"test"}) && ReadTest(value, &out->test);
  }
  if (key == "raise") {
    out->kind = Step::Kind::kRaise;
    return reader_.KnownKeys(node, "a step", {"raise"}) &&
           reader_.AsText(value, "`raise`", &out->text);
  }
  if (key == "set") {
    out->kind = Step::Kind::kSet;
    const YamlNode* to = reader_.Require(node, "a step", "to");
    return reader_.KnownKeys(node, "a step", {"set", "to"}) &&
           reader_.AsText(value, "`set`", &out->text) && to != nullptr && ReadTest(*to, &out->test);
  }
  if (key == "list") return ReadList(node, value, out);
  bool good = reader_.KnownKeys(node, "a step", {"result", "fields"}) &&
              reader_.AsText(value, "`result`", &out->text);
  if (const YamlNode* fields = node.Find("fields")) {
    if (!reader_.IsMap(*fields, "`fields`")) return false;
    for (const YamlEntry& field : fields->entries) {
      auto& [name, text] = out->fields.emplace_back(field.key, std::string());
      good = reader_.AsText(field.value, fmt::format("`{}`", name), &text) && good;
    }
  }
  return good;
}

bool RuntimeNodeReader::ReadSteps(const YamlNode& node, std::vector<Step>* out) const {
  if (!node.is_list()) return ReadStep(node, &out->emplace_back());
  bool good = true;
  for (const YamlNode& item : node.items) good = ReadStep(item, &out->emplace_back()) && good;
  return good;
}

}  // namespace ferrule
