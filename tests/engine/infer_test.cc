// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer.h"

#include <fmt/format.h>

#include "engine/infer/infer_dims.h"
#include "engine/infer/infer_sizes.h"
#include "engine/infer/infer_words.h"
#include "engine/report/plan_state.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::shared_ptr<const Checkpoint> Open(const std::string& directory) {
  Diagnostics found;
  auto checkpoint = OpenCheckpoint(directory, &found);
  INFO(Lines(found, directory));
  REQUIRE(checkpoint);
  return std::make_shared<const Checkpoint>(std::move(*checkpoint));
}

RuleDraft Infer(const std::shared_ptr<const Checkpoint>& checkpoint) {
  Diagnostics found;
  const auto draft = InferRules(checkpoint, SourceBook(), &found);
  INFO(Lines(found, ""));
  REQUIRE(draft);
  return *draft;
}

// The plan under a draft; every finding at error level fails the test.
PlanState PlanUnder(const std::string& yaml, const std::shared_ptr<const Checkpoint>& checkpoint) {
  Diagnostics found;
  const auto rules = ParseRuleFile("draft.yaml", yaml, &found);
  INFO(yaml);
  INFO(Lines(found, ""));
  REQUIRE(rules);
  CHECK(rules->sound);
  const auto plan = MakePlanUnder(rules, SourceBook(), checkpoint, {1}, &found);
  INFO(Lines(found, ""));
  REQUIRE(plan);
  CHECK_FALSE(found.has_errors());
  return StateOf(&*plan, found);
}

// A checkpoint of U8-free BF16 tensors, all in one header fixture.
void WriteModel(const TempDir& directory, const std::string& config, const std::string& tensors) {
  directory.Write("config.json", config).Write("tensors.json", "{\"tensors\": [" + tensors + "]}");
}

std::string Entry(const std::string& name, const std::string& shape, const std::string& more = "") {
  return R"({"name": ")" + name + R"(", "shape": )" + shape + R"(, "dtype": "BF16")" + more + "}";
}

}  // namespace

TEST_CASE("a draft without the family's own file explains its listing, every recorded one") {
  size_t listings = 0, classes_of_all = 0, right_of_all = 0;
  std::set<std::string> unknowable;
  for (const std::string& name : FixturesWith("tensors.json")) {
    INFO(name);
    const auto checkpoint = Open(FixturePath(name));
    Diagnostics found;
    const auto real = MakePlan(SourceBook(), checkpoint, {1}, &found);
    REQUIRE(real);
    if (found.has_errors()) continue;  // its own rules do not explain it either
    const RuleDraft draft = Infer(checkpoint);
    const PlanState drafted = PlanUnder(draft.yaml, checkpoint);
    const PlanState truth = StateOf(&*real, found);
    // A fused name is the engine's; from headers only what other rule files call so can be known.
    const KnownModules known(SourceBook(), checkpoint->config.Find("model_type").Text(), {});
    std::set<std::string> fused;
    for (const KnownModule& module : known.all())
      if (module.node->kind == NodeKind::kFused) fused.insert(module.name);
    // Fused modules by their parts: what they are called is the engine's choice too.
    const auto together = [](const std::string& path, const ModuleState& state) {
      return fmt::format("{} {} {} {}", path.substr(0, path.rfind('.') + 1), state.scheme,
                         fmt::join(state.parts, " "), fmt::join(state.shape, " "));
    };
    std::set<std::string> drafted_fused;
    for (const auto& [path, entry] : drafted.modules) {
      const ModuleState& state = drafted.states[entry.state];
      if (state.kind == "fused") drafted_fused.insert(together(path, state));
    }
    // Classes of modules: same kind, scheme and shape as a person wrote them.
    std::set<std::string> classes, wrong;
    for (const auto& [path, entry] : truth.modules) {
      const ModuleState& a = truth.states[entry.state];
      if (a.kind == "fused" && drafted_fused.count(together(path, a)) > 0) {
        classes.insert(truth.groups[entry.group]);
        continue;
      }
      if (a.kind == "fused" && fused.count(path.substr(path.rfind('.') + 1)) == 0) {
        unknowable.insert(path.substr(path.rfind('.') + 1));
        continue;
      }
      const std::string& group = truth.groups[entry.group];
      classes.insert(group);
      const auto at = drafted.modules.find(path);
      if (at != drafted.modules.end()) {
        const ModuleState& b = drafted.states[at->second.state];
        if (a.kind == b.kind && a.scheme == b.scheme && a.shape == b.shape && a.parts == b.parts)
          continue;
      }
      wrong.insert(group);
    }
    ++listings;
    classes_of_all += classes.size();
    right_of_all += classes.size() - wrong.size();
    INFO(fmt::format("{} of {} classes wrong: {}", wrong.size(), classes.size(),
                     fmt::join(wrong, ", ")));
    CHECK((classes.size() - wrong.size()) * 100 >= classes.size() * 95);
  }
  CHECK(listings > 35);
  CHECK(right_of_all * 100 >= classes_of_all * 99);
  CHECK(classes_of_all > 800);
  CHECK(unknowable == std::set<std::string>{"fused_wkv_wgate", "fused_wqa_wkv", "index_qkv_proj"});
}

TEST_CASE("packed weights give the sizes of their linear") {
  struct Row {
    std::string config, name;
    DType dtype;
    std::vector<int64_t> stored;
    std::string sizes;  // as text; "none"
    std::map<std::string, std::vector<int64_t>> beside;
  };
  const auto method = [](const std::string& name, const std::string& more) {
    return fmt::format(R"({{"quant_method": "{}", {}}})", name, more);
  };
  const std::string gptq = R"("group_size": 128, "bits": )";
  const std::string pack =
      R"("format": "pack-quantized", "config_groups": {"a": {"targets": ["Linear"],
    "weights": {"type": "int", "num_bits": 4, "group_size": 128}}, "b": {"targets": ["re:.*x"],
    "weights": {"type": "int", "num_bits": 8, "group_size": 128}}})";
  const std::vector<Row> rows = {
      {method("gptq", gptq + "4"), "qweight", DType::kI32, {896, 2048}, "2048 7168", {}},
      {method("gptq", gptq + "3"), "qweight", DType::kI32, {672, 2048}, "2048 7168", {}},
      {method("awq", gptq + R"(4, "version": "gemm")"),
       "qweight",
       DType::kI32,
       {7168, 256},
       "2048 7168",
       {}},
      {method("modelopt", R"("quant_algo": "NVFP4")"),
       "weight",
       DType::kU8,
       {2048, 3584},
       "2048 7168",
       {}},
      {method("modelopt", R"("quant_algo": "FP8")"),
       "weight",
       DType::kF8E4M3,
       {2048, 7168},
       "2048 7168",
       {}},
      {method("modelopt", R"("quant_algo": "NVFP4")"),
       "weight",
       DType::kBF16,
       {2048, 3584},
       "none",
       {}},
      {method("mxfp4", R"("modules_to_not_convert": [])"),
       "_blocks",
       DType::kU8,
       {32, 5760, 90, 16},
       "32 5760 2880",
       {}},
      {method("bitsandbytes", R"("load_in_4bit": true, "bnb_4bit_quant_type": "nf4")"),
       "weight",
       DType::kU8,
       {16384, 1},
       "none",
       {}},
      // Two schemes could have stored it: the scales tell; without them nothing does.
      {method("compressed-tensors", pack),
       "weight_packed",
       DType::kI32,
       {2048, 896},
       "2048 7168",
       {{"weight_scale", {2048, 56}}}},
      {method("compressed-tensors", pack),
       "weight_packed",
       DType::kI32,
       {2048, 896},
       "2048 3584",
       {{"weight_scale", {2048, 28}}}},
      {method("compressed-tensors", pack), "weight_packed", DType::kI32, {2048, 896}, "none", {}},
  };
  for (const Row& row : rows) {
    INFO(row.config << " " << fmt::format("{}", fmt::join(row.stored, " ")));
    Diagnostics found;
    const auto quant = ReadQuantConfig(Json(row.config), SourceBook().dialects, {}, &found);
    REQUIRE(quant);
    const auto sizes = SizesOf(*quant, row.name, row.dtype, row.stored,
                               [&](std::string_view name) -> std::optional<std::vector<int64_t>> {
                                 const auto at = row.beside.find(std::string(name));
                                 if (at == row.beside.end()) return std::nullopt;
                                 return at->second;
                               });
    CHECK((sizes ? fmt::format("{}", fmt::join(sizes->shape, " ")) : "none") == row.sizes);
  }
}

TEST_CASE("scales that are too many for whole blocks show their row groups") {
  Diagnostics found;
  const auto quant = ReadQuantConfig(Json(Fp8({})), SourceBook().dialects, {}, &found);
  REQUIRE(quant);
  const auto groups = [&](std::vector<int64_t> scales) {
    const auto sizes = SizesOf(*quant, "weight", DType::kF8E4M3, {27136, 6144},
                               [&](std::string_view name) -> std::optional<std::vector<int64_t>> {
                                 if (name != "weight_scale_inv") return std::nullopt;
                                 return scales;
                               });
    REQUIRE(sizes);
    return sizes->groups;
  };
  CHECK(groups({212, 48}) == 0);
  CHECK(groups({216, 48}) == 8);  // 8 times 27, each for 3,392 rows
  CHECK(groups({215, 48}) == 0);
}

TEST_CASE("a model that nobody knows is drafted from its names and sizes") {
  const TempDir directory;
  WriteModel(directory, R"({"model_type": "newcomer", "hidden_size": 96, "num_hidden_layers": 3,
    "first_dense": 1, "ff": 160, "vocab_size": 320})",
             Entry("tok.table_embed.weight", "[320, 96]") + "," +
                 Entry("body.layers.{L}.mix.weight", "[160, 96]", R"(, "L": [0, 1, 2])") + "," +
                 Entry("body.layers.{L}.out.weight", "[96, 160]", R"(, "L": [1, 2])") + "," +
                 Entry("body.layers.{L}.scale_vector", "[96]", R"(, "L": [0, 1, 2])") + "," +
                 Entry("body.layers.{L}.thin.weight", "[7, 96]", R"(, "L": [0])") + "," +
                 Entry("body.layers.{L}.thin.bias", "[7]", R"(, "L": [0])"));
  const auto checkpoint = Open(directory.path());
  const RuleDraft draft = Infer(checkpoint);
  CHECK(draft.known == 0);
  PlanUnder(draft.yaml, checkpoint);
  for (const char* line :
       {"model_type: newcomer", "index: {layer: num_hidden_layers}",
        "table_embed: {weight: [vocab_size, hidden_size]}",
        "mix: {rows: ff, in: hidden_size, split: column}   # ?",
        "when: not out_layer, rows: 7, in: hidden_size, split: column, bias: true",
        "out_layer: layer >= first_dense", "scale_vector: {param: [hidden_size]}"}) {
    INFO(draft.yaml);
    INFO(line);
    CHECK(draft.yaml.find(line) != std::string::npos);
  }
}

TEST_CASE("shapes that depend on the layer become alternatives") {
  const TempDir directory;
  WriteModel(directory, R"({"model_type": "twofold", "num_hidden_layers": 4, "hidden_size": 64,
    "kinds": ["wide", "slim", "wide", "wide"], "wide_size": 256, "slim_size": 32})",
             Entry("layers.{L}.ff.weight", "[256, 64]", R"(, "L": [0, 2, 3])") + "," +
                 Entry("layers.{L}.ff.weight", "[32, 64]", R"(, "L": [1])"));
  const auto checkpoint = Open(directory.path());
  const RuleDraft draft = Infer(checkpoint);
  const PlanState state = PlanUnder(draft.yaml, checkpoint);
  CHECK(draft.yaml.find("kinds(layer) == 'wide'") != std::string::npos);
  CHECK(state.states[state.modules.at("layers.1.ff").state].shape == std::vector<int64_t>{32, 64});
  CHECK(state.states[state.modules.at("layers.2.ff").state].shape == std::vector<int64_t>{256, 64});
}

TEST_CASE("what gives no draft says why") {
  const auto problem = [](const std::string& config, const std::string& tensors) {
    const TempDir directory;
    directory.Write("config.json", config);
    if (!tensors.empty()) directory.Write("tensors.json", "{\"tensors\": [" + tensors + "]}");
    const auto checkpoint = Open(directory.path());
    Diagnostics found;
    CHECK_FALSE(InferRules(checkpoint, SourceBook(), &found));
    return Lines(found, directory.path());
  };
  CHECK(problem(R"({"model_type": "x"})", "") ==
        "D: error[FR706]: there are no headers to draft rules from | help: name a checkpoint with "
        "safetensors files, or a header fixture with tensors.json");
  CHECK(problem("{}", Entry("a.weight", "[2, 2]")) ==
        "D/config.json: error[FR601]: config.json names no model_type that could name a rule file");
  CHECK(problem(R"({"model_type": "x"})", Entry("a b.weight", "[2, 2]")) ==
        "error[FR713]: `a b` has a segment that no rule file can name");
  CHECK(problem(R"({"model_type": "x", "quantization_config": {"quant_method": "novel"}})",
                Entry("a.weight", "[2, 2]"))
            .find("FR602") != std::string::npos);
}

TEST_CASE("sizes are written as the simplest expression that gives them") {
  const JsonValue config = Json(R"({"hidden_size": 640, "num_attention_heads": 10, "head_dim": 96,
    "q_lora_rank": 72, "qk_rope_head_dim": 24, "intermediate_size": 1408, "bos_token_id": 17,
    "vision_config": {"hidden_size": 48, "depth": 6}})");
  const DimGuess dims(config, {});
  CHECK(dims.Expression(640, "model.mlp") == "hidden_size");
  CHECK(dims.Expression(960, "model.mlp") == "num_attention_heads * head_dim");
  CHECK(dims.Expression(1280, "model.mlp") == "2 * hidden_size");
  CHECK(dims.Expression(120, "model.mlp") == "head_dim + qk_rope_head_dim");
  CHECK(dims.Expression(48, "model.visual.blocks") == "vision_config.hidden_size");
  CHECK(dims.Expression(17, "model.mlp") == "17");  // a token id is no size
  CHECK(dims.Expression(3, "model.mlp") == "3");
  const ConfigScope scope(config, {});
  for (const int64_t value : {640, 960, 1280, 120, 48, 17, 1408, 99991})
    CHECK(ValueOf(dims.Expression(value, "model.mlp"), scope) == value);
}

TEST_CASE("conditions hold for the wanted layers and no others") {
  const JsonValue config = Json(R"({"interval": 3, "dense": 2, "pattern": "M*M-M*",
    "kinds": ["a", "b", "a", "c", "a", "b"]})");
  const DimGuess dims(config, {});
  const std::set<uint32_t> all = {0, 1, 2, 3, 4, 5};
  CHECK(dims.Condition("n", {0, 1}, all) == "n < dense");
  CHECK(dims.Condition("n", {2, 5}, all) == "(n + 1) % interval == 0");
  CHECK(dims.Condition("n", {1, 5}, all) == "pattern(n) == '*'");
  CHECK(dims.Condition("n", {3}, all) == "pattern(n) == '-'");
  CHECK(dims.Condition("n", {0, 3, 4}, all) == "n == 0 or (n >= 3 and n <= 4)");
}

TEST_CASE("without rules, too, a packed weight without its scales and stray scales are found") {
  const auto codes = [](const Model& model) {
    const auto checkpoint = model.Build();
    Diagnostics found;
    const auto draft = InferRules(checkpoint, SourceBook(), &found);
    REQUIRE(draft);
    const auto rules = ParseRuleFile("draft.yaml", draft->yaml, &found);
    REQUIRE(rules);
    MakePlanUnder(rules, SourceBook(), checkpoint, {1}, &found);
    std::set<std::string> names;
    for (const Finding& finding : found.findings())
      if (finding.level == Level::kError) names.insert(CodeName(finding.code));
    return fmt::format("{}", fmt::join(names, " "));
  };
  const std::string module = "model.layers.7.mlp.down_proj.";
  Model model = Model::Of("qwen3_32b_awq");
  CHECK(codes(model).empty());
  Model bare = model;
  REQUIRE(bare.tensors.erase(module + "scales") == 1);
  CHECK(codes(bare) == "FR308");
  Model stray = model;
  stray.tensors["lm_head.scales"] = {DType::kF16, {40, 151936}};
  CHECK(codes(stray) == "FR311");
  Model narrow = model;
  narrow.tensors.at(module + "scales").shape[0] /= 2;
  CHECK(codes(narrow) == "FR309");
  Model halved = model;
  halved.tensors.at(module + "qweight").shape[1] /= 2;
  CHECK_FALSE(codes(halved).empty());
}
