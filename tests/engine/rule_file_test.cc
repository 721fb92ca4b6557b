// SPDX-License-Identifier: Apache-2.0
// What a rule file is read as. Its mistakes are in tests/bad/rules, its meaning in
// tests/good/rules.
#include "engine/rules/rule_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "engine/plan/rule_test.h"
#include "engine/text/file.h"
#include "tests/catch.h"
#include "tests/unit_text.h"

using namespace ferrule;

namespace {

std::shared_ptr<const RuleFile> Read(const std::string& text) {
  Diagnostics out;
  auto file = ParseRuleFile("r.yaml", text, &out);
  INFO(ToHuman(out, false));
  CHECK(out.findings().empty());
  return file;
}

std::string ReadRules(const std::string& name) {
  Diagnostics out;
  const auto text =
      ReadFile(std::string(FERRULE_TEST_DATA) + "/" + name, kYamlMaxBytes, Code::kNotFound, &out);
  REQUIRE(text);
  return *text;
}

// Writes a YAML tree again: in block or flow style, keys in order or shuffled.
class Writer {
 public:
  Writer(bool flow, std::mt19937* shuffle) : flow_(flow), shuffle_(shuffle) {}

  std::string Write(const YamlNode& node, int indent = 0) const {
    if (node.kind == YamlNode::Kind::kNull) return "null";
    if (node.is_scalar()) return Scalar(node);
    std::string out;
    if (node.is_list()) {
      for (const YamlNode& item : node.items)
        out += fmt::format("{}{}", out.empty() ? "" : ", ", Writer(true, nullptr).Write(item));
      return "[" + out + "]";
    }
    std::vector<const YamlEntry*> entries;
    for (const YamlEntry& entry : node.entries) entries.push_back(&entry);
    // Slices of a tensor are in the order of its rows; everything else has no order.
    if (shuffle_ != nullptr) std::shuffle(entries.begin(), entries.end(), *shuffle_);
    for (const YamlEntry* entry : entries) {
      const bool ordered = entry->key == "unified";
      const std::string key = Quote(entry->key);
      const bool inner = flow_ || ordered || !entry->value.is_map() || entry->value.entries.empty();
      const Writer writer(inner, ordered ? nullptr : shuffle_);
      const std::string value = writer.Write(entry->value, indent + 2);
      if (flow_)
        out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", key, value);
      else
        out += fmt::format("{:{}}{}:{}{}\n", "", indent, key, inner ? " " : "\n", value);
    }
    if (flow_) return "{" + out + "}";
    if (!out.empty()) out.pop_back();
    return out;
  }

 private:
  static std::string Quote(const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? "''" : std::string(1, c);
    return out + "'";
  }
  static std::string Scalar(const YamlNode& node) {
    const bool special = node.text == "null" || node.text == "~" ||
                         node.text.find_first_of(",[]{}#&*!|>'\"%@`:") != std::string::npos;
    return node.plain && !special ? node.text : Quote(node.text);
  }

  bool flow_;
  std::mt19937* shuffle_;
};

std::vector<std::string> SortedUnits(const std::string& text) {
  Diagnostics out;
  const auto file = ParseRuleFile("r.yaml", text, &out);
  INFO(ToHuman(out, false));
  REQUIRE(file);
  std::vector<std::string> lines = UnitLines(*file, "", &out);
  CHECK_FALSE(out.has_errors());
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Every decision that the tests of the file name, under the rules of `text`: failures, as text.
std::string Failures(const std::string& text) {
  static const Dialects dialects = [] {
    Diagnostics out;
    BookOptions options;
    options.directories = {std::string(FERRULE_TEST_DATA) + "/../rules"};
    return LoadBook(options, &out)->dialects;
  }();
  Diagnostics out;
  Book book;
  book.dialects = dialects;
  std::string failures;
  const TestReport report = RunRuleTests(book, ParseRuleFile("r.yaml", text, &out), {}, &out);
  CHECK(report.passed() > 0);
  for (const TestOutcome& outcome : report.outcomes)
    if (!outcome.passed()) failures += ToHuman(outcome);
  return failures + ToHuman(out, false);
}

const char* const kFiles[] = {"good/rules/rows.yaml",      "good/rules/words.yaml",
                              "good/rules/unified.yaml",   "good/rules/fused.yaml",
                              "good/rules/experts.yaml",   "../rules/qwen3_next.yaml",
                              "../rules/qwen3_5_moe.yaml", "../rules/deepseek_v3.yaml"};

}  // namespace

TEST_CASE("a rule file is read with the place of every value") {
  const auto file = Read(R"(ferrule: 1
model_type: [tiny, other]
about: one linear
verified: [org/name]
unverified: {other: never seen}
config: text_config
dims: {n: [a, b + 1]}
index: {layer: {from: 1, count: 2}}
conditions: {wide: n > 3}
modules:
  x.<layer>: {rows: n, in: 2, split: row, when: not wide, differs: {sibling: more there}}
leftovers: [x.<layer>.inv_freq]
example: {b: 7}
)");
  REQUIRE(file);
  CHECK(file->sound);
  CHECK(file->model_types == std::vector<std::string>{"tiny", "other"});
  CHECK(file->verified == std::vector<std::string>{"org/name"});
  REQUIRE(file->unverified.size() == 1);
  CHECK(file->unverified[0].name == "other");
  CHECK(file->unverified[0].text == "never seen");
  CHECK(file->config_section == "text_config");
  REQUIRE(file->dims.size() == 1);
  CHECK(file->dims[0].second.Text() == "a | b + 1");
  REQUIRE(file->indices.size() == 1);
  CHECK(file->indices[0].from->Text() == "1");
  CHECK(file->example_json == "{\"b\":7}");
  CHECK(PathText(file->leftovers[0]) == "x.<layer>.inv_freq");
  CHECK(file->sha256.size() == 64);

  REQUIRE(file->root.children.size() == 1);
  const RuleNode& node = file->root.children[0];
  CHECK(PathText(node.segments) == "x.<layer>");
  CHECK(node.segments[1].placeholder);
  CHECK(node.kind == NodeKind::kRows);
  CHECK(node.split == Split::kRow);
  CHECK(node.place.line == 11);
  CHECK(node.place.column == 3);
  CHECK(node.rows->place.column == 21);
  REQUIRE(node.when);
  CHECK(node.when->negated);
  CHECK(node.when->condition == "wide");
  CHECK(node.differs[0].text == "more there");
}

TEST_CASE("keys of a linear are read as they stand") {
  const auto file = Read(R"(ferrule: 1
model_type: tiny
about: linears
unverified: made up
conditions: {on: b}
modules:
  a: {unified: {x: 1, y: {rows: 2, per: 3, replicate: true}}, in: 2, split: column, bias: on}
  b: {rows: 1, groups: 2, scales: per_group, in: 2, split: none, bias: true, optional: true}
  c: {rows: 1, in: 2, split: none, stack: 4, suffix: none, quantize: named, same: {when: on, as: w}}
  d: {fused: [a, e], mixed: apart}
  e: {rows: 1, per: 2, replicate: true, in: 2, split: column}
  w: {weight: [1, 2], bias: true, optional: true}
  p: {param: []}
  n: {quantize: never, l: {rows: 1, in: 1, split: none}}
example: {b: true}
)");
  REQUIRE(file);
  const auto node = [&](size_t i) { return file->root.children[i]; };
  CHECK(node(0).kind == NodeKind::kUnified);
  REQUIRE(node(0).slices.size() == 2);
  CHECK_FALSE(node(0).slices[0].per);
  CHECK(node(0).slices[1].per->Text() == "3");
  CHECK(node(0).slices[1].replicate);
  CHECK(node(0).bias);
  CHECK(node(0).bias_when->condition == "on");
  CHECK(node(1).scales_per_group);
  CHECK(node(1).bias);
  CHECK_FALSE(node(1).bias_when);
  CHECK(node(1).optional);
  CHECK_FALSE(node(2).suffix);
  CHECK(node(2).stack->Text() == "4");
  CHECK(node(2).quantize == Quantize::kNamed);
  CHECK(node(2).same_as == "w");
  CHECK(node(3).mixed_apart);
  CHECK(node(3).parts[1].name == "e");
  CHECK(node(4).replicate);
  CHECK(node(5).kind == NodeKind::kWeight);
  CHECK(node(5).bias);
  CHECK(node(6).kind == NodeKind::kParam);
  CHECK(node(6).dims.empty());
  CHECK(node(7).quantize == Quantize::kNever);
}

TEST_CASE("the order of keys means nothing") {
  for (const char* name : kFiles) {
    INFO(name);
    const std::string text = ReadRules(name);
    Diagnostics out;
    const auto yaml = ParseYaml(name, text, &out);
    REQUIRE(yaml);
    const std::vector<std::string> expected = SortedUnits(text);
    CHECK(expected.size() > 3);
    std::mt19937 random(7);
    for (int i = 0; i < 5; ++i) {
      const std::string shuffled = Writer(false, &random).Write(yaml->root);
      CHECK(SortedUnits(shuffled) == expected);
      if (i == 0) CHECK(Failures(shuffled) == "");
    }
  }
}

TEST_CASE("block style and flow style mean the same") {
  for (const char* name : kFiles) {
    INFO(name);
    const std::string text = ReadRules(name);
    Diagnostics out;
    const auto yaml = ParseYaml(name, text, &out);
    REQUIRE(yaml);
    const std::vector<std::string> expected = SortedUnits(text);
    const std::string flow = Writer(true, nullptr).Write(yaml->root);
    CHECK(SortedUnits(flow) == expected);
    CHECK(Failures(flow) == "");
    CHECK(SortedUnits(Writer(false, nullptr).Write(yaml->root)) == expected);
  }
}

TEST_CASE("an example becomes JSON with its numbers, truths and texts") {
  Diagnostics out;
  const auto yaml = ParseYaml("r.yaml", R"(a: 12
b: '12'
c: true
d: null
e: [1, x, {f: false}]
g: 007
h: "quote \" and \\ and é"
i: -1
k: [-, -0, -01, --1, 0, -12]
)",
                              &out);
  REQUIRE(yaml);
  CHECK(YamlToJson(yaml->root) ==
        "{\"a\":12,\"b\":\"12\",\"c\":true,\"d\":null,\"e\":[1,\"x\",{\"f\":false}],\"g\":\"007\","
        "\"h\":\"quote \\\" and \\\\ and é\",\"i\":-1,"
        "\"k\":[\"-\",\"-0\",\"-01\",\"--1\",0,-12]}");
}

TEST_CASE("SHA-256 of nothing is the known one") {
  CHECK(Sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
