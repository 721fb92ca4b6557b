// SPDX-License-Identifier: Apache-2.0
// The description of every recorded release is read by the dialect that claims it. What is expected
// was counted in the files, not taken from the reader.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "engine/lists/quant_config.h"
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;
namespace fs = std::filesystem;

namespace {

JsonValue FileOf(const fs::path& directory, const char* name) {
  std::ifstream in(directory / name);
  if (!in) return {};
  std::stringstream text;
  text << in.rdbuf();
  Diagnostics out;
  JsonLimits limits;
  limits.infinity_is_null = true;  // as when a checkpoint is opened
  const auto value = ParseJson(name, text.str(), limits, &out);
  INFO((directory / name).string() << "\n" << ToHuman(out, false));
  REQUIRE(value);
  return *value;
}

QuantSources SourcesOf(const fs::path& directory) {
  QuantSources sources;
  sources.config = FileOf(directory, "config.json");
  sources.quantization_config = FileOf(directory, "quantization_config.json");
  sources.hf_quant_config = FileOf(directory, "hf_quant_config.json");
  return sources;
}

// "modelopt: nvfp4 | ignore 155 | FR608": schemes in alphabetical order, lists and tables with
// their sizes, codes of what was found.
std::string Read(const QuantSources& sources) {
  Diagnostics out;
  const auto quant = ReadQuantSources(sources, SourceBook().dialects, {}, &out);
  INFO(ToHuman(out, false));
  CHECK_FALSE(out.has_errors());
  REQUIRE(quant);
  REQUIRE(quant->dialect);
  std::set<std::string> schemes, codes;
  for (size_t s = 1; s < quant->schemes.size(); ++s)
    if (!quant->schemes[s].rule->named) schemes.insert(quant->schemes[s].name);
  std::string text = fmt::format("{}: {}", quant->dialect->name, fmt::join(schemes, ", "));
  if (!quant->list_key.empty())
    text += fmt::format(" | {} {}", quant->list_key, quant->list.size());
  for (const LayerTable& table : quant->layers)
    text += fmt::format(" | {} {}", table.key, table.names.size());
  for (const Finding& finding : out.findings()) codes.insert(CodeName(finding.code));
  return codes.empty() ? text : fmt::format("{} | {}", text, fmt::join(codes, " "));
}

}  // namespace

TEST_CASE("every recorded description is read") {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"deepseek_v3_0324_nvfp4", "modelopt: nvfp4 | exclude_modules 245"},
      {"deepseek_v3_2_nvfp4", "modelopt: nvfp4 | exclude_modules 307"},
      {"deepseek_v4_flash", "fp8: fp8_block"},
      {"deepseek_v4_flash_fp8", "fp8: fp8_block"},
      {"deepseek_v4_flash_nvfp4",
       "modelopt_over_fp8: fp8_block, nvfp4 | ignore 4 | quantized_layers 43"},
      {"deepseek_v4_flash_nvfp4_fp8", "compressed-tensors: fp8_block, nvfp4 | ignore 0"},
      {"gemma_4_26b_a4b_nvfp4", "modelopt: nvfp4 | ignore 93"},
      {"glm_4_7_exl3_3_84bpw", "exl3: exl3"},
      {"glm_5_1_nvfp4", "modelopt: nvfp4 | ignore 155"},
      {"glm_5_fp8", "fp8: fp8_block | modules_to_not_convert 712"},
      {"glm_5_nvfp4", "modelopt: nvfp4 | exclude_modules 471"},
      {"gpt_oss_20b", "mxfp4: mxfp4 | modules_to_not_convert 4"},
      {"kimi_k2_5_nvfp4", "modelopt: nvfp4 | ignore 64"},
      {"kimi_k2_6_nvfp4", "modelopt: nvfp4 | ignore 124"},
      {"laguna_s_2_1_fp8", "compressed-tensors: fp8_block | ignore 13"},
      {"llama_3_1_70b_instruct_fp8", "modelopt: fp8_tensor | exclude_modules 1"},
      {"mimo_v2_5", "fp8: fp8_block | ignored_layers 49"},
      {"mimo_v2_flash", "fp8: fp8_block"},
      {"minimax_m2_1", "fp8: fp8_block | modules_to_not_convert 3"},
      {"minimax_m2_7_nvfp4", "modelopt: nvfp4 | ignore 125"},
      {"minimax_m3_mxfp8", "mxfp8: mxfp8 | ignored_layers 62"},
      {"minimax_m3_nvfp4", "modelopt: mxfp8, nvfp4 | exclude_modules 62 | quantized_layers 22422"},
      // Cut by whoever copied them; without `producer` vLLM would not know the method.
      {"nemotron_ultra_rl_050826", "modelopt: nvfp4 | FR608"},
      {"neuralmagic_int4_pack", "compressed-tensors: int4"},
      {"neuralmagic_llama_1_1b", "compressed-tensors: int8"},
      {"nvidia_nemotron_3_5_lightning_30b_a3b_nvfp4",
       "modelopt: fp8_tensor, w4a16_nvfp4 | exclude_modules 72 | quantized_layers 5981"},
      {"nvidia_nemotron_3_nano_30b_a3b_nvfp4", "modelopt: nvfp4 | exclude_modules 60"},
      {"nvidia_nemotron_3_super_120b_a12b_fp8", "modelopt: fp8_tensor | FR608"},
      {"nvidia_nemotron_3_super_120b_a12b_nvfp4", "modelopt: nvfp4 | FR608"},
      {"nvidia_nemotron_3_super_120b_nvfp4_fp8kv", "modelopt: nvfp4 | FR608"},
      {"nvidia_nemotron_3_ultra_550b_a55b_fp8", "modelopt: fp8_tensor | FR608"},
      {"nvidia_nemotron_3_ultra_550b_a55b_nvfp4", "modelopt: nvfp4 | FR608"},
      {"qwen3_0_6b_gptq_int8", "gptq: int8"},
      {"qwen3_30b_a3b_nvfp4", "modelopt: nvfp4 | exclude_modules 49"},
      {"qwen3_32b_fp8_static_pertensor", "modelopt: fp8_tensor | ignore 1"},
      {"qwen3_32b_nvfp4", "modelopt: nvfp4 | exclude_modules 1"},
      {"qwen3_4b_awq", "awq: int4 | FR611"},  // modules_to_not_convert: null
      {"qwen3_5_122b_a10b_nvfp4", "modelopt: nvfp4 | ignore 148"},
      {"qwen3_6_27b_nvfp4", "modelopt: fp8_tensor, w4a16_nvfp4 | ignore 2 | quantized_layers 401"},
      {"qwen3_6_27b_w4a16", "compressed-tensors: int4 | ignore 304"},
      {"step_3_7_flash_fp8", "fp8: fp8_block"},
  };
  std::set<std::string> seen;
  for (const auto& [name, expected] : rows) {
    INFO(name);
    CHECK(Read(SourcesOf(FixturePath(fmt::format("quant/{}", name)))) == expected);
    seen.insert(name);
  }
  for (const auto& entry : fs::directory_iterator(FixturePath("quant"))) {
    INFO(entry.path().filename().string());
    CHECK(seen.count(entry.path().filename().string()) == 1);
  }
}

TEST_CASE("descriptions of one checkpoint that disagree: an error that names both") {
  const QuantSources good = SourcesOf(FixturePath("quant/glm_5_1_nvfp4"));
  const auto with = [&](const std::string& hf) {
    QuantSources sources = good;
    sources.hf_quant_config = Json(hf);
    Diagnostics out;
    CHECK(ReadQuantSources(sources, SourceBook().dialects, {}, &out));
    std::string said;
    for (const Finding& finding : out.findings()) {
      said += fmt::format("{}: {}\n", CodeName(finding.code), finding.message);
      CHECK(finding.labels.size() == 1);
      for (const auto& [key, text] : finding.facts)
        if (key != "effect") said += fmt::format("{}: {}\n", key, text);
    }
    return said;
  };
  std::string list;
  for (const JsonValue entry : good.config.Find("quantization_config").Find("ignore"))
    list += (list.empty() ? "" : ", ") + JsonText(entry.Text());
  const std::string head = R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": )";
  const auto file = [&](const std::string& algorithm, const std::string& names) {
    return head + algorithm + R"(, "group_size": 16, "exclude_modules": [)" + names + "]}}";
  };
  CHECK(with(file("\"NVFP4\"", list)).empty());
  CHECK(with(file("\"NVFP4\"", list + R"(, "model.layers.5.mlp*")")) ==
        "FR604: two descriptions disagree: 155 listed names in config.json and 156 listed names in "
        "hf_quant_config.json\nonly: in hf_quant_config.json: `model.layers.5.mlp*`\n");
  CHECK(with(file("\"NVFP4\"", "\"lm_head\"")) ==
        "FR604: two descriptions disagree: 155 listed names in config.json and 1 listed name in "
        "hf_quant_config.json\nonly: in config.json: `model.layers.0*` and 153 more\n");
  CHECK(with(file("\"FP8\"", list)) ==
        "FR604: two descriptions disagree: nvfp4, groups of 16 in config.json and fp8_tensor in "
        "hf_quant_config.json\n");
}

TEST_CASE("a table of layers that differs between two files names the layer") {
  QuantSources sources;
  const std::string layers =
      R"("quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "FP8"}, "b": {"quant_algo": )";
  sources.config =
      Json(R"({"quantization_config": {"quant_method": "modelopt", )" + layers + R"("NVFP4"}}}})");
  sources.hf_quant_config =
      Json(R"({"producer": 1, "quantization": {)" + layers + R"("MXFP8"}}}})");
  Diagnostics out;
  CHECK(ReadQuantSources(sources, SourceBook().dialects, {}, &out));
  REQUIRE(out.findings().size() == 1);
  CHECK(CodeName(out.findings()[0].code) == "FR604");
  CHECK(FactOf(out.findings()[0], "differs") ==
        "`b` is nvfp4, groups of 16 and mxfp8, groups of 32");
  CHECK(FactOf(out.findings()[0], "only").empty());
}
