// SPDX-License-Identifier: Apache-2.0
// The runner of the tests in rule files: what passes, what fails and what it says.
#include "engine/plan/rule_test.h"

#include <fmt/format.h>

#include "tests/catch.h"

using namespace ferrule;

namespace {

// A book with the dialects of this repository and one rule file of two layers.
constexpr const char* kRules = R"(ferrule: 1
model_type: [tiny, tiny_text]
about: two layers
unverified: made up for a test
index: {layer: num_layers, expert: 4}
modules:
  head: {rows: 1000, in: 256, split: none, quantize: named}
  layers.<layer>:
    q: {rows: 64, per: 4, in: 256, split: column}
    k: {rows: 64, per: 2, in: 256, split: column}
    qk: {fused: [q, k]}
    mlp: {gate: {rows: 2, in: 256, split: none}, gate_proj: {rows: inter, in: 256, split: column}}
    experts.<expert>: {up: {rows: 128, in: 256, split: column}}
example: {num_layers: 12, inter: 512, nested: {a: 1, b: 2}}
tests:
)";

const Dialects& ShippedDialects() {
  static const Dialects dialects = [] {
    Diagnostics out;
    BookOptions options;
    options.directories = {std::string(FERRULE_TEST_DATA) + "/../rules"};
    return LoadBook(options, &out)->dialects;
  }();
  return dialects;
}

// Reads kRules with `tests` appended and gives one line for each outcome and difference:
// "ok SENTENCE", "FAIL SENTENCE", "PATH FIELD - EXPECTED + GOT".
std::string Run(const std::string& tests, const TestOptions& options = {}) {
  Diagnostics out;
  Book book;
  book.dialects = ShippedDialects();
  const auto file = ParseRuleFile("r.yaml", kRules + tests, &out);
  std::string text;
  if (file)
    for (const TestOutcome& outcome : RunRuleTests(book, file, options, &out).outcomes) {
      text += fmt::format("{} {}\n", outcome.passed() ? "ok" : "FAIL", outcome.it);
      for (const TestDifference& d : outcome.differences)
        text += fmt::format("{} {} - {} + {}\n", d.path, d.field, d.expected, d.got);
    }
  for (const Finding& finding : out.findings()) text += ToShort(finding);
  return text;
}

}  // namespace

TEST_CASE("a test passes when everything is as expected") {
  struct Row {
    const char* what;
    const char* test;
  };
  const Row rows[] = {
      {"scheme, kind, shape, ranks",
       "{it: is, tp: 2, expect: {layers.0.q: {scheme: fp8_block, kind: rows, shape: [256, 256], "
       "per_rank: [128, 256]}}}"},
      {"parts in order", "{it: is, expect: {layers.3.qk: {kind: fused, parts: [q, k]}}}"},
      {"skip", "{it: is, skip: [layers.0.qk], expect: {layers.0.q: {scheme: bf16}}}"},
      {"absent", "{it: is, expect: {layers.12.q: {absent: true}}}"},
      {"an override", "{it: is, config: {num_layers: 13}, expect: {layers.12.q: {kind: rows}}}"},
      {"a container", "{it: is, expect: {layers.0.experts: {scheme: fp8_block}}}"},
      {"not quantized",
       "{it: is, quantization_config: null, expect: {layers.0.q: {scheme: bf16}}}"},
      {"an own quantization_config",
       "{it: is, quantization_config: {quant_method: fp8, ignored_layers: [layers.0.qk]}, expect: "
       "{layers.0.q: {scheme: bf16}, layers.1.q: {scheme: fp8_tensor}}}"},
      {"skip goes under the key of the dialect",
       "{it: is, skip: ['re:.*q', 're:.*k'], quantization_config: {quant_method: "
       "compressed-tensors, config_groups: {g: {targets: [Linear], weights: {num_bits: 8, type: "
       "float, strategy: tensor}, input_activations: {dynamic: true}}}}, expect: {layers.0.k: "
       "{scheme: bf16}}}"},
      {"another model_type", "{it: is, model_type: tiny_text, expect: {head: {scheme: bf16}}}"},
      {"dead entries",
       "{it: is, skip: [layers.0.qq, other], dead: {layers.0.qq: layers.0.q, other: null}}"},
      {"an expected error",
       "{it: is, skip: [layers.0.q], expect: {layers.0.qk: {error: parts-disagree}}}"},
      {"an error of a container",
       "{it: is, skip: [layers.0.experts.2], expect: {layers.0.experts: {error: "
       "experts-disagree}}}"},
      {"one `uncuttable` stands for all of that tp",
       "{it: is, tp: 3, expect: {layers.0.q: {error: uncuttable}}}"},
      {"a fused module with an uncuttable part",
       "{it: is, tp: 4, expect: {layers.0.qk: {error: uncuttable}, layers.0.q: {scheme: "
       "fp8_block}}}"},
      {"a note",
       "{it: is, config: {inter: 128}, tp: 2, expect: {layers.1.mlp.gate_proj: {note: "
       "sub-block-shard}}}"},
      {"errors that leave no plan concern every module",
       "{it: is, quantization_config: {quant_method: fp9}, expect: {layers.0.q: {error: "
       "unknown-method}}}"},
      // Names end at segments: reliability 48, 49 and 50.
      {"mlp.gate is not mlp.gate_proj",
       "{it: is, skip: [mlp.gate], expect: {layers.0.mlp.gate: {scheme: bf16}, "
       "layers.0.mlp.gate_proj: {scheme: fp8_block}}}"},
      {"layers.1 is not layers.10 or layers.11",
       "{it: is, skip: [layers.1], expect: {layers.1.q: {scheme: bf16}, layers.10.q: {scheme: "
       "fp8_block}, layers.11.q: {scheme: fp8_block}}}"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(Run(std::string("  - ") + row.test + "\n") == "ok is\n");
  }
}

TEST_CASE("a test says what differs, field by field") {
  struct Row {
    const char* what;
    const char* test;
    const char* says;
  };
  const Row rows[] = {
      {"scheme", "expect: {layers.0.q: {scheme: bf16}}", "layers.0.q scheme - bf16 + fp8_block\n"},
      {"kind", "expect: {layers.0.q: {kind: fused}}", "layers.0.q kind - fused + rows\n"},
      {"shape", "expect: {layers.0.k: {shape: [64, 256]}}",
       "layers.0.k shape - [64, 256] + [128, 256]\n"},
      {"ranks", "tp: 2, expect: {layers.0.q: {per_rank: [[64, 256], [192, 256]]}}",
       "layers.0.q per_rank - [64, 256], [192, 256] + [128, 256]\n"},
      {"parts", "expect: {layers.0.qk: {parts: [k, q]}}", "layers.0.qk parts - [k, q] + [q, k]\n"},
      {"parts of a plain module", "expect: {layers.0.q: {parts: [a, b]}}",
       "layers.0.q parts - [a, b] + []\n"},
      {"a module that is not there", "expect: {layers.0.qq: {scheme: bf16}}",
       "layers.0.qq module - present + absent; the nearest is `layers.0.q`\n"},
      {"a module that is there", "expect: {layers.0.q: {absent: true}}",
       "layers.0.q module - absent + present\n"},
      {"an error that does not come", "expect: {layers.0.qk: {error: parts-disagree}}",
       "layers.0.qk error - parts-disagree + none\n"},
      {"an error of another layer",
       "skip: [layers.1.q], expect: {layers.0.qk: {error: parts-disagree}}",
       "layers.0.qk error - parts-disagree + none\n"},
      {"an error that nobody expects", "skip: [layers.1.q], expect: {layers.0.qk: {kind: fused}}",
       " error - none + parts-disagree[FR403]: the parts of `layers.1.qk` disagree: `q` bf16, `k` "
       "fp8_block\n"},
      {"a note that does not come", "expect: {layers.0.q: {note: sub-block-shard}}",
       "layers.0.q note - sub-block-shard + none\n"},
      {"a note of another module of that rule",
       "config: {inter: 128}, tp: 2, skip: [layers.0.mlp.gate_proj], expect: "
       "{layers.0.mlp.gate_proj: {note: sub-block-shard}}",
       "layers.0.mlp.gate_proj note - sub-block-shard + layers-differ\n"},
      {"ranks of what cannot be cut",
       "tp: 4, expect: {layers.0.k: {per_rank: [32, 256], error: uncuttable}}",
       "layers.0.k per_rank - [32, 256] + none: 2 head groups are fewer than 4 ranks\n"},
      {"a dead entry that nobody declared",
       "skip: [layers.0.qq], expect: {layers.0.q: {kind: rows}}",
       "layers.0.qq entry - matches a module + dead; the nearest is `layers.0.q`\n"},
      {"a declared one that lives", "skip: [layers.0.qk], dead: {layers.0.qk: null}",
       "layers.0.qk entry - dead + matches a module\n"},
      {"a declared one that is not listed", "dead: {x: null}",
       "x entry - dead + not in the list\n"},
      {"another nearest path", "skip: [layers.0.qq], dead: {layers.0.qq: layers.0.k}",
       "layers.0.qq nearest - layers.0.k + layers.0.q\n"},
      {"no plan", "config: {inter: 0}, expect: {layers.0.q: {scheme: bf16}}",
       "layers.0.q plan - a plan + none, because of errors\n"
       " error - none + too-large[FR607]: `rows` is `inter` = 0; it must be between 1 and 2^40\n"},
      {"a container is no linear", "expect: {layers.0.experts: {shape: [1, 2]}}",
       "layers.0.experts module - a linear or fused module + a container of experts\n"},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(Run(fmt::format("  - {{it: is, {}}}\n", row.test)) ==
          std::string("FAIL is\n") + row.says);
  }
}

TEST_CASE("a malformed test fails and does not stop the others") {
  CHECK(Run("  - {it: is, expct: {layers.0.q: {scheme: bf16}}, dead: {}}\n"
            "  - {it: is sound, expect: {layers.0.q: {scheme: fp8_block}}}\n") ==
        "FAIL is\n test - can be read + unknown key `expct` in a test\nok is sound\n"
        "r.yaml:16:14: error[FR101]: unknown key `expct` in a test\n");
}

TEST_CASE("overrides replace keys and merge mappings") {
  CHECK(Run("  - {it: is, config: {nested: {b: 3}}, expect: {head: {scheme: bf16}}}\n") ==
        "ok is\n");
}

TEST_CASE("a filter takes the tests whose sentence contains it") {
  const std::string tests =
      "  - {it: cuts heads, expect: {layers.0.q: {kind: rows}}}\n"
      "  - {it: skips heads, expect: {layers.0.q: {kind: rows}}}\n";
  CHECK(Run(tests, {"skips"}) == "ok skips heads\n");
  CHECK(Run(tests, {"heads"}) == "ok cuts heads\nok skips heads\n");
  CHECK(Run(tests, {"none"}).empty());
}

TEST_CASE("modules that no test names are listed once, with placeholders") {
  Diagnostics out;
  Book book;
  book.dialects = ShippedDialects();
  const auto file = ParseRuleFile("r.yaml",
                                  std::string(kRules) +
                                      "  - {it: is, expect: {layers.1.qk: {kind: fused}, "
                                      "layers.0.experts: {scheme: fp8_block}}}\n",
                                  &out);
  REQUIRE(file);
  const TestReport report = RunRuleTests(book, file, {}, &out);
  CHECK(report.passed() == 1);
  CHECK(report.untouched == std::vector<std::string>{"head", "layers.<layer>.mlp.gate",
                                                     "layers.<layer>.mlp.gate_proj"});
}

TEST_CASE("no test of a file with mistakes is run") {
  Diagnostics out;
  const auto file = ParseRuleFile(
      "r.yaml", std::string(kRules) + "  - {it: is, expect: {head: {kind: rows}}}\n", &out);
  REQUIRE(file);
  auto unsound = std::make_shared<RuleFile>(*file);
  unsound->sound = false;
  const TestReport report = RunRuleTests(Book(), unsound, {}, &out);
  CHECK(report.outcomes.empty());
  REQUIRE(out.findings().size() == 1);
  CHECK(ToShort(out.findings()[0]) ==
        "r.yaml: error[FR117]: r.yaml has mistakes, so its tests are not run\n");
}

TEST_CASE("an outcome is two lines a field, expected and got") {
  TestOutcome outcome{{nullptr, "r.yaml", 8, 5, 6, ""}, "keeps it", {}};
  CHECK(ToHuman(outcome) == "  ok    keeps it\n");
  outcome.differences = {{"a.b", "kind", "unified", "fused", "r.yaml:3:1, not listed"},
                         {"a.b", "scheme", "bf16", "fp8_block", "r.yaml:3:1, not listed"}};
  CHECK(ToHuman(outcome) ==
        "  FAIL  keeps it                                              r.yaml:8:5\n"
        "        a.b\n"
        "          kind   - unified\n"
        "                 + fused\n"
        "          scheme - bf16\n"
        "                 + fp8_block\n"
        "        decided by r.yaml:3:1, not listed\n");
}
