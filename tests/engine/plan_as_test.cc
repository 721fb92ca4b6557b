// SPDX-License-Identifier: Apache-2.0
// What versions of engines would do with real checkpoints: the bug of sglang #23467 and its
// mending.
#include "engine/plan_as.h"

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
  const Compared unknown = Compare("llama_4_maverick", "sglang@0.5.23", 1);
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
