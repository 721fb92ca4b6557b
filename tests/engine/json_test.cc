// SPDX-License-Identifier: Apache-2.0
#include "engine/text/json.h"

#include <thread>

#include "engine/text/json_scan.h"
#include "engine/text/remedy.h"
#include "tests/catch.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

std::string Problem(std::string_view text, JsonLimits limits = {}) {
  Diagnostics diagnostics;
  const auto value = ParseJson("c.json", text, limits, &diagnostics);
  CHECK(value.has_value() == !diagnostics.has_errors());
  return Lines(diagnostics, "");
}

JsonValue Parse(std::string_view text) {
  Diagnostics diagnostics;
  const auto value = ParseJson("c.json", text, {}, &diagnostics);
  INFO(Lines(diagnostics, ""));
  REQUIRE(value.has_value());
  return *value;
}

std::string Nested(size_t depth, char open, char close) {
  std::string text;
  for (size_t i = 0; i < depth; ++i)
    text += open == '{' && i > 0 ? "\"a\":{" : std::string(1, open);
  return text + std::string(depth, close);
}

}  // namespace

TEST_CASE("a mistake in a long line is placed, the line is not shown") {
  Diagnostics diagnostics;
  CHECK_FALSE(ParseJson("c.json", "[\n" + std::string(10'000, ' ') + "x]", {}, &diagnostics));
  CHECK(ToHuman(diagnostics.findings()[0], false) ==
        "error[FR701]: this is not JSON: expected a value, found `x`\n"
        " --> c.json:2:10001\nhelp: " +
            std::string(RemedyOf(Code::kJsonSyntax)) + "\n");
  Diagnostics twice;  // refused for the number first, which has no place
  CHECK_FALSE(ParseJson("c.json", R"({"a":1e999,"a":1})", {}, &twice));
  CHECK(Lines(twice, "") ==
        "c.json:1:12: error[FR702]: `a` stands twice in one object | c.json:1:2: first here | "
        "help: remove one of them; readers differ on which one counts");
}

TEST_CASE("every kind of value is read and knows its place") {
  const JsonValue top = Parse(R"({"a": [null, true, -1, 18446744073709551615, 1.5, "x\n"],
                                  "b/~": {"": {}}, "c": 0})");
  const JsonValue list = top.Find("a");
  REQUIRE(list.size() == 6);
  CHECK(list[0].is_null());
  CHECK(list[1].AsBool() == true);
  CHECK(list[2].AsInt() == -1);
  CHECK_FALSE(list[2].AsUint());
  CHECK(list[3].AsUint() == UINT64_MAX);
  CHECK_FALSE(list[3].AsInt());
  CHECK(list[4].AsNumber() == 1.5);
  CHECK(list[5].AsString() == "x\n");
  CHECK(list[5].location().ToString() == "c.json#/a/5");
  CHECK(top.Find("b/~").Find("").pointer() == "/b~1~0/");
  CHECK(top.pointer().empty());
  CHECK(top.location().ToString() == "c.json");
  std::string names;
  for (const JsonValue member : top) names += std::string(member.name()) + ";";
  CHECK(names == "a;b/~;c;");
  CHECK(top.ToString() ==
        R"({"a":[null,true,-1,18446744073709551615,1.5,"x\u000a"],"b/~":{"":{}},"c":0})");
}

TEST_CASE("what is not there is missing and has no place") {
  const JsonValue top = Parse(R"({"a": null})");
  CHECK_FALSE(top.Find("b"));
  CHECK(top.Find("a"));
  CHECK_FALSE(top.Find("a").Find("b")[3]);
  CHECK(top.Find("b").size() == 0);
  CHECK(top.Find("b").location().ToString().empty());
  CHECK(JsonValue() == top.Find("x"));
}

TEST_CASE("a value of another kind is not converted") {
  const JsonValue list = Parse(R"([1.0, true, "1", -0, 9223372036854775807, 9223372036854775808])");
  CHECK_FALSE(list[0].AsInt());
  CHECK_FALSE(list[1].AsInt());
  CHECK_FALSE(list[2].AsNumber());
  CHECK_FALSE(list[0].AsBool());
  CHECK(list[3].AsInt() == 0);
  CHECK(list[4].AsInt() == INT64_MAX);
  CHECK(list[5].kind() == JsonKind::kUint);
}

TEST_CASE("a value outlives its document's other handles and threads share it") {
  JsonValue list;
  {
    const JsonValue top = Parse(R"({"ignore": ["a", "b"]})");
    list = top.Find("ignore");
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([list] {
      for (const JsonValue entry : list)
        if (entry.pointer().empty()) std::abort();
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(list[1].pointer() == "/ignore/1");
}

TEST_CASE("objects are equal whatever the order of their members") {
  CHECK(Parse(R"({"a": 1, "b": [{"c": 2}]})") == Parse(R"({"b": [{"c": 2}], "a": 1})"));
  CHECK_FALSE(Parse(R"({"a": 1})") == Parse(R"({"a": 1.0})"));
  CHECK_FALSE(Parse(R"([1, 2])") == Parse(R"([2, 1])"));
  CHECK_FALSE(Parse(R"({"a": 1})") == Parse(R"({"b": 1})"));
  CHECK_FALSE(Parse("1") == Parse("-1"));
}

TEST_CASE("case 54: duplicate keys are refused at every level and after unescaping") {
  CHECK(Problem(R"({"a": 1, "b": 2, "a": 1})") ==
        "c.json:1:18: error[FR702]: `a` stands twice in one object | c.json:1:2: first here | "
        "help: remove one of them; readers differ on which one counts");
  CHECK(Problem(R"({"q": [0, {"a": 1, "\u0061": 1}]})") ==
        "c.json:1:20: error[FR702]: `a` stands twice in one object | c.json:1:12: first here | "
        "help: remove one of them; readers differ on which one counts");
  CHECK(Problem(R"({"a": {"a": {"a": 1}}})").empty());
}

TEST_CASE("case 55: NaN and Infinity are not JSON") {
  const std::string help =
      " | help: Python writes it, JSON does not have it: write null, or leave the key out";
  CHECK(Problem("{\"a\": NaN}") ==
        "c.json:1:7: error[FR701]: this is not JSON: expected a value, found `NaN`" + help);
  CHECK(Problem("[\n 1,\n -Infinity]") ==
        "c.json:3:2: error[FR701]: this is not JSON: expected a value, found `-Infinity`" + help);
  CHECK(Problem("[-x]") ==
        "c.json:1:3: error[FR701]: this is not JSON: a number that is not JSON's");
  CHECK(Problem("[1e999]") ==
        "c.json: error[FR701]: this is not JSON as ferrule reads it: a number is too large");
  CHECK(Problem("[18446744073709551616]") ==
        "c.json: error[FR701]: this is not JSON as ferrule reads it: a number is too large");
}

TEST_CASE("Infinity, which Python writes, is null where the caller says so") {
  JsonLimits limits;
  limits.infinity_is_null = true;
  Diagnostics out;
  const auto value =
      ParseJson("c.json", R"({"a": [0.0, Infinity], "b": -Infinity, "d": "\"-Infinity", "e": -1})",
                limits, &out);
  REQUIRE(value);
  CHECK(value->ToString() == R"({"a":[0.0,null],"b":null,"d":"\"-Infinity","e":-1})");
  CHECK(Problem("{\"a\": Infinit}", limits) ==
        "c.json:1:7: error[FR701]: this is not JSON: expected a value, found `Infinit`");
  CHECK(Problem("{\"a\": Infinity, \"b\": NaN}", limits) ==
        "c.json:1:22: error[FR701]: this is not JSON: expected a value, found `NaN` | help: Python "
        "writes it, JSON does not have it: write null, or leave the key out");
  CHECK(Problem("{Infinity: 1}", limits) ==
        "c.json:1:2: error[FR701]: this is not JSON: expected a name in quotes");
}

TEST_CASE("case 56: size and depth are limited") {
  CHECK(Problem("[1, 2]", {6, 64}).empty());
  CHECK(Problem("[1, 2] ", {6, 64}) ==
        "c.json: error[FR703]: the file has 7 bytes; at most 6 are read");
  for (const char* pair : {"[]", "{}"}) {
    CHECK(Problem(Nested(64, pair[0], pair[1])).empty());
    CHECK(Problem(Nested(65, pair[0], pair[1])).find("error[FR703]: more than 64 levels") !=
          std::string::npos);
  }
  CHECK(Problem(Nested(1'000'000, '[', ']')) ==
        "c.json: error[FR703]: the value is nested too deep");
}

TEST_CASE("case 57: texts are UTF-8 without lone surrogates") {
  CHECK(Problem("[\"\xff\"]") ==
        "c.json:1:3: error[FR701]: this is not JSON: a text that is not UTF-8");
  CHECK(Problem("[\"\xed\xa0\x80\"]") ==
        "c.json:1:3: error[FR701]: this is not JSON: a text that is not UTF-8");
  CHECK(Problem(R"(["\ud800"])") ==
        "c.json:1:3: error[FR701]: this is not JSON: half of a surrogate pair");
  CHECK(Problem(R"(["\udc00"])") ==
        "c.json:1:3: error[FR701]: this is not JSON: half of a surrogate pair");
  CHECK(Problem(R"({"\udc00": 1})") ==
        "c.json:1:3: error[FR701]: this is not JSON: half of a surrogate pair");
  CHECK(Problem(R"(["\ud800\u0041"])") ==
        "c.json:1:3: error[FR701]: this is not JSON: half of a surrogate pair");
  CHECK(Problem(R"(["\ud834\udd1e"])").empty());
  CHECK(Problem("\xEF\xBB\xBF{}") ==
        "c.json:1:1: error[FR701]: the file starts with a byte-order mark | help: save it as UTF-8 "
        "without byte-order mark");
  CHECK(Problem(std::string_view("\xFF\xFE{\0}\0", 6)) ==
        "c.json:1:1: error[FR701]: this is not JSON: expected a value");
}

TEST_CASE("what is not one JSON value is refused with its place") {
  CHECK(Problem("") ==
        "c.json:1:1: error[FR701]: this is not JSON: it ends where a value should be");
  CHECK(Problem("  ") ==
        "c.json:1:3: error[FR701]: this is not JSON: it ends where a value should be");
  CHECK(Problem("{} {}") ==
        "c.json:1:4: error[FR701]: this is not JSON: text after the end of the value");
  CHECK(Problem("{\"a\": 1,}") ==
        "c.json:1:9: error[FR701]: this is not JSON: expected a name in quotes");
  CHECK(Problem("{\"a\": 1\n \"é\": 2}") ==
        "c.json:2:2: error[FR701]: this is not JSON: expected `,` or `}`");
  CHECK(Problem("{\"é\" 2}") == "c.json:1:6: error[FR701]: this is not JSON: expected `:`");
  CHECK(Problem("{'a': 1}") ==
        "c.json:1:2: error[FR701]: this is not JSON: expected a name in quotes");
  CHECK(Problem("// no\n{}") == "c.json:1:1: error[FR701]: this is not JSON: expected a value");
  CHECK(Problem("[01]") ==
        "c.json:1:4: error[FR701]: this is not JSON: a number that is not JSON's");
  CHECK(Problem("[1.]") ==
        "c.json:1:4: error[FR701]: this is not JSON: a number that is not JSON's");
  CHECK(Problem("[\"a\tb\"]") ==
        "c.json:1:4: error[FR701]: this is not JSON: a control character in a text");
  CHECK(Problem("[\"\\x\"]") ==
        "c.json:1:3: error[FR701]: this is not JSON: an escape that JSON does not have");
  CHECK(Problem("[\"a") == "c.json:1:4: error[FR701]: this is not JSON: it ends within a text");
  CHECK(Problem("[1, 2") ==
        "c.json:1:6: error[FR701]: this is not JSON: it ends within a list or object");
  CHECK(Problem("tru") ==
        "c.json:1:1: error[FR701]: this is not JSON: expected a value, found `tru`");
}

TEST_CASE("the scanner and simdjson accept the same texts") {
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           "\"a\"",
                                           "\"b\\n\"",
                                           "1",
                                           "-0.5E-3",
                                           "0",
                                           "00",
                                           "true",
                                           "nul",
                                           "null",
                                           " ",
                                           "\n",
                                           "\"\\u00e9\"",
                                           "\"\\ud834\\udd1e\"",
                                           "\"\\udc00\"",
                                           "\"é\"",
                                           "\xff",
                                           "\"",
                                           "1.",
                                           "-"};
  uint64_t random = 1;
  const auto next = [&](size_t n) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return static_cast<size_t>((random >> 33) % n);
  };
  size_t good = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    for (size_t left = 1 + next(9); left > 0; --left) text += pieces[next(pieces.size())];
    Arena arena;
    JsonScan scan(text, &arena);
    const bool scanned = scan.Skip(64) && scan.End();
    Diagnostics diagnostics;
    const bool parsed = ParseJson("t", text, {}, &diagnostics).has_value();
    good += parsed;
    INFO(text << " " << scan.problem() << Lines(diagnostics, ""));
    REQUIRE(scanned == parsed);
  }
  CHECK(good > 5'000);
}
