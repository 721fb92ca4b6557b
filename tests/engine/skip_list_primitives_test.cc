// SPDX-License-Identifier: Apache-2.0
// Every primitive of the compiled list against the plain functions of name_match.h, on random names
// and lists; and what counts as an accident.
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "engine/lists/name_match.h"
#include "engine/lists/skip_list.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

Matching Of(std::vector<Primitive> match, Matching::Patterns patterns = Matching::Patterns::kNone) {
  Matching matching;
  matching.match = std::move(match);
  matching.patterns = patterns;
  if (patterns == Matching::Patterns::kPrefix) matching.prefix = "re:";
  matching.dialect = "d";
  return matching;
}

SkipList Compiled(const Matching& matching, const std::vector<std::string>& entries) {
  std::vector<ListEntry> list;
  for (const std::string& entry : entries) list.push_back({entry, {}});
  Diagnostics out;
  auto compiled = SkipList::Compile(matching, std::move(list), {}, &out, SkipList::Use::kTargets);
  INFO(ToHuman(out, false));
  REQUIRE(compiled);
  return std::move(*compiled);
}

bool IsStarred(const std::string& entry) { return entry.find_first_of("*?[") != std::string::npos; }

// The slow answer: whether an entry names a path in one way.
bool Names(Primitive primitive, const Matching& matching, const std::string& entry,
           const std::string& path) {
  const bool glob = matching.Has(Primitive::kGlob) && IsStarred(entry);
  switch (primitive) {
    case Primitive::kExact:
      return !glob && IsExact(entry, path);
    case Primitive::kAncestor:
      return !glob && IsAncestor(entry, path);
    case Primitive::kLastSegments:
      return !glob && HasLastSegments(entry, path);
    case Primitive::kSegments:
      return !glob && HasSegments(entry, path);
    case Primitive::kSuffix:
      return !glob && HasSuffix(entry, path);
    case Primitive::kSubstring:
      return !glob && HasText(entry, path);
    case Primitive::kGlob: {
      if (!glob) return false;
      if (Glob(entry, path)) return true;
      if (!matching.Has(Primitive::kAncestor) && !matching.Has(Primitive::kSegments)) return false;
      for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1))
        if (Glob(entry, path.substr(0, dot))) return true;
      return false;
    }
    default:
      return false;
  }
}

}  // namespace

TEST_CASE("lists of names and globs agree with the plain functions, whatever is combined") {
  const std::vector<std::string> words = {"a", "b", "ab", "gate", "gate_proj", "1", "10", "layers"};
  const std::vector<std::vector<Primitive>> ways = {
      {Primitive::kExact},
      {Primitive::kAncestor},
      {Primitive::kLastSegments},
      {Primitive::kSegments},
      {Primitive::kGlob},
      {Primitive::kSuffix},
      {Primitive::kSubstring},
      {Primitive::kExact, Primitive::kGlob},
      {Primitive::kExact, Primitive::kAncestor, Primitive::kLastSegments, Primitive::kGlob},
      {Primitive::kSegments, Primitive::kGlob, Primitive::kSubstring},
      {Primitive::kExact, Primitive::kSuffix},
  };
  std::mt19937 random(7);
  const auto name = [&](size_t most) {
    std::string text = words[random() % words.size()];
    for (size_t more = random() % most; more > 0; --more)
      text += "." + words[random() % words.size()];
    return text;
  };
  size_t wrong = 0, hits = 0, asked = 0;
  for (int round = 0; round < 1500; ++round) {
    const Matching matching = Of(ways[random() % ways.size()]);
    std::vector<std::string> entries(random() % 6);
    for (std::string& entry : entries) {
      entry = name(4);
      if (matching.Has(Primitive::kGlob) && random() % 2 == 0) {
        const size_t at = random() % (entry.size() + 1);
        constexpr const char* kSpecial[] = {"*", "*", "?", "[ab]", "[!a]"};
        entry.insert(random() % 2 == 0 ? entry.size() : at, kSpecial[random() % 5]);
      }
    }
    const SkipList list = Compiled(matching, entries);
    for (int i = 0; i < 60; ++i) {
      const std::string path = name(5);
      std::set<int> expected;
      for (size_t e = 0; e < entries.size(); ++e)
        for (const Primitive primitive : matching.match)
          if (Names(primitive, matching, entries[e], path)) expected.insert(static_cast<int>(e));
      std::vector<Hit> all;
      list.MatchAll(path, &all);
      std::set<int> found;
      for (const Hit& hit : all) found.insert(hit.entry);
      const Hit best = list.Match(path);
      wrong += found != expected || bool(best) == expected.empty() ||
                       (best && expected.count(best.entry) == 0)
                   ? 1
                   : 0;
      hits += expected.size();
      ++asked;
    }
  }
  CHECK(wrong == 0);
  CHECK(asked == 90'000);
  CHECK(hits > 10'000);
}

TEST_CASE("hundreds of globs that end in a star are found by their beginnings, each of them") {
  std::vector<std::string> entries;
  for (int layer = 0; layer < 300; ++layer)
    entries.push_back(fmt::format("model.layers.{}.*", layer));
  for (const char* more :
       {"model*", "model.layers.7*", "model.layers.77.mlp*", "model.layers.77.*"})
    entries.emplace_back(more);
  const SkipList list = Compiled(Of({Primitive::kGlob}), entries);
  std::vector<Hit> hits;
  list.MatchAll("model.layers.77.mlp.down_proj", &hits);
  std::set<std::string> found;
  for (const Hit& hit : hits) found.insert(entries[static_cast<size_t>(hit.entry)]);
  CHECK(found == std::set<std::string>{"model.layers.77.*", "model*", "model.layers.7*",
                                       "model.layers.77.mlp*"});
  CHECK(hits.size() == 5);
  CHECK_FALSE(list.Match("mode"));
}

TEST_CASE("regular expressions: from the start, anywhere, the whole") {
  const auto named = [](Primitive how, const char* pattern, const char* path) {
    return bool(Compiled(Of({how}, Matching::Patterns::kAll), {pattern}).Match(path));
  };
  CHECK(named(Primitive::kRegexMatch, "a\\.b", "a.b.c"));
  CHECK_FALSE(named(Primitive::kRegexMatch, "b", "a.b"));
  CHECK(named(Primitive::kRegexSearch, "b", "a.b"));
  CHECK_FALSE(named(Primitive::kRegexSearch, "d", "a.b"));
  CHECK(named(Primitive::kRegexFull, "a\\..", "a.b"));
  CHECK_FALSE(named(Primitive::kRegexFull, "a\\..", "a.b.c"));
}

TEST_CASE("accidents: inside a segment, inside a number, a dot that is none") {
  const auto accident = [](const Matching& matching, const char* entry, const char* path) {
    const SkipList list = Compiled(matching, {entry});
    const Hit hit = list.Match(path);
    INFO(entry << " " << path);
    REQUIRE(hit);
    return list.Accident(hit, path);
  };
  const Matching text = Of({Primitive::kSubstring}), glob = Of({Primitive::kGlob}),
                 regex =
                     Of({Primitive::kExact, Primitive::kRegexMatch}, Matching::Patterns::kPrefix);
  const std::string cut = "it begins or ends inside a segment";
  CHECK(accident(text, "mlp.gate", "m.mlp.gate_up_proj") == cut);
  CHECK(accident(text, "mlp.gate", "m.mlp.gate").empty());
  CHECK(accident(text, "layers.1", "layers.10.mlp") == cut);
  CHECK(accident(text, "layers.1.", "layers.1.mlp").empty());
  CHECK(accident(text, "gate", "a.gate_proj.gate").empty());  // once as a whole segment
  CHECK(accident(Of({Primitive::kSuffix}), "b_proj", "m.kv_b_proj") ==
        "it begins inside a segment");
  CHECK(accident(Of({Primitive::kSuffix}), "b_proj", "m.b_proj").empty());
  CHECK(accident(glob, "layers.1*", "layers.10.mlp") ==
        "its star goes on with the digits of a number");
  CHECK(accident(glob, "layers.1*", "layers.1.mlp").empty());
  CHECK(accident(glob, "layers.1*", "layers.1").empty());
  CHECK(accident(glob, "*layers.1*.mlp", "m.layers.12.mlp") ==
        "its star goes on with the digits of a number");
  CHECK(accident(glob, "mlp.gate*", "mlp.gate_proj").empty());  // a star may end a segment
  CHECK(accident(regex, "re:mlp.gate", "mlp.gate_proj") == cut);
  CHECK(accident(regex, "re:mlp.gate", "mlp_gate") ==
        "an unescaped dot stands for another character");
  CHECK(accident(regex, "re:.*mlp.gate$", "m.mlp.gate").empty());
  CHECK(accident(regex, "re:layers\\.1", "layers.10") == cut);
  CHECK(accident(regex, "re:layers\\.[13]\\..*", "layers.1.mlp").empty());
  CHECK(accident(regex, "re:.*self_attn.*", "m.self_attn.q_proj").empty());
  CHECK(accident(regex, "mlp.gate", "mlp.gate").empty());
}

TEST_CASE("globs and patterns over the limits are refused") {
  const auto code = [](const Matching& matching, std::vector<ListEntry> entries) {
    Diagnostics out;
    CHECK_FALSE(SkipList::Compile(matching, std::move(entries), {}, &out));
    return CodeName(out.findings()[0].code);
  };
  CHECK(code(Of({Primitive::kGlob}), {{"*", {}}}) == "FR201");
  CHECK(code(Of({Primitive::kGlob}), {{"**", {}}}) == "FR201");
  std::vector<ListEntry> many;
  for (size_t i = 0; i <= SkipList::kMaxOneByOne; ++i) many.push_back({fmt::format("*a{}", i), {}});
  CHECK(code(Of({Primitive::kGlob}), many) == "FR203");
  CHECK(code(Of({Primitive::kRegexMatch}, Matching::Patterns::kAll), {{"a(?!b)", {}}}) == "FR202");
}
