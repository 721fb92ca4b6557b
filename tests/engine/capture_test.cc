// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/capture.h"

#include <algorithm>
#include <random>
#include <set>

#include "tests/catch.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

Checkpoint Open(const std::string& directory) {
  Diagnostics diagnostics;
  auto checkpoint = OpenCheckpoint(directory, &diagnostics);
  INFO(Lines(diagnostics, directory));
  REQUIRE(checkpoint.has_value());
  return std::move(*checkpoint);
}

// A safetensors file with one-byte tensors of these names; a tensor has `dims` leading ones.
std::string Shard(const std::vector<std::pair<std::string, int>>& tensors) {
  std::string header = "{";
  size_t at = 0;
  for (const auto& [name, dims] : tensors) {
    header += (at > 0 ? ",\"" : "\"") + name + R"(":{"dtype":"U8","shape":[)";
    for (int i = 0; i < dims; ++i) header += i > 0 ? ",1" : "1";
    header += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + 1) + "]}";
    ++at;
  }
  return Safetensors(header + "}", at);
}

CapturedListing CaptureOf(const std::vector<std::pair<std::string, int>>& tensors) {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("model.safetensors", Shard(tensors));
  const Checkpoint checkpoint = Open(directory.path());
  const CapturedListing listing = CaptureListing(checkpoint, {"org/model", ""});
  const TempDir fixture;
  fixture.Write("config.json", "{}").Write("tensors.json", listing.json);
  const Checkpoint back = Open(fixture.path());
  std::string difference;
  CHECK(SameListing(checkpoint, back, &difference));
  CHECK(difference.empty());
  return listing;
}

}  // namespace

TEST_CASE("layers are listed and experts counted where they run from 0") {
  std::vector<std::pair<std::string, int>> tensors = {{"norm", 0}};
  for (const char* layer : {"1", "3"})
    for (const char* expert : {"0", "1", "2"})
      tensors.push_back({std::string("m.") + layer + ".e." + expert + ".up", 2});
  const CapturedListing listing = CaptureOf(tensors);
  CHECK(listing.entries == 2);
  CHECK(listing.json.find(
            R"({"name":"m.{L}.e.{E}.up","shape":[1,1],"dtype":"U8","L":[1,3],"E":3})") !=
        std::string::npos);
}

TEST_CASE("what is no run of experts is listed one by one") {
  CHECK(CaptureOf({{"m.0.e.1", 1}, {"m.1.e.1", 1}}).entries == 1);  // no expert 0
  CHECK(CaptureOf({{"m.0.e.0", 1}, {"m.0.e.2", 1}}).entries == 2);  // a gap
  CHECK(CaptureOf({{"m.0.e.0", 1}, {"m.0.e.1", 2}}).entries == 2);  // shapes differ
  CHECK(CaptureOf({{"m.0.e.0", 1}, {"m.0.e.1", 1}, {"m.1.e.0", 1}}).entries == 2);
}

TEST_CASE("numbers that the fixture reader would write otherwise stay text") {
  const CapturedListing listing = CaptureOf({{"m.007.a", 1}, {"m.1234567890.a", 1}, {"m.x1.a", 1}});
  CHECK(listing.entries == 3);
  CHECK(listing.json.find("{L}") == std::string::npos);
}

TEST_CASE("a listing does not depend on the order of tensors") {
  std::vector<std::pair<std::string, int>> tensors;
  for (int i = 0; i < 12; ++i)
    for (int j = 0; j < 4; ++j)
      tensors.push_back({"a." + std::to_string(i) + ".b." + std::to_string(j) + ".c", i % 2});
  const std::string first = CaptureOf(tensors).json;
  std::mt19937 random(1);
  std::shuffle(tensors.begin(), tensors.end(), random);
  CHECK(CaptureOf(tensors).json == first);
}

TEST_CASE("random names read back as they were") {
  std::mt19937 random(20);
  const char* const pieces[] = {"0", "1", "2", "10", "00", "a", "b-1", "9", "3x"};
  for (int round = 0; round < 200; ++round) {
    std::set<std::string> names;
    const size_t count = 1 + random() % 40;
    while (names.size() < count) {
      std::string name = pieces[random() % std::size(pieces)];
      for (size_t more = random() % 5; more > 0; --more)
        name += std::string(".") + pieces[random() % std::size(pieces)];
      names.insert(name);
    }
    std::vector<std::pair<std::string, int>> tensors;
    for (const std::string& name : names) tensors.push_back({name, static_cast<int>(random() % 3)});
    CaptureOf(tensors);
  }
}

TEST_CASE("a difference between two listings is named") {
  const TempDir one, two;
  one.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 1}, {"b", 1}}));
  two.Write("config.json", "{}").Write("model.safetensors", Shard({{"a", 1}, {"b", 2}, {"c", 0}}));
  const Checkpoint left = Open(one.path()), right = Open(two.path());
  std::string difference;
  CHECK_FALSE(SameListing(left, right, &difference));
  CHECK(difference == "b");
  two.Write("model.safetensors", Shard({{"a", 1}, {"b", 1}, {"c", 0}}));
  CHECK_FALSE(SameListing(left, Open(two.path()), &difference));
  CHECK(difference == "c");
}
