// SPDX-License-Identifier: Apache-2.0
// One question for all modules of a template against asking each of them, on random lists: where
// the quick answer is no, nothing is named.
#include <fmt/format.h>

#include <random>

#include "engine/checkpoint/path_table.h"
#include "engine/lists/skip_list.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

constexpr int kExperts = 12;

struct Template {
  std::string head, tail;  // around the number that counts up

  std::string Path(int i) const { return fmt::format("{}{}{}", head, i, tail); }
  std::string Form() const {
    NormalName normal;
    REQUIRE(Normalise(Path(0), &normal));
    return std::string(normal.view());
  }
};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {}

  size_t Below(size_t n) { return random_() % n; }
  std::string Word() {
    static const char* const kWords[] = {"a", "b", "#", "##", "07", "layers", "mlp", "x1"};
    return Below(3) == 0 ? std::to_string(Below(14)) : kWords[Below(8)];
  }
  Template Model() {
    Template out;
    for (size_t n = Below(4); n > 0; --n) out.head += Word() + ".";
    for (size_t n = Below(3); n > 0; --n) out.tail += "." + Word();
    return out;
  }
  // Mostly a path of the template or a piece of one, so that lists hit.
  std::string Entry(const Template& model, bool globs) {
    std::string text = model.Path(static_cast<int>(Below(kExperts + 2)));
    if (Below(2) == 0) text = Word() + "." + text;
    while (Below(3) == 0 && text.find('.') != std::string::npos)
      text = Below(2) == 0 ? text.substr(0, text.rfind('.')) : text.substr(text.find('.') + 1);
    if (Below(4) == 0) text = Word() + "." + Word();
    if (globs && Below(2) == 0) text = text.substr(0, Below(text.size() + 1)) + "*";
    return text;
  }

 private:
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("a template that no entry may name has no module that one names") {
  const std::vector<std::vector<Primitive>> ways = {
      {Primitive::kExact},
      {Primitive::kExact, Primitive::kAncestor},
      {Primitive::kExact, Primitive::kLastSegments},
      {Primitive::kAncestor, Primitive::kLastSegments, Primitive::kGlob},
      {Primitive::kSegments},
      {Primitive::kSegments, Primitive::kGlob}};
  World world(7);
  size_t wrong = 0, settled = 0, named = 0, asked = 0;
  for (int round = 0; round < 20'000; ++round) {
    Matching matching;
    matching.match = ways[world.Below(ways.size())];
    matching.dialect = "d";
    const Template model = world.Model();
    std::vector<ListEntry> entries;
    for (size_t n = world.Below(3); n > 0; --n)
      entries.push_back({world.Entry(model, matching.Has(Primitive::kGlob)), {}});
    Diagnostics out;
    const auto list =
        SkipList::Compile(matching, std::move(entries), {}, &out, SkipList::Use::kTargets);
    REQUIRE(list);
    const bool may = list->MayName(model.Form(), model.head);
    const bool literally = list->MayNameLiterally(model.Form());
    size_t hits = 0;
    for (int i = 0; i < kExperts; ++i) {
      if (list->Match(model.Path(i)) && ++hits > 0 && !may) ++wrong;
      if (list->MatchLiteral(model.Path(i)) && !literally) ++wrong;
    }
    settled += may ? 0 : 1;
    named += hits > 0 ? 1 : 0;
    asked += may && hits == 0 ? 1 : 0;
  }
  CHECK(wrong == 0);
  // The lists hit often, and the question is worth asking: it is seldom asked in vain.
  CHECK(named > 5'000);
  CHECK(settled > 5'000);
  CHECK(asked < settled);
}

TEST_CASE("patterns and globs that stand one by one settle nothing for a template") {
  Matching matching;
  matching.match = {Primitive::kExact, Primitive::kGlob, Primitive::kRegexMatch};
  matching.patterns = Matching::Patterns::kPrefix;
  matching.prefix = "re:";
  Diagnostics out;
  for (const char* entry : {"re:x", "*x", "a?"})
    CHECK(SkipList::Compile(matching, {{entry, {}}}, {}, &out)->MayName("b.#", "b."));
  CHECK_FALSE(SkipList::Compile(matching, {{"x", {}}}, {}, &out)->MayName("b.#", "b."));
  CHECK_FALSE(SkipList().MayName("b.#", "b."));
}
