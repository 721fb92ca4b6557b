// SPDX-License-Identifier: Apache-2.0
// Every config and every listing that was recorded (tests/fixtures), found by walking: plans are
// clean, decisions are what is stored, claims alone say the same; what is wrong with a release is
// in a table here, with the reason.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;
namespace fs = std::filesystem;

namespace {

// A fixture's codes of errors and warnings, read and found to be true of the release.
struct Defect {
  const char *fixture, *codes, *reason;
};
constexpr Defect kDefects[] = {
    {"configs/deepseek_v3_native_16b", "FR601", "a config of the authors' own code: no model_type"},
    {"configs/deepseek_v3_native_236b", "FR601", "the same"},
    {"configs/deepseek_v3_native_671b", "FR601", "the same"},
    {"configs/deepseek_v3_native_v3_1", "FR601", "the same"},
    {"quant/qwen3_6_27b_w4a16", "FR606", "its quantization_config without sizes; see below"},
    {"quant/deepseek_v4_flash_nvfp4_fp8", "FR401",
     "targets `fused_wqa_wkv` and `gate_proj`, which are no names of the releases seen"},
    {"glm_5_1_fp8", "FR401", "lists `indexers_proj`; the module is `indexer.weights_proj`"},
    {"glm_5_2_fp8", "FR401", "the same name"},
    {"quant/glm_5_fp8", "FR401", "the same name"},
    {"mimo_v2_5", "FR401", "lists `model.decoder`, of its draft layers before they were renamed"},
    {"mimo_v2_5_pro", "FR401", "the same name"},
    {"glm_5_1_w8a8", "FR312", "INT8 weights, and no quant_model_description.json beside them"},
    {"kimi_k2_5", "FR401", "lists `lm_head`; the module is `language_model.lm_head`"},
    {"quant/nemotron_ultra_rl_050826", "FR608", "hf_quant_config.json was cut: no producer"},
    {"quant/nvidia_nemotron_3_super_120b_a12b_fp8", "FR608", "the same"},
    {"quant/nvidia_nemotron_3_super_120b_a12b_nvfp4", "FR608", "the same"},
    {"quant/nvidia_nemotron_3_super_120b_nvfp4_fp8kv", "FR608", "the same"},
    {"quant/nvidia_nemotron_3_ultra_550b_a55b_fp8", "FR608", "the same"},
    {"quant/nvidia_nemotron_3_ultra_550b_a55b_nvfp4", "FR608", "the same"},
};

std::string DefectOf(std::string_view fixture) {
  for (const Defect& defect : kDefects)
    if (fixture == defect.fixture) return defect.codes;
  return "";
}

struct Opened {
  std::shared_ptr<const Checkpoint> checkpoint;
  Planned planned;
};

Opened PlanAny(std::shared_ptr<const Checkpoint> checkpoint) {
  Opened opened{std::move(checkpoint), {}};
  opened.planned.plan = MakePlan(SourceBook(), opened.checkpoint, {1}, &opened.planned.out);
  return opened;
}

std::shared_ptr<Checkpoint> Open(const std::string& fixture) {
  Diagnostics out;
  std::optional<Checkpoint> checkpoint = OpenCheckpoint(FixturePath(fixture), &out);
  INFO(fixture << "\n" << ToHuman(out, false));
  REQUIRE(checkpoint);
  CHECK(out.findings().empty());
  return std::make_shared<Checkpoint>(std::move(*checkpoint));
}

// The same without headers.
std::shared_ptr<Checkpoint> ConfigOf(const Checkpoint& checkpoint) {
  auto config = std::make_shared<Checkpoint>();
  config->directory = checkpoint.directory;
  config->config = checkpoint.config;
  config->quantization_config = checkpoint.quantization_config;
  config->hf_quant_config = checkpoint.hf_quant_config;
  config->quant_model_description = checkpoint.quant_model_description;
  return config;
}

bool Describes(const Checkpoint& checkpoint) {
  return checkpoint.quantization_config || checkpoint.hf_quant_config ||
         checkpoint.quant_model_description ||
         checkpoint.config.Find("text_config").Find("quantization_config");
}

// What names and dtypes of the headers show, without the engine: module → quantized or not. A
// weight has two dims (three with experts in it), a table, norm or convolution none of these names.
std::map<std::string, bool> Shown(const Checkpoint& checkpoint) {
  std::map<std::string, bool> shown;
  for (const Tensor& tensor : checkpoint.tensors()) {
    const std::string_view name = tensor.name;
    const auto ends = [&](std::string_view end, bool quantized) {
      if (!name.ends_with(end)) return false;
      shown[std::string(name.substr(0, name.size() - end.size()))] = quantized;
      return true;
    };
    if (ends(".weight_packed", true) || ends(".qweight", true) || ends("_blocks", true)) continue;
    if (checkpoint.shape(tensor).size() != 2 || name.ends_with("embed_tokens.weight") ||
        name.ends_with("pos_embed.weight") || name.find("embeddings.") != name.npos ||
        name.ends_with("embedding_table.weight") || name == "embed.weight" ||
        name.ends_with("markov_w1.weight"))
      continue;
    ends(".weight", DTypeBits(tensor.dtype) == 8);
  }
  return shown;
}

}  // namespace

TEST_CASE("SOURCES.tsv has a row for each fixture, and no other") {
  std::ifstream in(FixturePath("SOURCES.tsv"));
  REQUIRE(in);
  std::set<std::string> rows;
  std::string line;
  REQUIRE(std::getline(in, line));
  CHECK(line == "path\tmodel\torigin\tlicence\tpairing and fidelity");
  while (std::getline(in, line)) {
    INFO(line);
    std::stringstream cells(line);
    std::vector<std::string> row;
    for (std::string cell; std::getline(cells, cell, '\t');) row.push_back(cell);
    REQUIRE(row.size() == 5);
    for (const std::string& cell : row) CHECK_FALSE(cell.empty());
    CHECK(rows.insert(row[0]).second);
    CHECK(fs::exists(FixturePath(row[0])));
  }
  const fs::path root = FixturePath("");
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    const fs::path path = entry.path().lexically_relative(root);
    if (path == "README.md" || path == "SOURCES.tsv") continue;
    ++files;
    INFO(path.string());
    CHECK(rows.count(path.string()) + rows.count(path.parent_path().string() + "/") == 1);
  }
  CHECK(files > 200);
}

TEST_CASE("every recorded config plans; what is wrong with a release is named") {
  size_t configs = 0, quantized = 0, defects = 0;
  for (const std::string& fixture : FixturesWith("config.json")) {
    const auto checkpoint = Open(fixture);
    // Claims alone: with headers, the next test.
    const Opened opened = PlanAny(checkpoint->has_headers ? ConfigOf(*checkpoint) : checkpoint);
    const Planned& planned = opened.planned;
    INFO(fixture << "\n" << ToHuman(planned.out, false));
    ++configs;
    std::string expected = DefectOf(fixture);
    if (expected == "FR312") expected.clear();  // of the listing
    defects += expected.empty() ? 0 : 1;
    CHECK(planned.Codes() == expected);
    if (!planned.plan) {
      CHECK(planned.out.has_errors());
      CHECK_FALSE(checkpoint->config.Find("text_config"));
      CHECK_FALSE(checkpoint->config.Find("num_hidden_layers"));
      continue;
    }
    // A description quantizes something, and without one nothing is.
    size_t linears = 0, other = 0;
    const Decisions& d = planned.plan->decisions;
    for (const Unit& unit : d.units.units)
      for (int32_t i = 0; IsLinear(unit.kind) && i < unit.count; ++i) {
        const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        ++linears;
        other += module.scheme != 0 ? 1 : 0;
        CHECK_FALSE(module.scheme < 0);
      }
    CHECK(linears > 20);
    CHECK((other > 0) == Describes(*checkpoint));
    quantized += other > 0 ? 1 : 0;
  }
  CHECK(configs > 110);
  CHECK(quantized > 60);
  CHECK(defects == std::size(kDefects) - 1);
}

TEST_CASE("a description that was recorded without sizes plans with those of a sibling") {
  const auto release = Open("quant/qwen3_6_27b_w4a16"), sibling = Open("quant/qwen3_6_27b_nvfp4");
  const auto composed = ConfigOf(*sibling);
  composed->hf_quant_config = {};
  composed->quantization_config = release->quantization_config;
  std::map<std::string, std::string> members;
  for (const JsonValue value : sibling->config)
    members[std::string(value.name())] = value.ToString();
  members["quantization_config"] = release->quantization_config.ToString();
  std::string text;
  for (const auto& [name, value] : members)
    text += fmt::format("{}{}: {}", text.empty() ? "{" : ", ", JsonText(name), value);
  composed->config = Json(text + "}");
  const Opened opened = PlanAny(composed);
  const Planned& planned = opened.planned;
  INFO(ToHuman(planned.out, false));
  // 48 entries name whole linear attentions, of which this dialect covers nothing.
  CHECK(planned.Codes() == "FR401");
  CHECK(FactOf(planned.Only(Code::kDeadEntry), "entries") == "48 of this form");
  REQUIRE(planned.plan);
  const std::string layer = "model.language_model.layers.0.";
  CHECK(planned.Scheme(layer + "mlp.down_proj") == "int4");
  CHECK(planned.Scheme(layer + "linear_attn.in_proj_qkv") == "int4");
  CHECK(planned.Scheme(layer + "linear_attn.in_proj_ba") == "bf16");
  CHECK(planned.Scheme("mtp.fc") == "bf16");
}

TEST_CASE("every recorded listing: decided as stored, each tensor explained, claimed the same") {
  size_t listings = 0;
  std::vector<std::string> fixtures = FixturesWith("tensors.json");
  for (const char* tiny : {"tiny/qwen3_next_fp8", "tiny/qwen3_5_fp8"}) fixtures.emplace_back(tiny);
  for (const std::string& fixture : fixtures) {
    const auto checkpoint = Open(fixture);
    const Opened opened = PlanAny(checkpoint);
    const Planned& planned = opened.planned;
    INFO(fixture << "\n" << ToHuman(planned.out, false));
    CHECK(planned.Codes() == DefectOf(fixture));
    REQUIRE(planned.plan);
    if (planned.out.has_errors()) continue;  // named above; fixtures_test.cc looks closer
    ++listings;
    const Decisions& d = planned.plan->decisions;
    const std::map<std::string, bool> shown = Shown(*checkpoint);
    size_t seen = 0, wrong = 0;
    std::string example;
    for (const Unit& unit : d.units.units)
      for (int32_t i = 0; IsLinear(unit.kind) && i < unit.count; ++i) {
        const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        const std::string path = unit.PathOf(i);
        const auto header = shown.find(path);
        seen += header != shown.end() ? 1 : 0;
        const bool good =
            module.claim == module.stored && module.scheme == module.stored &&
            (header == shown.end() ? unit.stack > 0 : header->second == (module.scheme > 0));
        if (good) continue;
        ++wrong;
        example = path;
      }
    INFO(example);
    CHECK(wrong == 0);
    CHECK(seen == shown.size());

    // The same from config.json alone, for every module that both plans have.
    const Opened claimed = PlanAny(ConfigOf(*checkpoint));
    REQUIRE(claimed.planned.plan);
    const Decisions& without = claimed.planned.plan->decisions;
    size_t differ = 0, compared = 0;
    for (size_t m = 0; m < d.modules.size(); ++m) {
      const auto id = static_cast<int32_t>(m);
      const int32_t at = without.paths.At(d.PathOf(id));
      if (at < 0 || !IsLinear(d.UnitOf(id).kind)) continue;
      const Module &a = d.modules[m], &b = without.modules[static_cast<size_t>(at)];
      if (a.absent || b.absent) continue;
      ++compared;
      differ += planned.plan->SchemeName(a.scheme) != claimed.planned.plan->SchemeName(b.scheme);
    }
    CHECK(differ == 0);
    CHECK(compared > 0);
  }
  CHECK(listings > 35);
}

TEST_CASE("a dialect says where no recorded listing shows what it stores") {
  std::set<const SchemeRule*> seen;
  for (const std::string& fixture : FixturesWith("tensors.json")) {
    const Opened opened = PlanAny(Open(fixture));
    REQUIRE(opened.planned.plan);
    const Decisions& d = opened.planned.plan->decisions;
    for (const Module& module : d.modules)
      if (module.stored > 0) seen.insert(d.quant.schemes[static_cast<size_t>(module.stored)].rule);
  }
  CHECK(seen.size() >= 6);
  size_t silent = 0;
  for (const auto& dialect : SourceBook().dialects) {
    std::ifstream in(fmt::format("{}/../rules/dialects/{}.yaml", FERRULE_TEST_DATA, dialect->name));
    REQUIRE(in);
    std::stringstream text;
    text << in.rdbuf();
    std::string unseen;
    for (const SchemeRule& rule : dialect->schemes)
      if (!rule.storage.empty() && seen.count(&rule) == 0) unseen += rule.scheme + " ";
    INFO(dialect->name << ": " << unseen);
    const bool says = text.str().find("no listing") != std::string::npos;
    if (!unseen.empty()) CHECK(says);
    silent += unseen.empty() ? 1 : 0;
  }
  CHECK(silent >= 3);  // mxfp4, mxfp8, awq
}
