// SPDX-License-Identifier: Apache-2.0
#include "engine/text/yaml.h"

#include <fmt/format.h>

#include "tests/catch.h"

using namespace ferrule;

namespace {

// What reading `text` says, one short line for each finding; "ok" when there is none.
std::string Read(const std::string& text) {
  Diagnostics out;
  const auto file = ParseYaml("r.yaml", text, &out);
  if (file) return out.findings().empty() ? "ok" : "ok with findings";
  std::string all;
  for (const Finding& finding : out.findings()) all += ToShort(finding);
  return all;
}

std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

// Each line is a list of nine times the line before it.
std::string Laughs(int levels) {
  std::string out = "a0: &a0 x\n";
  for (int i = 1; i <= levels; ++i)
    out +=
        fmt::format("a{0}: &a{0} [{1}*a{2}]\n", i, Repeat(fmt::format("*a{}, ", i - 1), 8), i - 1);
  return out;
}

// Mappings, each within the one above, a column further in.
std::string Stairs(int levels) {
  std::string out;
  for (int i = 0; i < levels; ++i) out += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  return out;
}

}  // namespace

TEST_CASE("values keep their text and place") {
  Diagnostics out;
  const auto file = ParseYaml("r.yaml", "a: {é: no, c: '010'}\nd:\n  - x y # note\n", &out);
  REQUIRE(file);
  const YamlNode* a = file->root.Find("a");
  REQUIRE(a->Find("é") != nullptr);
  CHECK(a->Find("é")->text == "no");
  CHECK(a->Find("é")->plain);
  CHECK_FALSE(a->Find("c")->plain);
  CHECK(a->Find("c")->place.column == 15);
  CHECK(a->Find("c")->place.end_column == 20);
  CHECK(file->root.Find("d")->items[0].text == "x y");
  CHECK(file->root.Find("d")->items[0].place.line == 3);
}

TEST_CASE("bad YAML is refused with its place") {
  struct Row {
    const char* what;
    std::string text;
    std::string says;
  };
  const Row rows[] = {
      {"empty", "", "r.yaml: error[FR001]: the file is empty\n"},
      {"comment only", "# x\n", "r.yaml: error[FR001]: the file is empty\n"},
      {"marker only", "---\n", "r.yaml: error[FR001]: the file is empty\n"},
      {"null root", "~\n", "r.yaml: error[FR001]: the file is empty\n"},
      {"a comma, on which LoadAll never returns", ",",
       "r.yaml:1:1: error[FR003]: text after the end of the first value would be ignored\n"},
      {"a comma and a tag", ",!",
       "r.yaml:1:1: error[FR003]: text after the end of the first value would be ignored\n"},
      {"trailing text", "\"a\" b",
       "r.yaml:1:5: error[FR003]: text after the end of the first value would be ignored\n"},
      {"second document", "a: 1\n---\nb: 2\n",
       "r.yaml:3:1: error[FR003]: text after the end of the first value would be ignored\n"},
      {"mis-indented key", "  a: 1\n b: 2\n",
       "r.yaml:2:2: error[FR003]: text after the end of the first value would be ignored\n"},
      {"duplicate key at the top", "a: 1\nb: 2\na: 3\n",
       "r.yaml:3:1: error[FR004]: `a` is defined twice\n"},
      {"duplicate key, plain and quoted, nested", "a: 1\nb: {c: 1, \"c\": 2}\n",
       "r.yaml:2:11: error[FR004]: `c` is defined twice\n"},
      {"anchor", "a: &x 1\n",
       "r.yaml:1:4: error[FR005]: an anchor (`&name`), and anchors are not "
       "read\n"},
      {"alias", "a: *x\n",
       "r.yaml:1:4: error[FR005]: `*` at the start of a value is a YAML alias, and aliases are not "
       "read\n"},
      {"glob", "- *.gate\n",
       "r.yaml:1:3: error[FR005]: `*` at the start of a value is a YAML alias, and aliases are not "
       "read\n"},
      {"self alias", "&a [*a]\n",
       "r.yaml:1:1: error[FR005]: an anchor (`&name`), and anchors are not read\n"},
      {"billion laughs, 9 levels", Laughs(9),
       "r.yaml:1:5: error[FR005]: an anchor (`&name`), and anchors are not read\n"},
      {"billion laughs, 20 levels", Laughs(20),
       "r.yaml:1:5: error[FR005]: an anchor (`&name`), and anchors are not read\n"},
      {"merge key", "a: {<<: {b: 1}}\n",
       "r.yaml:1:5: error[FR005]: `<<` merges another mapping, and merge keys are not read\n"},
      {"tag", "a: !!int 3\n",
       "r.yaml:1:4: error[FR006]: the tag `tag:yaml.org,2002:int` is not read\n"},
      {"own tag", "a: !foo 3\n", "r.yaml:1:4: error[FR006]: the tag `!foo` is not read\n"},
      {"depth 33 in flow style", Repeat("[", 33) + Repeat("]", 33),
       "r.yaml:1:33: error[FR007]: more than 32 levels\n"},
      {"depth 100,000", Repeat("[", 100000) + Repeat("]", 100000),
       "r.yaml:1:33: error[FR007]: more than 32 levels\n"},
      {"depth 500 in block style", Repeat("- ", 500) + "a",
       "r.yaml:1:65: error[FR007]: more than 32 levels\n"},
      {"depth 33 of mappings in block style", Stairs(33),
       "r.yaml:33:33: error[FR007]: more than 32 levels\n"},
      {"1,400 nested blocks, just below 1 MiB", Stairs(1400),
       "r.yaml:33:33: error[FR007]: more than 32 levels\n"},
      {"1 MiB and a byte", std::string((1 << 20) + 1, '#'),
       "r.yaml: error[FR007]: the file has 1048577 bytes; at most 1048576 are read\n"},
      {"a long string", "a: " + std::string(4097, 'x'),
       "r.yaml:1:4: error[FR007]: a text of 4097 bytes; at most 4096 are read\n"},
      {"a string of 10 MB", "a: " + std::string(10'000'000, 'x'),
       "r.yaml: error[FR007]: the file has 10000003 bytes; at most 1048576 are read\n"},
      {"200,000 values", "[" + Repeat("1,", 200000) + "]",
       "r.yaml:1:200002: error[FR007]: more than 100000 values\n"},
      {"100,001 values", "[" + Repeat("1,", 100001) + "]",
       "r.yaml:1:200002: error[FR007]: more than 100000 values\n"},
      {"Latin-1", "a: \xe9\n", "r.yaml:1:1: error[FR008]: the text is not UTF-8\n"},
      {"BOM",
       "\xEF\xBB\xBF"
       "a: 1\n",
       "r.yaml: error[FR008]: the file begins with a byte-order mark\n"},
      {"UTF-16",
       std::string("\xFF\xFE"
                   "a\0",
                   4),
       "r.yaml:1:1: error[FR008]: the text is not UTF-8\n"},
      {"NUL", std::string("a: \0b", 5), "r.yaml:1:4: error[FR008]: the control character \\x00\n"},
      {"ESC", "a: \033[2J\n", "r.yaml:1:4: error[FR008]: the control character \\x1b\n"},
      {"tab in the indentation", "a:\n\tb: 1\n",
       "r.yaml:2:1: error[FR002]: a tab in the indentation\n"},
      {"unterminated quote", "a: \"b\n", "r.yaml:1:4: error[FR002]: a quote is never closed\n"},
      {"a lost list item", "a:\n- x\n - y\n",
       "r.yaml:2:3: error[FR002]: a value without quotes goes over several lines\n"},
      {"regex in double quotes", "a: \"model\\.x\"\n",
       "r.yaml:1:12: error[FR002]: an unknown escape in double quotes\n"},
      {"a pattern that opens a list", "- [0-9]+\\.mlp\n",
       "r.yaml:1:8: error[FR002]: cannot be read as YAML: end of sequence not found\n"},
      {"a list as key", "? [a]\n: 1\n", "r.yaml:1:3: error[FR102]: a key must be a text\n"},
      {"a null key", "? \n: 1\n", "r.yaml:2:1: error[FR102]: a key must be a text\n"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(Read(row.text) == row.says);
  }
}

TEST_CASE("what is at a limit is read") {
  CHECK(Read(Repeat("[", 32) + Repeat("]", 32)) == "ok");
  CHECK(Read("[" + Repeat("1,", 99'998) + "1]") == "ok");
  CHECK(Read("#" + std::string((1 << 20) - 7, '-') + "\na: 1\n") == "ok");
  CHECK(Read("a: " + std::string(4096, 'x')) == "ok");
  CHECK(Read("a: 'it''s # no comment'\nb: \"\\\"\"\nc: |\n  text\n  more\n") == "ok");
}

TEST_CASE("typed access refuses YAML 1.1 words and other spellings of numbers") {
  Diagnostics ignored;
  for (const char* text : {"010", "0x80", "1_000", "128.0", "1e2", "+5", "-1", ".nan", ".inf",
                           "'5'", "9223372036854775808", "no"}) {
    const auto file = ParseYaml("r.yaml", fmt::format("v: {}", text), &ignored);
    REQUIRE(file);
    Diagnostics out;
    int64_t value = 0;
    INFO(text);
    CHECK_FALSE(YamlReader(*file, &out).AsInt(*file->root.Find("v"), "`v`", &value));
    CHECK(out.has_errors());
  }
  for (const char* text : {"no", "off", "y", "True", "1", "'true'", "[true]", "~"}) {
    const auto file = ParseYaml("r.yaml", fmt::format("v: {}", text), &ignored);
    REQUIRE(file);
    Diagnostics out;
    bool value = false;
    INFO(text);
    CHECK_FALSE(YamlReader(*file, &out).AsBool(*file->root.Find("v"), "`v`", &value));
  }
  const auto file = ParseYaml("r.yaml", "v: {layer}\nn: 9223372036854775807\nz: 0", &ignored);
  Diagnostics out;
  std::string text;
  CHECK_FALSE(YamlReader(*file, &out).AsText(*file->root.Find("v"), "`v`", &text));
  CHECK(out.findings()[0].message == "`v` must be a text, not a mapping");
  CHECK(out.findings()[0].help == "quote a text that begins with `{` or `[`");
  int64_t value = 1;
  CHECK(YamlReader(*file, &out).AsInt(*file->root.Find("n"), "`n`", &value));
  CHECK(value == INT64_MAX);
  CHECK(YamlReader(*file, &out).AsInt(*file->root.Find("z"), "`z`", &value));
}
