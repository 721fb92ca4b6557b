// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/path_table.h"

#include <algorithm>
#include <map>
#include <random>

#include "engine/text/words.h"
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

// As a dense box of numbers, and as one that is mostly empty.
void CompareRuns(bool sparse) {
  // (first number, count, another number)
  const int32_t runs[][3] = {{0, 7, 3}, {5, 1, 4}, {2, 300, 4}, {500'000'000, 20, 9}, {1, 0, 2}};
  PathTable one, many;
  int32_t value = 0;
  for (const auto& [from, count, other] : runs) {
    const int32_t numbers[] = {other, from};
    if (from > 1000 && !sparse) continue;
    many.AddRun("m.#.e.#.w", numbers, 1, count, value);
    for (int32_t i = 0; i < count; ++i, ++value)
      one.Add("m." + std::to_string(other) + ".e." + std::to_string(from + i) + ".w", value);
  }
  CHECK(one.Seal().size() == many.Seal().size());
  const int32_t id = many.Find("m.#.e.#.w");
  REQUIRE(id == 0);
  CHECK(many.Count(id) == one.Count(id));
  size_t found = 0;
  for (int32_t layer = 0; layer < 12; ++layer)
    for (const int32_t from : {-3, 0, 4, 290, 499'999'990, 600'000'000})
      for (const int position : {0, 1}) {
        const int32_t numbers[] = {layer, from};
        const PathTable::Run run = many.Along(id, numbers, position);
        for (int32_t i = 0; i < 40; ++i) {
          int32_t at[] = {layer, from};
          at[position] += i;
          CHECK(run(i) == one.At(0, at));
          found += run(i) >= 0;
        }
      }
  CHECK(found > 100);
  CHECK(many.Along(id, {}, -1)(0) == -1);  // as many numbers as the template has
  CHECK(many.Along(-1, {}, -1)(0) == -1);
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

TEST_CASE("names by the run are the same as one by one") {
  CompareRuns(false);
  CompareRuns(true);

  PathTable plain;
  plain.Add("a", 5);
  plain.Add("b.3", 6);
  plain.Seal();
  CHECK(plain.Along(plain.Find("a"), {}, -1)(0) == 5);
  const int32_t three[] = {3}, four[] = {4};
  CHECK(plain.Along(plain.Find("b.#"), three, -1)(0) == 6);
  CHECK(plain.Along(plain.Find("b.#"), four, -1)(0) == -1);
}

TEST_CASE("names of every length are taken apart as the plain way does") {
  // The obvious way: cut at dots, look at each segment.
  const auto plain = [](const std::string& name) {
    std::string out, numbers;
    for (size_t at = 0; at <= name.size();) {
      const size_t end = std::min(name.find('.', at), name.size());
      const std::string segment = name.substr(at, end - at);
      const bool digits = segment.find_first_not_of("0123456789") == std::string::npos;
      if (!segment.empty() && digits && segment.size() <= 9 &&
          (segment == "0" || segment[0] != '0')) {
        out += '#';
        numbers += " " + segment;
      } else {
        out += segment;
        if (!segment.empty() && segment.find_first_not_of('#') == std::string::npos) out += '#';
      }
      if (end < name.size()) out += '.';
      at = end + 1;
    }
    return out + numbers;
  };
  std::mt19937 random(13);
  const std::string letters = "..01.29a#b_\xAE\x2F-";
  for (size_t length = 0; length < 70; ++length)
    for (int round = 0; round < 200; ++round) {
      std::string name(length, 'x');
      for (char& c : name)
        if (round % 4 != 0 || random() % 4 == 0) c = letters[random() % letters.size()];
      if (std::count(name.begin(), name.end(), '.') >= static_cast<long>(kMaxSegments)) continue;
      INFO(name);
      CHECK(NormalOf(name) == plain(name));
    }
}

TEST_CASE("values may be given new numbers after sealing") {
  PathTable table;
  const std::vector<std::string> names = {"a", "b.3", "b.4", "c.1.7", "c.800000000.5", "c.2.6"};
  for (size_t i = 0; i < names.size(); ++i) table.Add(names[i], static_cast<int32_t>(i));
  table.Seal();
  const std::vector<int32_t> to = {50, 10, 40, 20, 30, 0};
  table.Renumber(to);
  for (size_t i = 0; i < names.size(); ++i) {
    INFO(names[i]);
    CHECK(table.At(names[i]) == to[i]);
  }
  CHECK(table.At("c.1.8") == -1);
  const int32_t c = table.Find("c.#.#");
  for (size_t i = 0; i < 3; ++i) CHECK(table.Value(c, i) == to[3 + i]);
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

namespace {

// The hash of two numbers, as the table makes it.
uint64_t HashOf(uint64_t a, uint64_t b) { return MixHash(MixHash(a + 1) * 31 + b + 1); }

}  // namespace

TEST_CASE("names made to collide are kept in order, with the same answers") {
  std::mt19937 random(17);
  const auto number = [&] { return static_cast<int32_t>(random() % 900'000'000 + 1); };
  constexpr size_t kNames = 400;  // in tables of 1,024 slots
  PathTable numbers, texts;
  std::map<std::string, int32_t> expected;
  std::vector<std::pair<int32_t, int32_t>> twice;
  while (expected.size() < kNames) {
    const int32_t a = number(), b = number();
    if ((HashOf(static_cast<uint64_t>(a), static_cast<uint64_t>(b)) & 1023) != 7) continue;
    const std::string name = "x." + std::to_string(a) + "." + std::to_string(b);
    const int32_t value = static_cast<int32_t>(expected.size() * 2);
    expected[name] = value;
    numbers.Add(name, value);
    if (expected.size() % 50 != 0) continue;
    numbers.Add(name, value + 1);
    twice.emplace_back(value, value + 1);
  }
  for (int i = 0; texts.templates() < kNames; ++i) {
    const std::string name = "t" + std::to_string(i) + "x";
    if ((HashName(name) & 1023) != 7) continue;
    expected[name] = static_cast<int32_t>(texts.templates());
    texts.Add(name, static_cast<int32_t>(texts.templates()));
  }
  std::vector<std::pair<int32_t, int32_t>> found;
  for (const auto& [first, second] : numbers.Seal()) found.emplace_back(first, second);
  CHECK(found == twice);
  CHECK(texts.Seal().empty());
  for (const auto& [name, value] : expected)
    CHECK((name[0] == 'x' ? numbers : texts).At(name) == value);
  for (int i = 0; i < 1000; ++i) {
    CHECK(numbers.At("x." + std::to_string(number()) + ".5") == -1);
    CHECK(texts.At("t" + std::to_string(number())) == -1);
  }
  const int32_t id = numbers.Find("x.#.#");
  const auto one = numbers.Numbers(id, 0);
  CHECK(numbers.Along(id, one, 1)(0) == numbers.Value(id, 0));
}
