// SPDX-License-Identifier: Apache-2.0
// Every recorded listing under its rules: nothing is left over, and config.json and list alone say
// what the headers show.
#include <fmt/format.h>

#include <map>
#include <set>
#include <string>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

// A linear of the listing: a weight of two dims that is no table, norm or convolution.
bool IsWeight(const Tensor& tensor, std::span<const int64_t> shape) {
  const std::string_view name = tensor.name;
  return name.ends_with(".weight") && shape.size() == 2 && !name.ends_with("embed_tokens.weight") &&
         !name.ends_with("pos_embed.weight") && name.rfind("speech_embeddings.", 0) != 0;
}

}  // namespace

TEST_CASE("the claim is what is stored, for every linear of every listing") {
  for (const char* name : {"qwen3_next_80b_fp8",
                           "qwen3_5_27b",
                           "qwen3_5_27b_fp8",
                           "qwen3_5_35b_a3b",
                           "qwen3_8b_fp8",
                           "qwen3_30b_a3b_fp8",
                           "deepseek_v3",
                           "glm_4_5_fp8",
                           "qwen2_5_7b_instruct",
                           "llama_3_1_8b_instruct",
                           "llama_3_2_3b_instruct",
                           "qwen3_vl_8b",
                           "qwen3_vl_30b_a3b",
                           "gemma_4_31b_it",
                           "tiny/qwen3_next_fp8",
                           "tiny/qwen3_5_fp8",
                           "deepseek_v3_2",
                           "glm_5_1_fp8",
                           "glm_5_2_fp8",
                           "minimax_m2_7",
                           "glm_4_7_flash",
                           "kimi_linear_48b",
                           "mimo_v2_5",
                           "mimo_v2_5_pro",
                           "minimax_m3"}) {
    const Planned planned = PlanOfFixture(name);
    INFO(name << "\n" << ToHuman(planned.out, false));
    const Plan& plan = *planned.plan;
    const Checkpoint& checkpoint = *plan.checkpoint;
    CHECK_FALSE(planned.out.has_errors());

    // What the headers say, without the engine: module → FP8 or not.
    std::map<std::string_view, bool> stored;
    for (const Tensor& tensor : checkpoint.tensors())
      if (IsWeight(tensor, checkpoint.shape(tensor)))
        stored[tensor.name.substr(0, tensor.name.size() - 7)] = DTypeBits(tensor.dtype) == 8;

    std::vector<int> used(checkpoint.tensors().size(), 0);
    size_t linears = 0, wrong = 0;
    for (const Unit& unit : plan.decisions.units.units) {
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = plan.decisions.modules[static_cast<size_t>(unit.first + i)];
        for (const int32_t tensor : {module.weight, module.scale, module.input, module.bias})
          if (tensor >= 0) ++used[static_cast<size_t>(tensor)];
        if (!IsLinear(unit.kind) || module.absent) continue;
        ++linears;
        if (module.claim != module.stored || module.scheme != module.stored) ++wrong;
        const auto header = stored.find(unit.PathOf(i));
        if (header == stored.end()) {
          if (unit.stack == 0) {
            INFO(unit.PathOf(i));
            CHECK(header != stored.end());
          }
        } else if ((module.scheme > 0) != header->second) {
          ++wrong;
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(linears >= stored.size());
    // The ledger: each tensor once. Leftovers, which only some releases have, are in no module.
    size_t unused = 0, twice = 0;
    for (const int times : used) {
      unused += times == 0 ? 1 : 0;
      twice += times > 1 ? 1 : 0;
    }
    CHECK(twice == 0);
    CHECK((plan.decisions.rules->leftovers.empty() ? unused == 0 : unused <= 61));

    // The same claims without headers.
    Model model = Model::Of(name);
    model.headers = false;
    const Planned claimed = PlanOf(model);
    size_t differ = 0;
    for (size_t m = 0; m < plan.decisions.modules.size(); ++m) {
      const int32_t id =
          claimed.plan->decisions.paths.At(plan.decisions.PathOf(static_cast<int32_t>(m)));
      if (id < 0) continue;  // an alternative that is stored otherwise than config.json suggests
      const Module &with = plan.decisions.modules[m],
                   &without = claimed.plan->decisions.modules[static_cast<size_t>(id)];
      if (!with.absent && !without.absent && with.claim != without.claim) ++differ;
      if (!with.absent && !without.absent &&
          IsLinear(plan.decisions.UnitOf(static_cast<int32_t>(m)).kind) &&
          with.scheme != without.scheme)
        ++differ;
    }
    CHECK(differ == 0);
  }
}

TEST_CASE("what is stored packed is claimed packed, and nothing else is") {
  for (const char* name : {"kimi_k2_5", "kimi_k3"}) {
    const Planned planned = PlanOfFixture(name);
    INFO(name << "\n" << ToHuman(planned.out, false));
    CHECK_FALSE(planned.out.has_errors());  // no tensor is left over, none is missing
    const Plan& plan = *planned.plan;
    std::set<std::string_view> packed;
    for (const Tensor& tensor : plan.checkpoint->tensors())
      if (tensor.name.ends_with(".weight_packed"))
        packed.insert(tensor.name.substr(0, tensor.name.size() - 14));
    size_t wrong = 0, quantized = 0;
    for (const Unit& unit : plan.decisions.units.units) {
      if (!IsLinear(unit.kind)) continue;
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = plan.decisions.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        quantized += module.scheme > 0 ? 1 : 0;
        if (module.claim != module.stored || module.scheme != module.stored ||
            (module.scheme > 0) != (packed.count(unit.PathOf(i)) > 0))
          ++wrong;
      }
    }
    CHECK(wrong == 0);
    CHECK(quantized == packed.size());
    CHECK(quantized > 60'000);
  }
}

TEST_CASE("a release whose config.json says nothing of its INT8 is refused, each linear by name") {
  const Planned planned = PlanOfFixture("glm_5_1_w8a8");
  INFO(ToHuman(planned.out, false));
  CHECK(planned.Codes() == "FR312");  // every other tensor is where the rules have it
  std::set<std::string> stored, refused;
  for (const Tensor& tensor : planned.plan->checkpoint->tensors())
    if (tensor.dtype == DType::kI8) stored.insert(std::string(tensor.name));
  const Decisions& d = planned.plan->decisions;
  for (size_t m = 0; m < d.modules.size(); ++m)
    if (d.modules[m].stored == kForeign)
      refused.insert(d.PathOf(static_cast<int32_t>(m)) + ".weight");
  CHECK(stored.size() == 5 * 79 + 3 * (3 + 76 * 257));
  CHECK(refused == stored);
  CHECK(planned.Scheme("model.layers.0.self_attn.kv_b_proj") == "bf16");
  CHECK(planned.Scheme("model.layers.0.self_attn.indexer.wk") == "bf16");
}

TEST_CASE("packed integers and floats: what the headers show, module by module, and nothing else") {
  struct Row {
    const char *fixture, *mark, *scheme;  // `mark`: what follows the name of a quantized module
    size_t quantized;
  };
  const std::vector<Row> rows = {
      {"qwen3_32b_awq", ".qweight", "int4", 64 * 7},
      {"quant/gpt_oss_20b", "_blocks", "mxfp4", 24 * 2},
      {"quant/minimax_m3_mxfp8", ".weight_scale_inv", "mxfp8",
       3 * 3 + 60 * 4 + 57 * (128 * 3 + 3 + 2)},
  };
  for (const Row& row : rows) {
    const Planned planned = PlanOfFixture(row.fixture);
    INFO(row.fixture << "\n" << ToHuman(planned.out, false));
    CHECK_FALSE(planned.out.has_errors());
    const Decisions& d = planned.plan->decisions;
    size_t quantized = 0, wrong = 0;
    for (const Unit& unit : d.units.units) {
      if (!IsLinear(unit.kind)) continue;
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        const bool marked = planned.plan->checkpoint->Find(unit.PathOf(i) + row.mark) != nullptr;
        quantized += marked ? 1 : 0;
        wrong += module.claim != module.stored || module.scheme != module.stored ||
                         planned.plan->SchemeName(module.scheme) != (marked ? row.scheme : "bf16")
                     ? 1
                     : 0;
      }
    }
    CHECK(wrong == 0);
    CHECK(quantized == row.quantized);
  }
}

TEST_CASE("ModelSlim: kinds by name, tensors by kind, nothing left over") {
  Diagnostics out;
  auto checkpoint = OpenCheckpoint(FixturePath("glm_5_1_w8a8"), &out);
  REQUIRE(checkpoint);
  // As ModelSlim writes it, from what is known of the export: attention with fixed scales, MLPs
  // with one for each token, the rest not quantized.
  const auto kind = [](std::string_view name) {
    for (const char* part :
         {".o_proj.", ".q_a_proj.", ".q_b_proj.", ".kv_a_proj_with_mqa.", ".wq_b."})
      if (name.find(part) != std::string_view::npos) return "W8A8";
    const bool linear = name.find("_proj.") != std::string_view::npos;
    return linear && name.find(".mlp.") != std::string_view::npos ? "W8A8_DYNAMIC" : "FLOAT";
  };
  std::string text = R"({"model_quant_type": "W8A8_DYNAMIC", "version": "1.0.0")";
  for (const Tensor& tensor : checkpoint->tensors())
    if (tensor.name.ends_with(".weight"))
      text += fmt::format(", {}: \"{}\"", JsonText(tensor.name), kind(tensor.name));
  checkpoint->quant_model_description = Json(text + "}");
  const auto plan =
      MakePlan(SourceBook(), std::make_shared<Checkpoint>(std::move(*checkpoint)), {1}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(plan);
  CHECK_FALSE(out.has_errors());
  std::map<std::string, size_t> schemes;
  size_t wrong = 0;
  for (const Unit& unit : plan->decisions.units.units) {
    if (!IsLinear(unit.kind)) continue;
    for (int32_t i = 0; i < unit.count; ++i) {
      const Module& module = plan->decisions.modules[static_cast<size_t>(unit.first + i)];
      wrong += module.claim != module.stored || module.scheme != module.stored ? 1 : 0;
      ++schemes[plan->SchemeName(module.scheme)];
    }
  }
  CHECK(wrong == 0);
  CHECK(schemes["w8a8"] == 79 * 5);
  CHECK(schemes["w8a8_dynamic"] == 3 * 3 + 76 * (256 + 1) * 3);
}

TEST_CASE("DeepSeek V4: FP4 experts that only expert_dtype tells of") {
  for (const char* name : {"deepseek_v4_pro", "deepseek_v4_flash_0731"}) {
    Model model = Model::Of(name);
    const Planned planned = PlanOf(model);
    INFO(name << "\n" << ToHuman(planned.out, false));
    CHECK(planned.Codes().empty());  // every tensor explained, claims as stored
    const Decisions& d = planned.plan->decisions;
    size_t four = 0, wrong = 0;
    for (const Unit& unit : d.units.units) {
      if (!IsLinear(unit.kind)) continue;
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        const bool expert = unit.container >= 0;
        four += expert ? 1 : 0;
        wrong += module.claim != module.stored ? 1 : 0;
        wrong += expert != (planned.plan->SchemeName(module.scheme) == "mxfp4") ? 1 : 0;
      }
    }
    CHECK(wrong == 0);
    CHECK(four > 30'000);
    CHECK(planned.Scheme("layers.5.attn.fused_wqa_wkv") == "fp8_block");
    CHECK(planned.Scheme("layers.5.ffn.gate") == "bf16");
    // The first releases had no such key: the headers decide, and the claim is found wrong.
    model.config.erase("expert_dtype");
    const Planned without = PlanOf(model);
    CHECK(without.Scheme("layers.5.ffn.experts.0.w2") == "mxfp4");
    CHECK(without.out.has_errors());
  }
}

TEST_CASE("what the listings hold, counted") {
  const Planned next = PlanOfFixture("qwen3_next_80b_fp8");
  CHECK(next.plan->checkpoint->tensors().size() == 151'479);
  CHECK(next.Scheme("model.layers.0.linear_attn.in_proj_ba") == "bf16");
  CHECK(next.Scheme("model.layers.0.linear_attn.in_proj_qkvz") == "fp8_block");
  CHECK(next.Scheme("model.layers.3.self_attn.qkv_proj") == "fp8_block");
  CHECK(next.Scheme("model.layers.3.linear_attn.in_proj_ba") == "?");
  const Planned small = PlanOfFixture("qwen3_5_27b_fp8");
  CHECK(small.Scheme("model.language_model.layers.0.linear_attn.in_proj_ba") == "bf16");
  CHECK(small.Scheme("model.language_model.layers.0.linear_attn.in_proj_qkvz") == "fp8_block");
  CHECK(small.Scheme("model.layers.0.linear_attn.in_proj_ba") ==
        "bf16");  // the text releases' root
  const Planned deepseek = PlanOfFixture("deepseek_v3");
  CHECK(deepseek.plan->checkpoint->tensors().size() == 91'991);
  CHECK(deepseek.Scheme("model.layers.3.mlp.gate") == "bf16");
  CHECK(deepseek.Scheme("model.layers.0.self_attn.kv_a_proj_with_mqa") == "fp8_block");
}
