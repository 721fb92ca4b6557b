// SPDX-License-Identifier: Apache-2.0
// Headers that take their names from the index: in any order, spelled in any way, against a map.
#include "engine/checkpoint/index_names.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

struct Random {
  std::mt19937 engine;
  size_t operator()(size_t count) { return engine() % count; }
};

// A name as JSON; now and then a letter is written as an escape.
std::string Spelled(Random& random, const std::string& name) {
  std::string text = "\"";
  for (const char c : name) {
    if (c == '"' || c == '\\')
      text += std::string("\\") + c;
    else if (c == 'w' && random(8) == 0)
      text += "\\u0077";
    else
      text += c;
  }
  return text + '"';
}

std::vector<std::string> Names(Random& random) {
  std::vector<std::string> names = {"__metadata__x", "a\"b", "a", "\\", "\xC3\xA9.w"};
  for (size_t i = 0, count = random(20); i < count; ++i) {
    const std::string linear = "model.layers." + std::to_string(i) + ".up_proj.";
    names.push_back(linear + "weight");
    if (random(3) != 0) names.push_back(linear + "weight_scale_inv");
  }
  return names;
}

using Listed = std::vector<std::pair<std::string, uint32_t>>;  // name and file

std::string IndexText(Random& random, const Listed& listed) {
  std::string text = "{\"weight_map\":{";
  for (const auto& [name, file] : listed)
    text += (text.back() == '{' ? "" : ", ") + Spelled(random, name) + ":" +
            (random(8) == 0 ? " " : "") + "\"f" + std::to_string(file) + "\"";
  return text + "}}";
}

std::string HeaderText(Random& random, const std::vector<std::string>& names) {
  std::string text = "{";
  size_t at = 0;
  for (const std::string& name : names) {
    text += (at == 0 ? "" : ",") + Spelled(random, name) + (random(9) == 0 ? " :" : ":") +
            R"({"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(at) + "," +
            std::to_string(at + 1) + "]}";
    ++at;
  }
  return text + "}";
}

// What is done to an index and headers that agree; kNothing twice as often.
enum class Change {
  kNothing,
  kNothingEither,
  kListedTwice,
  kStoredTwice,
  kMoved,
  kLost,
  kUnlisted
};

}  // namespace

TEST_CASE("headers take their names from the index, whatever the order and the spelling") {
  Random random{std::mt19937(5)};
  size_t agreed = 0;
  for (int round = 0; round < 4000; ++round) {
    const std::vector<std::string> names = Names(random);
    const size_t files = 1 + random(3);
    Listed listed;
    std::vector<std::vector<std::string>> stored(files);
    for (const std::string& name : names) {
      const size_t file = random(files);
      listed.emplace_back(name, file);
      stored[file].push_back(name);
    }
    if (random(2) == 0) std::shuffle(listed.begin(), listed.end(), random.engine);
    for (auto& in : stored)
      if (random(2) == 0) std::shuffle(in.begin(), in.end(), random.engine);
    const Change change = static_cast<Change>(random(7));
    const size_t victim = random(listed.size());
    const auto [name, file] = listed[victim];
    bool agree = false;
    switch (change) {
      case Change::kListedTwice:
        listed.push_back(listed[victim]);
        break;
      case Change::kStoredTwice:
        stored[random(files)].push_back(name);
        break;
      case Change::kMoved:
        if (files == 1) agree = true;
        listed[victim].second = static_cast<uint32_t>((file + 1) % files);
        break;
      case Change::kLost:
        std::erase(stored[file], name);
        break;
      case Change::kUnlisted:
        stored[random(files)].push_back("new");
        break;
      default:
        agree = true;
    }

    const std::string text = IndexText(random, listed);
    Diagnostics diagnostics;
    const auto index = ParseIndex("i", text, &diagnostics);
    REQUIRE(index);
    IndexNames known(*index, text);
    TensorTable table;
    std::vector<std::string> all;
    for (uint32_t number = 0; number < index->files.size(); ++number) {
      const auto& in = stored[static_cast<size_t>(index->files[number][1] - '0')];
      REQUIRE(ParseHeader("f", HeaderText(random, in), 8, in.size(), number, &known, &table,
                          &diagnostics));
      all.insert(all.end(), in.begin(), in.end());
    }
    INFO(text);
    // A file of which the index says nothing is not read; what it holds is not missed either.
    if (change == Change::kMoved || change == Change::kStoredTwice || change == Change::kUnlisted) {
      size_t unread = 0;
      for (const auto& in : stored) unread += in.size();
      if (unread != all.size()) continue;
    }
    REQUIRE(known.Agrees() == agree);
    REQUIRE(table.tensors.size() == all.size());
    for (size_t i = 0; i < all.size(); ++i) REQUIRE(table.tensors[i].name == all[i]);
    if (!agree) continue;
    ++agreed;
    const PathTable found = known.Release();
    for (size_t i = 0; i < all.size(); ++i) REQUIRE(found.At(all[i]) == static_cast<int32_t>(i));
    REQUIRE(found.At("nothing") == -1);
  }
  CHECK(agreed > 1000);
}

TEST_CASE("a name of the index that is a prefix, or needs an escape, is not taken for another") {
  const std::string text = R"({"weight_map":{"a":"f","a\"b":"f","a.w":"f"}})";
  Diagnostics diagnostics;
  const auto index = ParseIndex("i", text, &diagnostics);
  REQUIRE(index);
  IndexNames names(*index, text);
  const auto next = [&](const std::string& key) {
    Arena arena;
    JsonScan scan(key, &arena);
    const int32_t position = names.Next(&scan);
    return std::pair(position, scan.at());
  };
  CHECK(next("\"a.x\":") == std::pair(-1, size_t{0}));
  CHECK(next("\"a\\\"b\":") == std::pair(-1, size_t{0}));  // looked up instead
  CHECK(next("\"a\"b\":") == std::pair(-1, size_t{0}));
  CHECK(next("\"a.w\"") == std::pair(-1, size_t{0}));
  CHECK(next("\"a\":") == std::pair(0, size_t{4}));
  CHECK(next("\"a\":") == std::pair(-1, size_t{0}));  // behind: looked up instead
  CHECK(names.Find("a\"b") == 1);
  CHECK(next("\"a.w\" :") == std::pair(2, size_t{7}));
}
