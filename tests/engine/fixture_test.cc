// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/fixture.h"

#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/opened.h"

using namespace ferrule;
using test::Open;
using test::Problem;

namespace {

std::string WithFixture(std::string_view fixture) {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("tensors.json", fixture);
  return Problem(directory);
}

std::string WithEntry(const std::string& entry) {
  return WithFixture("{\"tensors\":[" + entry + "]}");
}

}  // namespace

TEST_CASE("a fixture is expanded to every layer and expert") {
  const TempDir directory;
  directory.Write("config.json", "{}").Write("tensors.json", R"({"note": "free text",
    "total_tensors": 12, "total_elements": 178, "total_bytes": 339, "tensors": [
    {"name": "model.norm", "shape": [], "dtype": "BF16"},
    {"name": "m.{L}.a", "shape": [3, 1], "dtype": "U8", "L": [0, 11]},
    {"name": "m.{L}.experts.{E}", "shape": [20], "dtype": "BF16", "L": [2, 10], "E": 4},
    {"name": "{E}.{L}", "shape": [11], "dtype": "U8", "L": [7], "E": 1}]})");
  const Checkpoint checkpoint = Open(directory);
  CHECK(checkpoint.has_headers);
  CHECK_FALSE(checkpoint.has_weights);
  CHECK(checkpoint.tensors().size() == 12);
  const Tensor* const tensor = checkpoint.Find("m.10.experts.3");
  REQUIRE(tensor);
  CHECK(tensor->end == 0);
  CHECK(ShapeText(checkpoint.shape(*tensor)) == "[20]");
  CHECK(checkpoint.table.Bytes(*tensor) == 40);
  for (const char* name : {"model.norm", "m.11.a", "m.2.experts.0", "0.7"})
    CHECK(checkpoint.Find(name));
  CHECK(checkpoint.LocationOf(*tensor).ToString() == directory / "tensors.json");
  Diagnostics diagnostics;
  char byte;
  CHECK_FALSE(checkpoint.ReadBytes(*tensor, 0, 1, &byte, &diagnostics));
}

TEST_CASE("what is wrong with a fixture is said at its place") {
  CHECK(WithFixture("{}") ==
        "D/tensors.json: error[FR714]: a fixture is an object with a list `tensors`");
  CHECK(WithFixture("[]") == "D/tensors.json: error[FR704]: expected an object, found a list");
  CHECK(WithFixture(R"({"tensors":{}})") ==
        "D/tensors.json: error[FR714]: a fixture is an object with a list `tensors`");
  CHECK(WithEntry("3") ==
        "D/tensors.json#/tensors/0: error[FR714]: expected an object, found a whole number");
  CHECK(WithEntry(R"({"shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0: error[FR714]: an entry needs a `name`, which is text");
  CHECK(WithEntry(R"({"name":"","shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/name: error[FR713]: a tensor has an empty name");
  CHECK(WithEntry(R"({"name":"a","shape":[1]})") ==
        "D/tensors.json#/tensors/0: error[FR714]: an entry needs a `dtype`, which is text");
  CHECK(WithEntry(R"({"name":"a","shape":[1],"dtype":"E4M3"})") ==
        "D/tensors.json#/tensors/0/dtype: error[FR710]: `a` has dtype `E4M3`, which safetensors "
        "does not have");
  CHECK(WithEntry(R"({"name":"a","dtype":"U8"})") ==
        "D/tensors.json#/tensors/0: error[FR714]: an entry needs a `shape`, which is a list");
  CHECK(WithEntry(R"({"name":"a","shape":[1.5],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/shape/0: error[FR711]: `a`: a dimension is a whole number from "
        "0 on");
  CHECK(WithEntry(R"({"name":"a","shape":[-1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/shape/0: error[FR711]: `a`: a dimension is a whole number from "
        "0 on");
  CHECK(WithEntry(R"({"name":"a","shape":[4294967296,4294967296],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/shape: error[FR711]: `a`: shape [4294967296, 4294967296] has "
        "more than 2^48 elements");
  CHECK(WithEntry(R"({"name":"a","shape":[1,1,1,1,1,1,1,1,1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/shape: error[FR711]: `a` has more than 8 dimensions");
  CHECK(WithEntry(R"({"name":"a","shape":[1],"dtype":"F4"})") ==
        "D/tensors.json#/tensors/0/shape: error[FR711]: `a`: F4 of shape [1] has 4 bits, no whole "
        "number of bytes");
  CHECK(WithEntry(R"({"name":"a","shape":[1],"dtype":"U8","l":[1]})") ==
        "D/tensors.json#/tensors/0/l: error[FR714]: an entry has a key `l` that the format does "
        "not have");
  CHECK(WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0: error[FR714]: `a.{L}`: `{L}` in the name and the list `L` go "
        "together");
  CHECK(WithEntry(R"({"name":"a","shape":[1],"dtype":"U8","L":[1]})") ==
        "D/tensors.json#/tensors/0: error[FR714]: `a`: `{L}` in the name and the list `L` go "
        "together");
  CHECK(WithEntry(R"({"name":"a.{E}","shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0: error[FR714]: `a.{E}`: `{E}` in the name and the count `E` go "
        "together");
  CHECK(WithEntry(R"({"name":"a","shape":[1],"dtype":"U8","E":1})") ==
        "D/tensors.json#/tensors/0: error[FR714]: `a`: `{E}` in the name and the count `E` go "
        "together");
  CHECK(WithEntry(R"({"name":"a.{L}.{L}","shape":[1],"dtype":"U8","L":[1]})") ==
        "D/tensors.json#/tensors/0/name: error[FR714]: `a.{L}.{L}` may hold `{L}` and `{E}` once "
        "each and no other braces");
  CHECK(WithEntry(R"({"name":"a.{X}","shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/name: error[FR714]: `a.{X}` may hold `{L}` and `{E}` once each "
        "and no other braces");
  CHECK(WithEntry(R"({"name":"a}","shape":[1],"dtype":"U8"})") ==
        "D/tensors.json#/tensors/0/name: error[FR714]: `a}` may hold `{L}` and `{E}` once each and "
        "no other braces");
  CHECK(
      WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8","L":[]})") ==
      "D/tensors.json#/tensors/0/L: error[FR714]: `L` must be a list of layer numbers, not empty");
  CHECK(
      WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8","L":3})") ==
      "D/tensors.json#/tensors/0/L: error[FR714]: `L` must be a list of layer numbers, not empty");
  CHECK(WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8","L":[0,-1]})") ==
        "D/tensors.json#/tensors/0/L/1: error[FR714]: a layer number is a whole number from 0 to "
        "999999999");
  CHECK(WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8","L":[1000000000]})") ==
        "D/tensors.json#/tensors/0/L/0: error[FR714]: a layer number is a whole number from 0 to "
        "999999999");
  CHECK(WithEntry(R"({"name":"a.{E}","shape":[1],"dtype":"U8","E":0})") ==
        "D/tensors.json#/tensors/0/E: error[FR714]: `E` must be the number of experts, at least 1");
  CHECK(WithEntry(R"({"name":"a.{E}","shape":[1],"dtype":"U8","E":[1]})") ==
        "D/tensors.json#/tensors/0/E: error[FR714]: `E` must be the number of experts, at least 1");
  CHECK(
      WithEntry(R"({"name":"a","shape":[1],"dtype":"U8"},{"name":"a","shape":[1],"dtype":"U8"})") ==
      "D/tensors.json: error[FR702]: `a` stands twice in one file");
  CHECK(WithEntry(R"({"name":"a.{L}","shape":[1],"dtype":"U8","L":[1,1]})") ==
        "D/tensors.json: error[FR702]: `a.1` stands twice in one file");
  CHECK(WithEntry(R"(1,{"name":2})") ==
        "D/tensors.json#/tensors/0: error[FR714]: expected an object, found a whole number\n"
        "D/tensors.json#/tensors/1/name: error[FR714]: an entry needs a `name`, which is text");
}

TEST_CASE("totals of a fixture are compared") {
  const std::string entries =
      R"("tensors":[{"name":"a.{L}","shape":[3],"dtype":"BF16","L":[0,1]}]})";
  CHECK(
      WithFixture(R"({"total_tensors":2,"total_elements":6,"total_bytes":12,)" + entries).empty());
  CHECK(
      WithFixture(R"({"total_tensors":3,)" + entries) ==
      "D/tensors.json#/total_tensors: error[FR714]: `total_tensors` is 3, but the entries give 2");
  CHECK(WithFixture(R"({"total_elements":12,)" + entries) ==
        "D/tensors.json#/total_elements: error[FR714]: `total_elements` is 12, but the entries "
        "give 6");
  CHECK(WithFixture(R"({"total_bytes":"12",)" + entries) ==
        "D/tensors.json#/total_bytes: error[FR714]: `total_bytes` is \"12\", but the entries give "
        "12");
}

TEST_CASE("a fixture is counted before it is expanded") {
  CHECK(WithEntry(R"({"name":"{L}.{E}","shape":[],"dtype":"U8","L":[1,2],"E":1000000})").empty());
  CHECK(WithEntry(R"({"name":"a.{E}","shape":[1],"dtype":"U8","E":1000000000000})") ==
        "D/tensors.json#/tensors/0/E: error[FR703]: the fixture has more than 2000000 tensors");
  CHECK(WithEntry(R"({"name":"{L}.{E}","shape":[1],"dtype":"U8","L":[1,2],"E":1000001})") ==
        "D/tensors.json#/tensors/0: error[FR703]: the fixture has more than 2000000 tensors");
  CHECK(WithEntry("{\"name\":\"" + std::string(500, 'x') +
                  R"({E}","shape":[1],"dtype":"U8","E":1900000})") ==
        "D/tensors.json#/tensors/0: error[FR703]: the names take more than 268435456 bytes");
  CHECK(WithEntry(R"({"name":"{E}","shape":[281474976710656],"dtype":"F64","E":1900000})") ==
        "D/tensors.json#/tensors/0: error[FR711]: the tensors have more than 2^62 bytes");
}
