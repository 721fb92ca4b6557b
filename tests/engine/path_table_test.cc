// SPDX-License-Identifier: Apache-2.0
#include "engine/path_table.h"

#include <map>
#include <random>

#include "tests/catch.h"

using namespace ferrule;

namespace {

std::string NormalOf(std::string_view name) {
  NormalName normal;
  REQUIRE(Normalise(name, &normal));
  std::string out(normal.view());
  for (uint32_t i = 0; i < normal.count; ++i) out += " " + std::to_string(normal.numbers[i]);
  return out;
}

// What a name gives when it is taken apart and put together again.
std::string RoundTrip(std::string_view name) {
  NormalName normal;
  REQUIRE(Normalise(name, &normal));
  return Concrete(normal.view(), {normal.numbers, normal.count});
}

// Adds names in order and compares every answer with std::map; returns the number of duplicates.
size_t Compare(const std::vector<std::string>& names, const std::vector<std::string>& others) {
  PathTable table;
  std::map<std::string, int32_t> oracle;
  size_t twice = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    REQUIRE(table.Add(names[i], static_cast<int32_t>(i)) >= 0);
    if (!oracle.emplace(names[i], static_cast<int32_t>(i)).second) ++twice;
  }
  const auto duplicates = table.Seal();
  CHECK(duplicates.size() == twice);
  for (const auto& [first, second] : duplicates) {
    CHECK(oracle[names[static_cast<size_t>(second)]] == first);
    CHECK(first < second);
    CHECK(names[static_cast<size_t>(first)] == names[static_cast<size_t>(second)]);
  }
  for (const auto& [name, value] : oracle) {
    INFO(name);
    CHECK(table.At(name) == value);
  }
  for (const std::string& name : others) {
    INFO(name);
    const auto known = oracle.find(name);
    CHECK(table.At(name) == (known == oracle.end() ? -1 : known->second));
  }
  size_t counted = 0;
  for (int32_t id = 0; id < static_cast<int32_t>(table.templates()); ++id)
    for (size_t i = 0; i < table.Count(id); ++i, ++counted)
      CHECK(Concrete(table.Text(id), table.Numbers(id, i)) ==
            names[static_cast<size_t>(table.Value(id, i))]);
  CHECK(counted == names.size());
  return twice;
}

}  // namespace

TEST_CASE("whole segments that are numbers are taken out of a name, nothing else") {
  CHECK(NormalOf("model.layers.3.mlp.experts.17.gate_proj") ==
        "model.layers.#.mlp.experts.#.gate_proj 3 17");
  CHECK(NormalOf("0") == "# 0");
  CHECK(NormalOf("a.10.01.1a.a1") == "a.#.01.1a.a1 10");  // 01 is not 1
  CHECK(NormalOf("999999999.1") == "#.# 999999999 1");    // nine digits
  CHECK(NormalOf("1000000000") == "1000000000");          // ten are text
  CHECK(NormalOf("4294967296.4294967297") == "4294967296.4294967297");
  CHECK(NormalOf("a.-1.+1. 1") == "a.-1.+1. 1");
  CHECK(NormalOf("a..b.") == "a..b.");  // empty segments stay
  CHECK(NormalOf("") == "");
  CHECK(NormalOf(".") == ".");
}

TEST_CASE("a # in a name never looks like a number that was taken out") {
  CHECK(NormalOf("a.#") != NormalOf("a.0").substr(0, 3));
  CHECK(NormalOf("a.#") == "a.##");
  CHECK(NormalOf("a.##") == "a.###");
  CHECK(NormalOf("a#.#a") == "a#.#a");
  Compare({"a.#", "a.##", "a.0", "a.###", "#", "##", "0", "#.0", "0.#"},
          {"a.1", "a.####", "###", "#.1", "1.#"});
}

TEST_CASE("a name taken apart gives the same name when it is put together") {
  for (const char* name : {"", ".", "a", "1", "a.1.b.22.c", "#", "a.#", "a.##.1", "#.#", "007",
                           "a#.1", "##.#.3.###", "9999999999", "a..0."})
    CHECK(RoundTrip(name) == name);
}

TEST_CASE("names beyond the limits are refused, at the limits taken") {
  NormalName normal;
  CHECK(Normalise(std::string(kMaxName, 'a'), &normal));
  CHECK_FALSE(Normalise(std::string(kMaxName + 1, 'a'), &normal));
  CHECK(Normalise(std::string(kMaxSegments - 1, '.'), &normal));  // 31 dots, 32 empty segments
  CHECK_FALSE(Normalise(std::string(kMaxSegments, '.'), &normal));
  std::string hashes;  // every segment grows by one
  for (size_t i = 0; i < kMaxSegments; ++i) hashes += i == 0 ? "#" : ".#";
  hashes += std::string(kMaxName - hashes.size(), '#');
  CHECK(Normalise(hashes, &normal));
  CHECK(normal.size == kMaxName + kMaxSegments);
  CHECK_FALSE(Normalise(hashes + ".1", &normal));

  PathTable table;
  CHECK(table.Add(std::string(kMaxName + 1, 'a'), 0) == -1);
  CHECK(table.Add("a", 0) == 0);
  table.Seal();
  CHECK(table.At(std::string(kMaxName + 1, 'a')) == -1);
  CHECK(table.At("a") == 0);
  CHECK(table.At(-1, {}) == -1);
}

TEST_CASE("an empty table knows nothing") {
  PathTable table;
  CHECK(table.At("a") == -1);
  CHECK(table.Seal().empty());
  CHECK(table.At("a") == -1);
  CHECK(table.At("") == -1);
}

TEST_CASE("every answer is that of std::map, on random names") {
  std::mt19937 random(7);
  const std::vector<std::string> words = {"a",   "layers", "0",          "1",        "10",
                                          "01",  "#",      "##",         "",         "99",
                                          "1e3", "x1",     "4294967295", "999999999"};
  const auto name = [&] {
    std::string out = words[random() % words.size()];
    for (size_t n = random() % 4; n > 0; --n) out += "." + words[random() % words.size()];
    return out;
  };
  size_t twice = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> names(random() % 200), others(100);
    for (std::string& text : names) text = name();
    for (std::string& text : others) text = name();
    twice += Compare(names, others);
  }
  CHECK(twice > 1000);
}

TEST_CASE("numbers may be dense, sparse, or huge") {
  std::mt19937 random(11);
  for (const uint32_t range : {3u, 50u, 5000u, 999'999'999u}) {
    std::vector<std::string> names, others;
    const auto name = [&] {
      return "m." + std::to_string(random() % range) + ".e." + std::to_string(random() % range) +
             ".w";
    };
    for (int i = 0; i < 3000; ++i) names.push_back(name());
    for (int i = 0; i < 3000; ++i) others.push_back(name());
    others.push_back("m.0.e.999999999.w");
    others.push_back("m.999999999.e.0.w");
    Compare(names, others);
  }
}

TEST_CASE("a name with two numbers swapped is another name") {
  PathTable table;
  table.Add("a.1.b.2", 5);
  table.Add("a.7.b.9", 6);
  table.Seal();
  CHECK(table.At("a.1.b.2") == 5);
  CHECK(table.At("a.2.b.1") == -1);
  CHECK(table.At("a.1.b.9") == -1);
  CHECK(table.At("a.7.b.2") == -1);
  CHECK(table.At("a.1.b") == -1);
  const int32_t id = table.Find("a.#.b.#");
  const int32_t two[] = {1, 2}, three[] = {1, 2, 3};
  CHECK(table.At(id, two) == 5);
  CHECK(table.At(id, three) == -1);
  CHECK(table.At(id, std::span(two).first(1)) == -1);
}
