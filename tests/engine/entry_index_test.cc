// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/entry_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "tests/catch.h"

namespace ferrule {
namespace {

MatchRule RuleBy(By by, Anchor anchor = Anchor::kMatch) {
  MatchRule rule;
  rule.by = by;
  rule.anchor = anchor;
  if (by == By::kLastOf) rule.words = {"a", "ab", "b"};
  return rule;
}

// What the rule says of an entry as it is written, without an index. Pattern: anything but no.
bool Says(const MatchRule& rule, std::string_view entry, std::string_view name) {
  switch (rule.by) {
    case By::kExact:
      return IsExact(entry, name);
    case By::kAncestor:
      return IsAncestor(entry, name);
    case By::kSegments:
      return HasSegments(entry, name);
    case By::kLastSegments:
      return HasLastSegments(entry, name);
    case By::kSegment:
      return HasSegment(entry, name);
    case By::kPrefix:
      return HasPrefix(entry, name);
    case By::kSuffix:
      return HasSuffix(entry, name);
    case By::kText:
      return HasText(entry, name);
    case By::kTextAnyCase:
      return HasTextNoCase(entry, name);
    case By::kWithin:
      return IsTextOf(entry, name);
    case By::kChild:
      return entry.size() > name.size() && IsAncestor(name, entry);
    case By::kGlob:
      return Glob(entry, name);
    case By::kLastOf:
      return std::find(rule.words.begin(), rule.words.end(), LastSegment(entry)) !=
                 rule.words.end() &&
             HasText(LastSegment(entry), LastSegment(name));
    case By::kClass:
      return entry == "Linear" || entry == "Module";
    case By::kModelOptGlob:
    case By::kRegex:
      break;
  }
  std::string text = rule.by == By::kRegex ? std::string(entry) : ModelOptGlob(entry);
  if (!rule.form.empty()) text = ReplaceEvery(rule.form, "{}", text);
  const PythonRegex regex(text, PythonModule::kRe);
  return (rule.to_boundary ? regex.MatchToBoundary(name) : regex.Match(name, rule.anchor)) !=
         PythonRegex::Verdict::kNo;
}

std::vector<MatchRule> EveryRule() {
  std::vector<MatchRule> rules;
  for (const By by : {By::kExact, By::kAncestor, By::kSegments, By::kLastSegments, By::kSegment,
                      By::kPrefix, By::kSuffix, By::kText, By::kTextAnyCase, By::kWithin,
                      By::kChild, By::kGlob, By::kLastOf, By::kClass})
    rules.push_back(RuleBy(by));
  for (const By by : {By::kModelOptGlob, By::kRegex})
    for (const Anchor anchor : {Anchor::kMatch, Anchor::kSearch, Anchor::kFull})
      rules.push_back(RuleBy(by, anchor));
  for (const char* form : {"{}\\.", "(?:{})", "{}|b", "{}*", "x?{}", "({})?"}) {
    rules.push_back(RuleBy(By::kRegex));
    rules.back().form = form;
    rules.push_back(rules.back());
    rules.back().to_boundary = true;
  }
  return rules;
}

std::string Random(std::string_view letters, size_t most, std::mt19937* random) {
  std::string out((*random)() % (most + 1), ' ');
  for (char& c : out) c = letters[(*random)() % letters.size()];
  return out;
}

std::vector<std::string_view> Views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

// Names as a large mixture of experts has them.
std::vector<std::string> ManyNames(const char* end) {
  std::vector<std::string> out;
  for (int layer = 0; layer < 50; ++layer)
    for (int expert = 0; expert < 200; ++expert)
      for (const char* last : {"gate_proj", "up_proj"})
        out.push_back(fmt::format("model.layers.{}.mlp.experts.{}.{}{}", layer, expert, last, end));
  return out;
}

TEST_CASE("entry index: nothing that a rule matches is missing") {
  std::mt19937 random(7);
  std::vector<std::string> entries{"Linear", "Module", "a.b.a.b.a", "a..b", "", "."};
  for (int i = 0; i < 400; ++i) entries.push_back(Random("aabB.._1", 7, &random));
  for (int i = 0; i < 200; ++i) entries.push_back(Random("ab..*?[]!A+|(){$\\", 6, &random));
  std::vector<std::string> names{"", ".", "a", "a\nb", "a.\xc3\xa4.b", "a.b.a.b"};
  for (int i = 0; i < 150; ++i) names.push_back(Random("aabB...1", 9, &random));
  for (const MatchRule& rule : EveryRule()) {
    const std::vector<MatchRule> rules{rule};
    const EntryIndex index(rules, Views(entries));
    for (const std::string& name : names) {
      const auto found = index.Find({{name}}, {"Linear", "Module"});
      if (!found) continue;
      REQUIRE(std::is_sorted(found->begin(), found->end()));
      for (uint32_t i = 0; i < entries.size(); ++i) {
        if (std::binary_search(found->begin(), found->end(), i)) continue;
        INFO(static_cast<int>(rule.by)
             << " `" << rule.form << "`: `" << entries[i] << "` and `" << name << "`");
        REQUIRE_FALSE(Says(rule, entries[i], name));
      }
    }
  }
}

TEST_CASE("entry index: of a long list few entries are left to ask") {
  const std::string name = "model.layers.7.mlp.experts.11.gate_proj";
  for (const MatchRule& rule : EveryRule()) {
    if (!rule.form.empty() && rule.form != "{}\\." && rule.form != "(?:{})") continue;
    const bool stars = rule.by == By::kGlob || rule.by == By::kModelOptGlob || !rule.form.empty();
    const std::vector<std::string> entries = ManyNames(stars ? "*" : "");
    const std::vector<MatchRule> rules{rule};
    const EntryIndex index(rules, Views(entries));
    // A name that an entry holds, or that is below one: half of a layer's entries at the most.
    const bool below = rule.by == By::kChild || rule.by == By::kWithin;
    const auto found = index.Find({{below ? "model.layers.7.mlp.experts.11" : name}}, {});
    INFO(static_cast<int>(rule.by) << " `" << rule.form << "`");
    REQUIRE(found);
    if (rule.by != By::kLastOf && rule.by != By::kClass && rule.by != By::kSegment)
      CHECK(found->size() >= 1);
    CHECK(found->size() <= 400);
  }
}

TEST_CASE("entry index: marks, prefixes and cuts are taken off, and a marked entry is only that") {
  MatchRule marked = RuleBy(By::kRegex);
  marked.marked = true;
  MatchRule plain = RuleBy(By::kExact);
  plain.prefixes = {"-:"};
  plain.cut = ".weight";
  const std::vector<MatchRule> rules{marked, plain};
  const std::vector<std::string> entries{"a.b", "re:a.b", "-:a.b.weight", "re:x(", "b", "re:b"};
  const EntryIndex index(rules, Views(entries));
  using Found = std::vector<uint32_t>;
  // Three patterns that begin alike are told apart by whoever asks; what does not compile raises.
  CHECK(index.Find({{"a.b"}, {"a.b"}}, {}) == Found{0, 1, 2, 3, 5});
  CHECK(index.Find({{}, {"b"}}, {}) == Found{3, 4});
  CHECK(index.Find({{}, {"re:b"}}, {}) == Found{3});
}

TEST_CASE("entry index: dots at the end are nothing where the rule says so") {
  MatchRule rule = RuleBy(By::kExact);
  rule.trailing_dots = true;
  const std::vector<MatchRule> rules{rule};
  const std::vector<std::string> entries{"a..", "a.b", "a"};
  const EntryIndex index(rules, Views(entries));
  CHECK(index.Find({{"a."}}, {}) == std::vector<uint32_t>{0, 2});
}

}  // namespace
}  // namespace ferrule
