// SPDX-License-Identifier: Apache-2.0
// What a runtime's functions do on small files of their own; that they do what engines do is shown
// by `ferrule decide` over tests/oracle.
#include "engine/runtimes/emulation.h"

#include "tests/catch.h"

using namespace ferrule;

namespace {

std::shared_ptr<const Runtime> Read(const std::string& rest) {
  Diagnostics out;
  std::vector<std::shared_ptr<Runtime>> runtimes = {ParseRuntime(
      "engine@1.yaml", "ferrule: 1\nruntime: engine\nversion: 1\nabout: a test\n" + rest, &out)};
  if (runtimes[0] != nullptr) ResolveRuntimes(&runtimes, &out);
  INFO(ToHuman(out, false));
  REQUIRE(out.findings().empty());
  return runtimes[0];
}

RuntimeAnswer Ask(const Runtime& runtime, const std::string& row) {
  Diagnostics out;
  const auto json = ParseJson("row", row, {}, &out);
  REQUIRE(json);
  std::string why;
  const auto question = ReadRuntimeQuestion(*json, {}, &why);
  INFO(why);
  REQUIRE(question);
  PythonRegexes regexes;
  return Emulate(runtime, "f", *question, &regexes);
}

}  // namespace

TEST_CASE("a pattern that RE2 cannot express is unsupported only where the answer hangs on it") {
  const auto runtime = Read("functions: {f: {match: [re:match, exact], steps: {test: listed}}}");
  struct Row {
    const char *it, *list, *result;
  };
  const std::vector<Row> rows = {
      {"nothing else decides", R"(["re:(?!b)a", "x"])", "unsupported"},
      {"a later entry matches anyway", R"(["re:(?!b)a", "a"])", "skip"},
      {"an entry before it matches", R"(["a", "re:(?!b)a"])", "skip"},
      {"a later entry raises, or does not if it matched", R"(["re:(?!b)a", "re:["])",
       "unsupported"},
      {"a bad pattern raises", R"(["re:[", "a"])", "error"},
      {"a bad pattern after a hit is never read", R"(["a", "re:["])", "skip"},
  };
  for (const Row& row : rows) {
    INFO(row.it);
    CHECK(Ask(*runtime, std::string(R"({"prefix": "a", "list": )") + row.list + "}").result ==
          row.result);
  }
}

TEST_CASE("parts are rewritten as the engine does it, and compared") {
  const auto every = Read(
      "functions:\n  f:\n    fused: {maps: [argument], rewrite: every}\n    match: exact\n"
      "    steps:\n      - {if: fused, then: {parts: {test: listed}, disagree: ValueError}}\n"
      "      - test: listed\n");
  const std::string row = R"({"prefix": "v.qkv_x.qkv", "map": {"qkv": ["q", "k"]}, "list": )";
  // str.replace spoils the segment above.
  CHECK(Ask(*every, row + R"(["v.qkv_x.q", "v.qkv_x.k"]})").result == "quant");
  CHECK(Ask(*every, row + R"(["v.q_x.q", "v.k_x.k"]})").result == "skip");
  const RuntimeAnswer half = Ask(*every, row + R"(["v.q_x.q"]})");
  CHECK(half.result == "error");
  CHECK(half.error == "ValueError");
}

TEST_CASE("a function that asks itself without end is a RecursionError") {
  const auto runtime = Read("functions: {f: {steps: {ask: f}}}");
  CHECK(Ask(*runtime, R"({"prefix": "a"})").error == "RecursionError");
}

TEST_CASE("a function that does not decide says so") {
  const auto runtime = Read("functions: {f: {match: exact, steps: [{if: listed, then: skip}]}}");
  CHECK(Ask(*runtime, R"({"prefix": "a", "list": []})").error == "undecided");
}

TEST_CASE("a tree is walked as named_modules walks it, the root first") {
  const auto runtime = Read(
      "functions:\n  f:\n    tree: {modules: modules, leaf: Linear, container: Module, field: "
      "names}\n"
      "    match: regex-match\n"
      "    steps:\n      - {if: listed, then: skip, else: quant}\n");
  const RuntimeAnswer all = Ask(*runtime, R"({"modules": ["b.c", "a", "b.d"], "list": []})");
  REQUIRE(all.fields.size() == 1);
  CHECK(all.fields[0].second == R"(["","b","b.c","b.d","a"])");
  CHECK(Ask(*runtime, R"({"modules": ["a"], "list": ["["]})").error == "re.error");
}

TEST_CASE("a runtime keeps the files that it leads to, and nothing keeps them when it is gone") {
  Diagnostics out;
  auto book = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  REQUIRE(book);
  const std::weak_ptr<const Runtime> first = book->runtimes[0];
  auto runtime = book->Find("sglang@0.5.11", &out);
  REQUIRE(runtime != nullptr);
  book.reset();
  REQUIRE_FALSE(runtime->origins.empty());
  CHECK(runtime->Home(runtime->origins[0].first).engine == "sglang");
  CHECK_FALSE(first.expired());
  runtime.reset();
  CHECK(first.expired());
}

TEST_CASE("versions: an exact name, a release that a file covers, and what nothing covers") {
  Diagnostics out;
  const auto book = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(book);
  REQUIRE(book->Find("sglang@0.5.11", &out) != nullptr);
  CHECK(book->Find("sglang@0.5.11", &out)->version == "0.5.12");
  CHECK(book->Find("sglang@4323fce82", &out)->version == "4323fce82");
  CHECK(out.findings().empty());
  CHECK(book->Find("sglang@9", &out) == nullptr);
  CHECK(out.findings().size() == 1);
}

TEST_CASE("a word of a template is the entry's, the description's or its own") {
  const auto runtime = Read(
      "functions:\n  f:\n    steps:\n      - first: own\n        match: exact\n"
      "        then: '{value.bits or input bits or 4} {value without bits} {value.parts.1} "
      "{nothing}'\n");
  const std::string row = R"({"prefix": "a", "own": {"a": )";
  CHECK(Ask(*runtime, row + R"({"bits": 3}}, "bits": 8})").result == "3 {}  ");
  CHECK(Ask(*runtime, row + R"({"parts": ["x", "y"]}}, "bits": 8})").result ==
        R"(8 {"parts":["x","y"]} y )");
  CHECK(Ask(*runtime, row + R"({"bits": null}}})").result == "4 {}  ");
}

TEST_CASE("the values of an object may be asked again below the name of an answer's field") {
  const auto runtime = Read(
      "functions:\n  f:\n    steps: {ask: g, then: '{config.weight.dtype} "
      "{config.input.0.dtype}'}\n"
      "helpers:\n  g:\n    steps:\n      - first: own\n        match: exact\n"
      "        then: {result: found, fields: {config: '{value}'}}\n");
  CHECK(
      Ask(*runtime,
          R"({"prefix": "a", "own": {"a": {"weight": {"dtype": "f"}, "input": [{"dtype": "g"}]}}})")
          .result == "f g");
}

TEST_CASE("entries of a list are put together as parts are, and an empty list is no missing one") {
  const auto runtime = Read(
      "functions:\n  f:\n    steps:\n      - if: {not: {present: own}}\n"
      "        then: {raise: 'KeyError: {input what}'}\n"
      "      - parts: {first: own, match: exact, then: '{value}'}\n        of: in.names\n"
      "        disagree: ValueError\n      - none\n");
  const std::string row = R"({"prefix": "a", "what": "own", "in": {"names": ["x", "y"]})";
  CHECK(Ask(*runtime, row + R"(, "own": {"x": "1", "y": "1", "z": "2"}})").result == "1");
  CHECK(Ask(*runtime, row + R"(, "own": {"x": "1", "y": "2"}})").error == "ValueError");
  CHECK(Ask(*runtime, row + R"(, "own": {}})").result == "none");
  CHECK(Ask(*runtime, row + "}").error == "KeyError: own");
}

TEST_CASE("a list is normalised once for all questions about it, and for each key by itself") {
  const auto runtime = Read(
      "functions:\n  f:\n    lists:\n      list: {from: list, keys: [a], forms: [{prepend: lm.}]}\n"
      "    match: exact\n    steps: {test: listed}\n");
  Diagnostics out;
  const auto json =
      ParseJson("row", R"({"prefix": "lm.b", "list": ["b", "c"], "key": "a"})", {}, &out);
  REQUIRE(json);
  std::string why;
  auto question = ReadRuntimeQuestion(*json, {}, &why);
  REQUIRE(question);
  PythonRegexes regexes;
  question->texts["key"] = "a";
  CHECK(Emulate(*runtime, "f", *question, &regexes).result == "skip");
  REQUIRE(question->built.size() == 1);
  const QuestionEntry* const entries = question->built.begin()->second.data();
  question->name = "lm.d";
  CHECK(Emulate(*runtime, "f", *question, &regexes).result == "quant");
  CHECK(question->built.size() == 1);
  CHECK(question->built.begin()->second.data() == entries);
  question->name = "lm.b";
  question->texts["key"] = "z";  // another key: the list is empty for it
  CHECK(Emulate(*runtime, "f", *question, &regexes).result == "quant");
  CHECK(question->built.size() == 2);
}
