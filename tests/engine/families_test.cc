// SPDX-License-Identifier: Apache-2.0
// Model families whose listings are derived from the public model classes: every parameter is
// explained once, with its shape. And layers that differ in size, from config.json alone.
#include <vector>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Family {
  const char* fixture;
  size_t tensors, linears;
};

// Linears as counted in the listing: weights of two dims that are no tables, and stacks of three.
constexpr Family kFamilies[] = {
    {"gemma_4_26b_a4b", 1'013, 486},    {"llama_4_maverick", 507, 409},
    {"mistral_small_24b", 363, 281},    {"mixtral_8x7b", 995, 929},
    {"muse_glimmer_30b", 1'436, 721},   {"nemotron_3_ultra_550b", 49'983, 49'537},
    {"nemotron_nano_12b_v2", 369, 137},
};

}  // namespace

TEST_CASE("every parameter of a model class is explained once") {
  for (const Family& family : kFamilies) {
    const Planned planned = PlanOfFixture(family.fixture);
    INFO(family.fixture << "\n" << ToHuman(planned.out, false));
    CHECK(planned.Codes().empty());
    const Plan& plan = *planned.plan;
    std::vector<int> used(plan.checkpoint->tensors().size(), 0);
    size_t linears = 0;
    for (const Unit& unit : plan.decisions.units.units)
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = plan.decisions.modules[static_cast<size_t>(unit.first + i)];
        for (const int32_t tensor : {module.weight, module.scale, module.input, module.bias})
          if (tensor >= 0) ++used[static_cast<size_t>(tensor)];
        linears += IsLinear(unit.kind) && !module.absent ? 1 : 0;
      }
    CHECK(used == std::vector<int>(family.tensors, 1));
    CHECK(linears == family.linears);
  }
}

TEST_CASE("Gemma 4 stores no v_proj where K serves as V") {
  const Planned gemma = PlanOfFixture("gemma_4_26b_a4b");
  const std::string layers = "model.language_model.layers.";
  CHECK(gemma.Scheme(layers + "4.self_attn.v_proj") == "bf16");
  CHECK(gemma.Scheme(layers + "5.self_attn.k_proj") == "bf16");
  CHECK(gemma.Scheme(layers + "5.self_attn.v_proj") == "absent");
  CHECK(gemma.At(layers + "5.self_attn.v_proj").reason == Reason::kSame);
  Model model = Model::Of("gemma_4_26b_a4b");
  model.Move("model.language_model.layers.5.self_attn.k_proj.weight",
             "model.language_model.layers.5.self_attn.v_proj.weight");
  CHECK(PlanOf(model).Only(Code::kMissingTensor).message.find("k_proj") != std::string::npos);
}

TEST_CASE("the pattern of a Nemotron decides what each layer stores") {
  Model model = Model::Of("nemotron_nano_12b_v2");
  CHECK(model.config["time_step_limit"].find("null") != std::string::npos);  // Infinity as released
  std::string pattern = model.config["hybrid_override_pattern"];
  REQUIRE(pattern.substr(0, 4) == "\"M-M");
  pattern[1] = '-';
  model.config["hybrid_override_pattern"] = pattern;
  const Planned planned = PlanOf(model);
  CHECK(planned.Codes() == "FR303 FR304");  // an mlp is missing, a mamba mixer unexplained
}

TEST_CASE("layers found by architecture search have sizes of their own") {
  const Planned planned = PlanOfFixture("nemotron_super_49b");
  CHECK(planned.Codes().empty());
  // Counted in block_configs: 49 of 80 layers attend; layer 0 has ffn_mult 2.625, layer 1 5.25.
  int attend = 0;
  for (int layer = 0; layer < 80; ++layer) {
    const std::string path = "model.layers." + std::to_string(layer);
    attend += planned.Scheme(path + ".self_attn.o_proj") == "bf16" ? 1 : 0;
    CHECK(planned.Scheme(path + ".mlp.down_proj") == "bf16");
  }
  CHECK(attend == 49);
  const Plan& plan = *planned.plan;
  const auto width = [&](const std::string& path) {
    return plan.decisions.UnitOf(plan.decisions.paths.At(path)).in;
  };
  CHECK(width("model.layers.0.mlp.down_proj") == 14'336);
  CHECK(width("model.layers.1.mlp.down_proj") == 28'672);
}
