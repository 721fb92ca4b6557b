// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/name_match.h"

#include <fstream>

#include "engine/text/json.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

std::vector<JsonValue> Rows(const std::string& file) {
  std::ifstream in(FERRULE_TEST_DATA "/data/" + file);
  std::vector<JsonValue> rows;
  for (std::string line; std::getline(in, line);) {
    Diagnostics out;
    auto row = ParseJson(file, line, {}, &out);
    REQUIRE(row);
    rows.push_back(*row);
  }
  return rows;
}

// Like the recorded answers of Python: match, search and fullmatch as 0 or 1, or the error's class.
std::string Answer(std::string_view pattern, std::string_view name, PythonModule module) {
  const PythonRegex regex(pattern, module);
  std::string out;
  for (const Anchor anchor : {Anchor::kMatch, Anchor::kSearch, Anchor::kFull}) {
    const PythonRegex::Verdict verdict = regex.Match(name, anchor);
    if (verdict == PythonRegex::Verdict::kRaises) return std::string(regex.error());
    if (verdict == PythonRegex::Verdict::kUnsupported) return "unsupported: " + regex.why();
    out += verdict == PythonRegex::Verdict::kYes ? '1' : '0';
  }
  return out;
}

}  // namespace

TEST_CASE("each primitive keeps to its boundaries") {
  struct Row {
    const char* it;
    bool (*primitive)(std::string_view, std::string_view);
    const char *entry, *path;
    bool names;
  };
  const std::vector<Row> rows = {
      {"the whole path", IsExact, "mlp.gate", "mlp.gate", true},
      {"no part of it", IsExact, "gate", "mlp.gate", false},
      {"a container", IsAncestor, "a.mlp", "a.mlp.gate", true},
      {"no neighbour that begins alike", IsAncestor, "a.mlp.gate", "a.mlp.gate_proj", false},
      {"segments in the middle", HasSegments, "mlp.gate", "a.mlp.gate.b", true},
      {"a second place where the first ends within a segment", HasSegments, "g", "gg.g", true},
      {"no piece of a segment", HasSegments, "mlp.gate", "a.mlp.gate_up_proj", false},
      {"an empty entry names an empty segment only", HasSegments, "", "a.b", false},
      {"an empty entry and an empty segment", HasSegments, "", "a..b", true},
      {"an empty entry and an empty last segment", HasSegments, "", "a.", true},
      {"last segments", HasLastSegments, "5.g_proj", "layers.5.g_proj", true},
      {"no last letters", HasLastSegments, "5.g_proj", "layers.15.g_proj", false},
      {"last letters", HasSuffix, "b_proj", "a.kv_b_proj", true},
      {"one segment", HasSegment, "mlp", "a.mlp.gate", true},
      {"not two", HasSegment, "a.mlp", "a.mlp.gate", false},
      {"any text", HasText, "layers.1", "layers.10.x", true},
      {"any case", HasTextNoCase, "MLP.Gate", "a.mlp.gate_up", true},
      {"an empty text is everywhere", HasTextNoCase, "", "", true},
      {"the path within the entry", IsTextOf, "a.experts.0.w1", "a.experts", true},
  };
  for (const Row& row : rows) {
    INFO(row.it);
    CHECK(row.primitive(row.entry, row.path) == row.names);
  }
}

TEST_CASE("replacing is Python's str.replace") {
  CHECK(ReplaceEvery("visual.qkv_blocks.0.attn.qkv", "qkv", "q") == "visual.q_blocks.0.attn.q");
  CHECK(ReplaceEvery("aaa", "aa", "b") == "ba");
  CHECK(ReplaceEvery("ab", "", "-") == "-a-b-");
  CHECK(ReplaceFirst("model.a.model.b", "model.", "") == "a.model.b");
  CHECK(ModelOptGlob("a.*b+") == "a\\..*b+");
}

TEST_CASE("globs are answered as Python's fnmatch answers them") {
  for (const JsonValue& row : Rows("python_globs.jsonl")) {
    INFO(row.ToString());
    CHECK(Glob(row.Find("glob").Text(), row.Find("name").Text()) == *row.Find("matches").AsBool());
  }
}

TEST_CASE("a glob of many stars takes no exponential time") {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  CHECK_FALSE(Glob(pattern + "b", std::string(2000, 'a')));
}

TEST_CASE("patterns are answered or refused as Python's re and the regex module do") {
  for (const JsonValue& row : Rows("python_patterns.jsonl")) {
    INFO(row.ToString());
    const auto pattern = row.Find("pattern").Text(), name = row.Find("name").Text();
    CHECK(Answer(pattern, name, PythonModule::kRe) == row.Find("re").Text());
    const std::string regex = Answer(pattern, name, PythonModule::kRegex);
    if (regex.rfind("unsupported: flags after", 0) != 0) CHECK(regex == row.Find("regex").Text());
  }
}

TEST_CASE("what RE2 cannot express is said, and errors go before it") {
  struct Row {
    const char *pattern, *answer;
  };
  const std::vector<Row> rows = {
      {"(?!.*visual).*", "unsupported: look-ahead"},
      {".*(?<!q)_proj$", "unsupported: look-behind"},
      {"(a)\\1", "unsupported: a back-reference"},
      {"(?P<n>a)(?P=n)", "unsupported: a back-reference"},
      {"(?>a)b", "unsupported: an atomic group"},
      {"a*+b", "unsupported: a possessive quantifier"},
      {"(a)?(?(1)b|c)", "unsupported: a conditional"},
      {"a{1001}", "unsupported: a count above 1,000"},
      {"(?!a)[b-", "error"},
      {"(?<=a*)b", "error"},
      {"(?(2)a|b)", "error"},
      {"\\1", "error"},
  };
  for (const Row& row : rows) {
    INFO(row.pattern);
    CHECK(Answer(row.pattern, "a", PythonModule::kRe) == row.answer);
  }
  CHECK(Answer("\\bx", "\xC3\xA9x", PythonModule::kRe).rfind("unsupported", 0) == 0);
  CHECK(Answer("x$", "x\n", PythonModule::kRe).rfind("unsupported", 0) == 0);
  CHECK(Answer(std::string(5000, '('), "a", PythonModule::kRe) ==
        "unsupported: groups nested too deeply");
}

TEST_CASE("renames: whole segments, the first that fits, once") {
  const std::vector<std::pair<std::string, std::string>> renames = {{"a.b", "c"}, {"a", "a.a"}};
  CHECK(ApplyRenames("a.b.x", renames, false) == "c.x");
  CHECK(ApplyRenames("a.bb", renames, false) == "a.a.bb");
  CHECK(ApplyRenames("a", renames, false) == "a.a");
  CHECK(ApplyRenames("x.a.b", renames, false) == "x.a.b");
  CHECK(ApplyRenames("x.a.b", renames, true) == "x.c");
  CHECK(ApplyRenames("x.aa.b", renames, true) == "x.aa.b");
  CHECK(ApplyRenames("", renames, true) == "");
}
