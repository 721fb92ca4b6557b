// SPDX-License-Identifier: Apache-2.0
// How an entry of `models` turns a checkpoint's modules into those of an engine, key by key.
#include "engine/runtimes/engine_modules.h"

#include <algorithm>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// Patterns of the modules of DeepSeek-V3 under an entry, sorted; draft layers when `draft`.
std::vector<std::string> Built(const std::string& entry, bool draft = false) {
  const std::string text =
      "ferrule: 1\nruntime: engine\nversion: 1\nabout: a test\n"
      "tables: {usual: {gate_up_proj: [gate_proj, up_proj]}}\n"
      "functions: {f: {steps: quant}}\n"
      "helpers:\n  sure: {steps: yes}\n  never: {steps: no}\n"
      "  knows_draft:\n    steps: {if: {listed: {by: exact, names: [{is: model.layers.61}]}, in: "
      "draft}, "
      "then: yes, else: no}\n"
      "  reads: {steps: {if: {text: '{input quant_method}', is: fp8}, then: yes, else: no}}\n"
      "methods: {fp8: f}\nmodules: {fuses: usual}\nmodels:\n  M: " +
      entry + "\n";
  Diagnostics out;
  const auto runtime = ParseRuntime("engine@1.yaml", text, &out);
  INFO(entry << "\n" << ToHuman(out, false));
  REQUIRE(runtime != nullptr);
  static const Planned kPlanned = [] {
    Model model = Model::Of("deepseek_v3");
    model.headers = false;
    return PlanOf(model);
  }();
  REQUIRE(kPlanned.plan);
  std::vector<std::string> patterns;
  for (const EngineModule& module :
       EngineModules(*kPlanned.plan, *runtime, runtime->models.at(0), draft)) {
    const std::string pattern = module.Pattern();
    if (std::find(patterns.begin(), patterns.end(), pattern) == patterns.end())
      patterns.push_back(pattern);
  }
  std::sort(patterns.begin(), patterns.end());
  return patterns;
}

bool Has(const std::vector<std::string>& patterns, std::string_view pattern) {
  return std::find(patterns.begin(), patterns.end(), pattern) != patterns.end();
}

}  // namespace

TEST_CASE("without a word the modules are those of the checkpoint, experts of a layer as one") {
  const auto built = Built("{}");
  CHECK(Has(built, "model.layers.<layer>.self_attn.q_a_proj"));
  CHECK(Has(built, "model.layers.<layer>.mlp.experts"));
  CHECK(Has(built, "model.layers.<layer>.mlp.gate"));
  CHECK(Has(built, "lm_head"));
  CHECK_FALSE(Has(built, "model.embed_tokens"));  // no linear, unless `weights` says so
  CHECK_FALSE(Has(built, "model.layers.<mtp>.eh_proj"));
  CHECK(Has(Built("{}", true), "model.layers.<mtp>.eh_proj"));
  CHECK(Has(Built("{weights: {embed_tokens: embedding}}"), "model.embed_tokens"));
}

TEST_CASE("experts are one module, or each of their linears is") {
  CHECK_FALSE(Has(Built("{}"), "model.layers.<layer>.mlp.experts.<expert>.down_proj"));
  const auto linears = Built("{experts: linears}");
  CHECK(Has(linears, "model.layers.<layer>.mlp.experts.<expert>.down_proj"));
  CHECK_FALSE(Has(linears, "model.layers.<layer>.mlp.experts"));
}

TEST_CASE("fuses, apart and splits say what is built of what is stored") {
  CHECK(Has(Built("{}"), "model.layers.<layer>.mlp.gate_up_proj"));
  const auto apart = Built("{apart: [gate_up_proj]}");
  CHECK(Has(apart, "model.layers.<layer>.mlp.gate_proj"));
  CHECK_FALSE(Has(apart, "model.layers.<layer>.mlp.gate_up_proj"));
  const auto fused = Built("{fuses: {qkv_a: [q_a_proj, kv_a_proj_with_mqa]}}");
  CHECK(Has(fused, "model.layers.<layer>.self_attn.qkv_a"));
  CHECK_FALSE(Has(fused, "model.layers.<layer>.self_attn.q_a_proj"));
  // Of three parts the last may be missing, of two none.
  CHECK(Has(Built("{fuses: {x: [q_a_proj, kv_a_proj_with_mqa, g_proj]}}"),
            "model.layers.<layer>.self_attn.x"));
  CHECK_FALSE(Has(Built("{fuses: {x: [q_a_proj, g_proj]}}"), "model.layers.<layer>.self_attn.x"));
  const auto split = Built("{splits: {kv_b_proj: [k_b_proj, v_b_proj]}}");
  CHECK(Has(split, "model.layers.<layer>.self_attn.v_b_proj"));
  CHECK_FALSE(Has(split, "model.layers.<layer>.self_attn.kv_b_proj"));
}

TEST_CASE("names replace whole segments in order, and a number where both sides name it") {
  const auto built = Built("{names: {model: language_model.model, mlp: ffn, gate: never}}");
  CHECK(Has(built, "language_model.model.layers.<layer>.ffn.gate_up_proj"));
  CHECK(Has(built, "language_model.model.layers.<layer>.ffn.never"));  // not gate_up_proj
  CHECK(Has(Built("{names: {layers.<layer>.mlp: blocks.<layer>.mlp}}"),
            "model.blocks.<layer>.mlp.experts"));
  CHECK(Has(Built("{names: {model.layers.<n>: model.decoder}}", true),
            "model.decoder.self_attn.o_proj"));
  // A number as such is meant literally.
  const auto literal = Built("{names: {layers.0.mlp: first}}");
  CHECK(Has(literal, "model.first.gate_up_proj"));
  CHECK(Has(literal, "model.layers.<layer>.mlp.gate_up_proj"));
}

TEST_CASE("omits, plain and adds, and the conditions on them") {
  CHECK_FALSE(Has(Built("{omits: [mlp.gate]}"), "model.layers.<layer>.mlp.gate"));
  CHECK(Has(Built("{omits: [mlp.gate]}"), "model.layers.<layer>.mlp.gate_up_proj"));
  CHECK_FALSE(Has(Built("{omits: [{modules: shared_experts, when: n_routed_experts == 256}]}"),
                  "model.layers.<layer>.mlp.shared_experts.down_proj"));
  CHECK(Has(Built("{omits: [{modules: shared_experts, when: n_routed_experts == 384}]}"),
            "model.layers.<layer>.mlp.shared_experts.down_proj"));
  CHECK(Has(Built("{omits: [{modules: shared_experts, under: modelopt}]}"),
            "model.layers.<layer>.mlp.shared_experts.down_proj"));
  // A function may be asked, of the description and of the roots of draft layers.
  const auto asked = [](const std::string& function) {
    return Has(Built("{omits: [{modules: shared_experts, if: " + function + "}]}"),
               "model.layers.<layer>.mlp.shared_experts.down_proj");
  };
  CHECK_FALSE(asked("sure"));
  CHECK(asked("never"));
  CHECK_FALSE(asked("knows_draft"));
  CHECK_FALSE(asked("reads"));
  // What is built without the config has the path in the model.
  CHECK(Has(Built("{names: {mlp: a}, paths: {mlp: b}, plain: [a.gate]}"),
            "model.layers.<layer>.b.gate"));
  CHECK(Has(Built("{adds: {vision.blocks.0-26.proj: linear}}"), "vision.blocks.<n>.proj"));
  CHECK_FALSE(
      Has(Built("{adds: [{modules: x.y, layer: linear, when: has(vision_config)}]}"), "x.y"));
}
