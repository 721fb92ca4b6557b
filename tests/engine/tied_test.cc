// SPDX-License-Identifier: Apache-2.0
// `same:`: what is not stored runs in the scheme of what it reads, and counts as a module.
#include "engine/plan/view.h"
#include "engine/report/report.h"
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

ModuleView View(const Planned& planned, std::string_view path) {
  const int32_t id = planned.plan->Find(path);
  REQUIRE(id >= 0);
  return ViewOf(*planned.plan, id, nullptr);
}

int64_t Count(const Planned& planned, std::string_view scheme) {
  for (const auto& [name, count] : CountSchemes(*planned.plan))
    if (name == scheme) return count;
  return 0;
}

}  // namespace

TEST_CASE("a tied head runs in the dtype of the embeddings and is counted") {
  Model model = Model::Of("gemma_4_26b_a4b");
  const std::string embeddings = "model.language_model.embed_tokens.weight";
  const Planned tied = PlanOf(model);
  CHECK(View(tied, "lm_head").scheme == "bf16");
  CHECK(View(tied, "lm_head").dtype == "BF16");
  CHECK(View(tied, "lm_head").stored.empty());
  model.tensors.at(embeddings).dtype = DType::kF16;
  CHECK(View(PlanOf(model), "lm_head").dtype == "F16");

  // 28 layers of qkv_proj, o_proj, gate_up_proj and down_proj, and the head; config.json alone.
  const Planned alone = PlanOfFixture("qwen3_0_6b_fp8");
  CHECK(View(alone, "lm_head").scheme == "bf16");
  CHECK(Count(alone, "fp8_block") == 28 * 4);
  CHECK(Count(alone, "bf16") == 1);
}

TEST_CASE("V that is read from K runs in K's scheme") {
  Model model = Model::Of("gemma_4_26b_a4b");
  model.headers = false;
  model.config["quantization_config"] = Channel({"lm_head"});
  const Planned planned = PlanOf(model);
  const std::string attn = "model.language_model.layers.5.self_attn.";
  CHECK(View(planned, attn + "k_proj").scheme == "fp8_channel");
  CHECK(View(planned, attn + "v_proj").scheme == "fp8_channel");
  CHECK(View(planned, attn + "v_proj").same == "k_proj");
  model.config["quantization_config"] = Channel({"lm_head", "re:.*layers\\.5\\..*"});
  const Planned listed = PlanOf(model);
  CHECK(View(listed, attn + "v_proj").scheme == "bf16");
}
