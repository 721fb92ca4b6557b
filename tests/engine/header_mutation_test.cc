// SPDX-License-Identifier: Apache-2.0
// Valid headers, broken at random: the reader accepts exactly what the slow second opinion accepts.
#include "engine/checkpoint/safetensors.h"
#include "tests/catch.h"
#include "tests/engine/mutate.h"
#include "tests/fuzz/slow_header.h"

using namespace ferrule;
using test::Random;

namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;  // keys and values as JSON
struct Entry {
  std::string name;
  Fields fields;
};

std::vector<Entry> Valid(Random& random, uint64_t* data) {
  const std::vector<std::pair<std::string, uint64_t>> dtypes = {
      {"BF16", 16}, {"F8_E4M3", 8}, {"F32", 32}, {"F4", 4}, {"I64", 64}};
  std::vector<Entry> entries;
  for (size_t i = 0, n = 1 + random(5); i < n; ++i) {
    const auto& [dtype, bits] = random.Of(dtypes);
    std::string shape;
    uint64_t elements = 1;
    for (size_t rank = random(4); rank > 0; --rank) {
      const size_t dim = 2 * random(4);
      shape += (shape.empty() ? "" : ",") + std::to_string(dim);
      elements *= dim;
    }
    if (bits == 4 && elements % 2 == 1) shape = "2", elements = 2;
    const uint64_t end = *data + elements * bits / 8;
    entries.push_back(
        {"model.layers." + std::to_string(i) + ".w",
         {{"dtype", "\"" + dtype + "\""},
          {"shape", "[" + shape + "]"},
          {"data_offsets", "[" + std::to_string(*data) + "," + std::to_string(end) + "]"}}});
    *data = end;
  }
  return entries;
}

void MutateStructure(Random& random, std::vector<Entry>& entries) {
  const std::vector<std::string> values = {"[0,0]",
                                           "[]",
                                           "[2]",
                                           "[2,2]",
                                           "[0,8]",
                                           "[8,16]",
                                           "[4294967296,4294967296]",
                                           "[0,281474976710657]",
                                           "[1,1,1,1,1,1,1,1,1]",
                                           "[18446744073709551615,0]",
                                           "[18446744073709551616]",
                                           "[-1,4]",
                                           "[1.5]",
                                           "\"F32\"",
                                           "\"F6_E2M3\"",
                                           "\"U8\"",
                                           "\"X\"",
                                           "null",
                                           "{}",
                                           "7",
                                           "[[2]]",
                                           "[\"2\"]"};
  const std::vector<std::string> names = {
      "",
      "a",
      "a\\u0000",
      "__metadata__",
      "\\u006dodel.layers.0.w",
      "\\udc00",
      "a\\nb",
      "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a",
      "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"};
  Entry& entry = entries[random(entries.size())];
  Fields& fields = entry.fields;
  switch (random(8)) {
    case 0:
      fields[random(fields.size())].second = random.Of(values);
      break;
    case 1:
      if (fields.size() > 1)
        fields.erase(fields.begin() + static_cast<ptrdiff_t>(random(fields.size())));
      break;
    case 2:
      fields.push_back(fields[random(fields.size())]);
      break;
    case 3:
      fields[random(fields.size())].first = random(2) ? "extra" : "dtyp\\u0065";
      break;
    case 4:
      entry.name = random.Of(names);
      break;
    case 5:
      entries.push_back(Entry(entry));
      break;
    case 6:
      std::swap(entry, entries[random(entries.size())]);
      break;
    case 7:
      std::swap(fields[random(fields.size())], fields[random(fields.size())]);
      break;
  }
}

std::string Text(Random& random, const std::vector<Entry>& entries) {
  const auto space = [&] { return random(16) == 0 ? " \n" : ""; };
  std::string text = "{";
  for (const Entry& entry : entries) {
    text += (text.size() > 1 ? ",\"" : "\"") + entry.name + "\":{";
    for (const auto& [key, value] : entry.fields)
      text += (text.back() == '{' ? "\"" : ",\"") + key + "\":" + space() + value;
    text += std::string(space()) + "}";
  }
  return text + "}" + std::string(random(4), ' ');
}

void MutateBytes(Random& random, std::string& text) {
  const std::string_view likely = "{}[],:\"0123456789-.eE \n\\u\xff\xc3";
  const size_t at = random(text.size());
  switch (random(5)) {
    case 0:
      text[at] = likely[random(likely.size())];
      break;
    case 1:
      text[at] = static_cast<char>(text[at] ^ (1 << random(8)));
      break;
    case 2:
      text.erase(at, 1 + random(4));
      break;
    case 3:
      text.insert(at, 1, likely[random(likely.size())]);
      break;
    case 4:
      text.insert(at, text.substr(random(text.size()), random(20)));
      break;
  }
  if (text.empty()) text = "{";
}

void Same(const TensorTable& table, const PathTable& names, const std::vector<SlowTensor>& slow) {
  REQUIRE(table.tensors.size() == slow.size());
  for (const SlowTensor& expected : slow) {
    const int32_t at = names.At(expected.name);
    REQUIRE(at >= 0);
    const Tensor& tensor = table.tensors[static_cast<size_t>(at)];
    REQUIRE(tensor.begin == expected.begin + 8);
    REQUIRE(tensor.end == expected.end + 8);
    REQUIRE(DTypeName(tensor.dtype) == expected.dtype);
    const auto shape = table.shape(tensor);
    REQUIRE(std::vector<uint64_t>(shape.begin(), shape.end()) == expected.shape);
  }
}

}  // namespace

TEST_CASE("the reader accepts what is right and nothing else, 20,000 headers") {
  Random random(20'24);
  size_t accepted = 0, refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    uint64_t data = 0;
    std::vector<Entry> entries = Valid(random, &data);
    const size_t kind = random(8);
    if (kind < 4)
      for (size_t n = 1 + random(2); n > 0; --n) MutateStructure(random, entries);
    std::string text = Text(random, entries);
    if (kind >= 4 && kind < 7)
      for (size_t n = 1 + random(3); n > 0; --n) MutateBytes(random, text);
    if (random(16) == 0) data += random(3);
    TensorTable table;
    Diagnostics diagnostics;
    const bool read = ParseHeader("f", text, 8, data, 0, nullptr, &table, &diagnostics);
    REQUIRE(read != diagnostics.has_errors());
    REQUIRE((read || table.tensors.empty()));
    PathTable names = TableOfNames(table.tensors);
    const bool fast = read && names.Seal().empty();
    const auto slow = SlowHeader(text, data);
    INFO(text);
    INFO(ToHuman(diagnostics, false));
    // The tree of the second opinion cannot tell `-0` from `0`; the reader refuses it.
    if (fast || text.find("-0") == std::string::npos) REQUIRE(fast == slow.has_value());
    if (fast) Same(table, names, *slow);
    ++(fast ? accepted : refused);
  }
  CHECK(accepted > 4'000);
  CHECK(refused > 8'000);
}
