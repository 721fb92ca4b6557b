// SPDX-License-Identifier: Apache-2.0
// What versions of engines would do with real checkpoints: the bug of sglang #23467 and its
// mending.
#include "engine/runtimes/plan_as.h"

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Compared {
  PlanAs counts;
  std::shared_ptr<const Plan> plan;
  std::string text;  // all findings of the comparison
};

Compared Compare(const std::string& fixture, const std::string& as, int tp) {
  Diagnostics out;
  auto checkpoint = OpenCheckpoint(FERRULE_TEST_DATA "/fixtures/" + fixture, &out);
  REQUIRE(checkpoint);
  auto plan = MakePlan(SourceBook(), std::make_shared<const Checkpoint>(std::move(*checkpoint)),
                       {tp}, &out);
  const auto runtimes = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(plan);
  REQUIRE(runtimes);
  const auto runtime = runtimes->Find(as, &out);
  REQUIRE(runtime);
  Diagnostics found;
  const auto counts = ComparePlan(*plan, *runtime, &found);
  std::string text;  // in one line: long facts are wrapped
  for (const char c : ToHuman(found, false))
    if (const char one = c == '\n' ? ' ' : c; one != ' ' || text.empty() || text.back() != ' ')
      text += one;
  return {counts.value_or(PlanAs{}), std::make_shared<const Plan>(std::move(*plan)), text};
}

}  // namespace

TEST_CASE("the table of sglang #23467 stops Qwen3-Next at tp 4 with the message of the report") {
  const Compared bad = Compare("qwen3_next_80b_fp8", "sglang@4323fce82", 4);
  CHECK(bad.counts.refused == 36);
  CHECK(bad.counts.otherwise == 0);
  CHECK(bad.text.find("ValueError: Weight output_partition_size = 8 is not divisible by weight "
                      "quantization block_n = 128.") != std::string::npos);
  CHECK(bad.text.find("model.layers.<layer>.linear_attn.in_proj_ba") != std::string::npos);
  const Compared good = Compare("qwen3_next_80b_fp8", "sglang@0.5.23", 4);
  CHECK(good.text.empty());
  CHECK(good.counts.alike == good.counts.asked);
}

TEST_CASE("experts of 64 rows: SGLang refuses them at tp 8, vLLM refines their scales") {
  const Compared sglang = Compare("qwen3_next_80b_fp8", "sglang@0.5.23", 8);
  CHECK(sglang.text.find("The output_size of gate's and up's weight = 64 is not divisible") !=
        std::string::npos);
  const Compared vllm = Compare("qwen3_next_80b_fp8", "vllm@0.32.0", 8);
  CHECK(vllm.text.find("gate's and up's") == std::string::npos);
  // … but not the shared expert's down_proj of 64 columns.
  CHECK(vllm.text.find("Weight input_size_per_partition = 64") != std::string::npos);
}

TEST_CASE("what an engine does not check is not refused, what is not described is not guessed") {
  CHECK(Compare("deepseek_v3", "sglang@0.5.23", 8).text.empty());
  const Compared unknown = Compare("llama_4_maverick", "tensorrt-llm@new", 1);
  CHECK(unknown.counts.asked == 0);
  CHECK(unknown.text.find("FR803") != std::string::npos);
}

TEST_CASE("modules of an engine have its names, its answers and what is stored in them") {
  const Compared sglang = Compare("qwen3_next_80b_fp8", "sglang@0.5.23", 1);
  const auto find = [&](std::string_view name, bool draft) -> const AsModule& {
    for (const AsModule& module : sglang.counts.modules)
      if (module.name == name && module.draft == draft) return module;
    FAIL("no module " << name);
    return sglang.counts.modules.front();
  };
  const AsModule& qkv = find("model.layers.3.self_attn.qkv_proj", false);
  CHECK(qkv.result == "quant");
  CHECK(qkv.verdict == AsVerdict::kAlike);
  CHECK(qkv.pattern == "model.layers.<layer>.self_attn.qkv_proj");
  REQUIRE(qkv.modules.size() == 3);
  CHECK(sglang.plan->decisions.PathOf(qkv.modules[2]) == "model.layers.3.self_attn.v_proj");
  CHECK(find("model.layers.0.mlp.experts", false).layer == LayerKind::kExperts);
  // Built without the config, so never asked.
  CHECK(find("model.layers.0.mlp.gate", false).plain);
  CHECK(find("lm_head", false).result == "none");
  // The draft model has the same names for what the checkpoint calls mtp.
  const AsModule& draft = find("model.layers.0.self_attn.o_proj", true);
  CHECK(sglang.plan->decisions.PathOf(draft.modules[0]) == "mtp.layers.0.self_attn.o_proj");
}

// The answer for one module of a Llama under a description that no release here has.
struct Answered {
  const char* description;
  const char* as;
  const char* module;
  const char* result;  // or the refusal
};

TEST_CASE("each method reaches the engine's own function") {
  const std::string bnb =
      R"({"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4", "llm_int8_skip_modules": ["lm_head", "o_proj"]})";
  const std::string quark =
      R"({"quant_method": "quark", "exclude": ["lm_head", "re:.*down_proj"], "layer_type_quant_config": {},
          "export": {"kv_cache_group": ["*k_proj", "*v_proj"], "pack_method": "reorder"}, "layer_quant_config": {
           "*k_proj": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false},
                       "output_tensors": {"dtype": "fp8_e4m3"}},
           "*v_proj": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false},
                       "output_tensors": {"dtype": "fp8_e4m3"}}},
          "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false},
                                  "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false}, "output_tensors": null}})";
  const std::string unexported =
      R"({"quant_method": "quark", "exclude": [], "global_quant_config": {"weight": {"dtype": "int8"}}})";
  const std::string round =
      R"({"quant_method": "auto-round", "bits": 4, "group_size": 64, "data_type": "int", "sym": true, "packing_format": "auto_round:auto_gptq",
          "extra_config": {"model.layers.3.mlp.down_proj": {"bits": 16, "data_type": "float"}}})";
  const std::string fbgemm =
      R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["model.layers.0.self_attn.o_proj"]})";
  const Answered rows[] = {
      {bnb.c_str(), "sglang@0.5.23", "model.layers.0.self_attn.o_proj", "skip"},
      {bnb.c_str(), "sglang@0.5.23", "model.layers.0.self_attn.qkv_proj", "quant"},
      {bnb.c_str(), "vllm@0.32.0", "",
       "ValidationError: 1 validation error for ModelConfig: Value error, Unknown quantization "
       "method: bitsandbytes."},
      {quark.c_str(), "sglang@0.5.23", "model.layers.0.mlp.down_proj", "skip"},
      {quark.c_str(), "sglang@0.5.23", "lm_head", "none"},
      // The KV cache's outputs do not make q, k and v differ.
      {quark.c_str(), "sglang@0.5.23", "model.layers.0.self_attn.qkv_proj", "quant"},
      {quark.c_str(), "vllm@0.32.0", "model.layers.0.self_attn.qkv_proj", "quant"},
      {unexported.c_str(), "vllm@0.32.0", "",
       "ValidationError: 1 validation error for VllmConfig: Value error, The export key should be "
       "included in the configurations of Quark quantized "
       "model"},
      {quark.c_str(), "vllm@0.32.0", "model.layers.0.mlp.gate_up_proj", "quant"},
      {quark.c_str(), "vllm@0.32.0", "model.layers.0.mlp.down_proj", "skip"},
      {round.c_str(), "sglang@0.5.23", "model.layers.3.mlp.down_proj", "skip"},
      {round.c_str(), "sglang@0.5.23", "model.layers.4.mlp.down_proj", "quant"},
      {round.c_str(), "vllm@0.32.0", "model.layers.3.mlp.down_proj", "skip"},
      {round.c_str(), "vllm@0.32.0", "model.layers.4.mlp.down_proj", "quant"},
      {fbgemm.c_str(), "vllm@0.32.0", "",
       "ValidationError: 1 validation error for ModelConfig: Value error, ('The quantization "
       "method %s is deprecated and will be removed in future "
       "versions of "
       "vLLM. To bypass, set `--allow-deprecated-quantization`.', 'fbgemm_fp8')"},
      {fbgemm.c_str(), "sglang@0.5.23", "", "ValueError: Unknown quantization method: fbgemm_fp8."},
      {fbgemm.c_str(), "transformers@5.23.0", "model.layers.0.self_attn.o_proj", "skip"},
      {fbgemm.c_str(), "transformers@5.23.0", "model.layers.1.self_attn.o_proj", "quant"},
      {bnb.c_str(), "transformers@5.23.0", "lm_head", "skip"},
      {bnb.c_str(), "transformers@5.23.0", "model.layers.1.self_attn.q_proj", "quant"},
  };
  Diagnostics out;
  const auto runtimes = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  REQUIRE(runtimes);
  for (const Answered& row : rows) {
    INFO(row.as << ": " << row.module << " under " << row.description);
    Model model = Model::Of("llama_3_1_8b");
    model.headers = false;
    model.config["quantization_config"] = row.description;
    const Planned planned = PlanOf(model);
    REQUIRE(planned.plan);
    const auto runtime = runtimes->Find(row.as, &out);
    REQUIRE(runtime);
    const auto as = ComparePlan(*planned.plan, *runtime, &out);
    REQUIRE(as);
    if (*row.module == '\0') {
      CHECK(as->refusal == row.result);
      CHECK(as->modules.empty());
      continue;
    }
    std::string result = "no such module";
    for (const AsModule& module : as->modules)
      if (module.name == row.module) result = module.result;
    CHECK(result == row.result);
  }
}

TEST_CASE("engines that share questions, and sizes that share answers, say what each says alone") {
  Diagnostics out;
  const auto runtimes = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  REQUIRE(runtimes);
  int compared = 0, refused = 0;
  for (const char* fixture : {"qwen3_next_80b_fp8", "glm_4_7_fp8", "kimi_k2_5", "qwen3_32b_awq",
                              "quant/glm_5_nvfp4", "mimo_v2_5", "deepseek_v4_pro"}) {
    auto checkpoint = OpenCheckpoint(std::string(FERRULE_TEST_DATA "/fixtures/") + fixture, &out);
    REQUIRE(checkpoint);
    const auto shared = std::make_shared<const Checkpoint>(std::move(*checkpoint));
    auto plan = MakePlan(SourceBook(), shared, {1}, &out);
    REQUIRE(plan);
    QuestionCache cache;
    std::vector<std::optional<PlanAs>> decided(runtimes->runtimes.size());
    for (const int tp : {1, 8}) {
      REQUIRE((tp == 1 || CutAgain(tp, &*plan, &out)));
      const auto alone = MakePlan(SourceBook(), shared, {tp}, &out);
      REQUIRE(alone);
      CHECK(plan->plan_sha == alone->plan_sha);
      for (size_t e = 0; e < decided.size(); ++e) {
        const Runtime& runtime = *runtimes->runtimes[e];
        INFO(fixture << " " << runtime.engine << "@" << runtime.version << " tp " << tp);
        Diagnostics ours, own;
        const auto expected = ComparePlan(*alone, runtime, &own);
        if (tp > 1 && !decided[e]) continue;  // not described
        auto as = ComparePlan(*plan, runtime, &cache, tp > 1 ? &*decided[e] : nullptr, &ours);
        CHECK(ToHuman(ours, false) == ToHuman(own, false));
        REQUIRE(as.has_value() == expected.has_value());
        if (!as) continue;
        JsonWriter text, expected_text;
        WritePlanAs(*plan, *as, true, &text);
        WritePlanAs(*alone, *expected, true, &expected_text);
        CHECK(text.Take() == expected_text.Take());
        ++compared;
        refused += as->refused > 0 || !as->refusal.empty() ? 1 : 0;
        if (tp == 1) decided[e] = std::move(as);
      }
    }
  }
  CHECK(compared > 100);
  CHECK(refused > 0);
}
