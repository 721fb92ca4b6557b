// SPDX-License-Identifier: Apache-2.0
// What a plan reads of the rules against reading all of them: the same descriptions, the same
// findings, for every recorded config and for made ones.
#include "engine/plan/book_scan.h"

#include <fmt/format.h>

#include <filesystem>

#include "engine/plan/book.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;
using namespace ferrule::test;
namespace fs = std::filesystem;

namespace {

const std::string kRules = FERRULE_TEST_DATA "/../rules";

JsonValue Value(const std::string& text) {
  Diagnostics out;
  JsonLimits limits;
  limits.infinity_is_null = true;
  const auto value = ParseJson("config.json", text, limits, &out);
  REQUIRE(value);
  return *value;
}

JsonValue FileOf(const fs::path& directory, const char* name) {
  if (!fs::exists(directory / name)) return {};
  Diagnostics out;
  return Value(*ReadFile((directory / name).string(), 1 << 24, Code::kNotFound, &out));
}

// The dialects that read the descriptions of `sources` in their order, then what was found.
std::string Answer(const QuantSources& sources, const Dialects& dialects) {
  Diagnostics out;
  std::string text;
  if (const auto found = FindDescriptions(sources, dialects, &out))
    for (const Description& description : *found) text += description.dialect->name + " ";
  for (const Finding& finding : out.findings())
    text += fmt::format("{}: {} ", CodeName(finding.code), finding.message);
  return text + ToHuman(out, false);
}

struct Both {
  std::string all, some;
  size_t read = 0;  // dialects
};

Both Ask(const QuantSources& sources) {
  Diagnostics out;
  BookOptions options;
  options.directories = {kRules};
  options.only_model_type = "no such type";  // of rule files as few as can be
  options.only_sources = &sources;
  const auto book = LoadBook(options, &out);
  REQUIRE(book);
  CHECK_FALSE(out.has_errors());
  return {Answer(sources, SourceBook().dialects), Answer(sources, book->dialects),
          book->dialects.size()};
}

Both Ask(const std::string& config, const std::string& hf = "", const std::string& slim = "") {
  QuantSources sources;
  sources.config = Value(config);
  if (!hf.empty()) sources.hf_quant_config = Value(hf);
  if (!slim.empty()) sources.quant_model_description = Value(slim);
  return Ask(sources);
}

}  // namespace

TEST_CASE("every recorded config is described alike when only some dialects are read") {
  size_t configs = 0, read = 0;
  for (const auto& entry : fs::recursive_directory_iterator(FERRULE_TEST_DATA "/fixtures")) {
    if (!entry.is_regular_file() || !entry.path().filename().string().ends_with("config.json"))
      continue;
    const fs::path directory = entry.path().parent_path();
    QuantSources sources;
    sources.config = FileOf(directory, "config.json");
    if (!sources.config) sources.config = Value("{}");
    sources.quantization_config = FileOf(directory, "quantization_config.json");
    sources.hf_quant_config = FileOf(directory, "hf_quant_config.json");
    INFO(entry.path().string());
    const Both both = Ask(sources);
    CHECK(both.some == both.all);
    ++configs;
    read += both.read;
  }
  CHECK(configs > 60);
  CHECK(read < 6 * configs);  // of fifteen; a hf_quant_config.json needs all
}

TEST_CASE("made descriptions: unknown, unnamed, elsewhere, several") {
  const std::vector<Both> asked = {
      Ask("{}"),
      Ask(R"({"quantization_config": null})"),
      Ask(R"({"quantization_config": 7})"),
      Ask(R"({"quantization_config": {"quant_method": "fp8"}})"),
      Ask(R"({"quantization_config": {"quant_method": "fp8", "quantized_layers": {}}})"),
      Ask(R"({"quantization_config": {"quant_method": "fp9"}})"),
      Ask(R"({"quantization_config": {"quant_method": 8}})"),
      Ask(R"({"quantization_config": {"quant_algo": "FP8"}})"),
      Ask(R"({"quantization_config": {"bits": 4}})"),
      Ask(R"({"compression_config": {"quant_method": "compressed-tensors"}})"),
      Ask(R"({"compression_config": {"quant_method": "fp8"}})"),
      Ask(R"({"text_config": {"quantization_config": {"quant_method": "awq"}}})"),
      Ask(R"({"quantization_config": {"quant_method": "gptq"},
              "text_config": {"quantization_config": {"quant_method": "awq"}}})"),
      Ask("{}", R"({"quantization": {"quant_algo": "NVFP4"}})"),
      Ask("{}", R"({"quantization": {"quant_method": "fp8"}})"),
      Ask("{}", "{}"),
      Ask(R"({"quantization_config": {"quant_method": "fp8"}})",
          R"({"quantization": {"quant_algo": "NVFP4"}})"),
      Ask("{}", "", R"({"model_quant_type": "W8A8", "x.weight": "W8A8"})"),
      Ask("{}", "", R"({"x.weight": "W8A8"})"),
  };
  for (size_t i = 0; i < asked.size(); ++i) {
    INFO(i << ": " << asked[i].all);
    CHECK(asked[i].some == asked[i].all);
  }
  CHECK(asked[0].read == 0);
  CHECK(asked[3].read == 2);
  CHECK(asked[5].read == SourceBook().dialects.size());
}

TEST_CASE("a dialect file that is not written as usual is read") {
  QuantSources sources;
  sources.config = Value(R"({"quantization_config": {"quant_method": "fp8"}})");
  const auto may = [&](const std::string& text) { return DialectScan(sources).MayApply(text); };
  CHECK(may("claims: {quant_method: [fp8]}\n"));
  CHECK_FALSE(may("claims: {quant_method: [x, xfp8, fp8x]}\n"));
  CHECK_FALSE(may("claims:\n  quant_method:\n    - x\nlist: fp8\n"));
  CHECK(may("claims:\n  quant_method:\n# of old:\n\n    - fp8\nlist: x\n"));
  CHECK(may("claims: {quant_method: [\"\\x66p8\"]}\n"));
  CHECK(may("{claims: {quant_method: [fp8]}}\n"));
  CHECK(may("claims: {quant_method: [x]}\n\"places\":\n  - {file: config.json, key: z}\n"));
  const std::string x = "claims: {quant_method: [x]}\nplaces:\n";
  CHECK_FALSE(may(x + "  - {file: config.json, key: quantization_config}\n"));
  CHECK_FALSE(may(x + "  # here\n\n  - {file: config.json, key: other}\nlist: 1\n"));
  CHECK_FALSE(may(x + "  - {file: hf_quant_config.json}\n"));
  CHECK(may(x + "  - {file: 'config.json', key: other}\n"));
  CHECK(may(x + "  - {key: other, file: config.json}\n"));
  CHECK(may(x + "  - file: config.json\n"));
  CHECK(may(x + "  - {file: config.json, key: other}  # here\n"));
  CHECK(may("claims: {quant_method: [x]}\nplaces: [{file: config.json}]\n"));
}

TEST_CASE("tests of a rule file are left out of a plan and read by everything else") {
  const std::string rules =
      "ferrule: 1\nmodel_type: a\nabout: one linear\nunverified: made up\n"
      "modules:\n  fc: {rows: 1, in: 8, split: none}\nexample: {a: 1}\n";
  const TempDir dir;
  const auto good = [&](const std::string& text, bool plan) {
    dir.Write("a.yaml", text);
    Diagnostics out;
    const auto book = LoadBook({{dir.path()}, plan ? "a" : "", {}}, &out);
    REQUIRE(book);
    return book->by_model_type.count("a") == 1 && !out.has_errors();
  };
  const std::string tests = "tests:\n  # none\n\n  - it: {\n";
  CHECK(good(rules, true));
  CHECK(good(rules + tests, true));
  CHECK_FALSE(good(rules + tests, false));
  CHECK_FALSE(good(rules + tests + "about: twice\n", true));  // not the last key
  CHECK_FALSE(good(rules + "tests:\n- it: {\n", true));
}
