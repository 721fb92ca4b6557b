// SPDX-License-Identifier: Apache-2.0
// How each method's lists are meant: what config.json alone makes of a small model.
#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/engine/small_model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

Planned Claimed(const std::string& quantization_config) {
  return PlanOf(SmallBook(), SmallModel(quantization_config));
}

std::string Modelopt(const std::string& algorithm, const std::string& more = "") {
  return fmt::format(R"({{"quant_method": "modelopt", "quant_algo": "{}"{}{}}})", algorithm,
                     more.empty() ? "" : ", ", more);
}

// The one finding's message; "" when there is none of that code.
std::string Said(const Planned& planned, Code code) {
  const auto all = planned.All(code);
  return all.empty() ? "" : all[0]->message;
}

}  // namespace

TEST_CASE("modelopt: globs cross dots, names cover what is below them, wherever they stand") {
  const Planned p = Claimed(Modelopt(
      "NVFP4",
      R"("ignore": ["lm_head", "model.layers.3*", "*.mlp.experts.*", "visual*", "model.layers.4.mlp.down_proj", "self_attn"])"));
  CHECK(p.Codes().empty());
  CHECK(p.Scheme("model.layers.3.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.4.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.5.mlp.down_proj") == "nvfp4");
  CHECK(p.Scheme("model.layers.5.mlp.experts.2.w2") == "bf16");
  CHECK(p.Scheme("model.layers.5.self_attn.qkv_proj") == "bf16");
  CHECK(p.Scheme("model.layers.5.self_attn.o_proj") == "bf16");
  CHECK(p.Scheme("visual.blocks.1.attn.qkv") == "bf16");
  CHECK(p.Scheme("model.layers.5.mlp.shared_expert.down_proj") == "nvfp4");
  CHECK(p.Scheme("model.layers.5.mlp.gate") == "bf16");
}

TEST_CASE("modelopt: a star that goes on with the digits of a number hits by accident") {
  const Planned p = Claimed(Modelopt("NVFP4", R"("ignore": ["model.layers.1*", "lm_head"])"));
  CHECK(p.Scheme("model.layers.1.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.11.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.2.mlp.down_proj") == "nvfp4");
  CHECK(Said(p, Code::kAccidentalHit) ==
        "`model.layers.1*` in `ignore` names `model.layers.10.self_attn.q_proj` by accident: its "
        "star goes on with the digits of a number");
  const Planned dot = Claimed(Modelopt("NVFP4", R"("ignore": ["model.layers.1.*", "lm_head"])"));
  CHECK(dot.Codes().empty());
  CHECK(dot.Scheme("model.layers.11.mlp.down_proj") == "nvfp4");
}

TEST_CASE("modelopt: mixed precision is what the table says, all else stays BF16") {
  const std::string layers =
      R"("quantized_layers": {"model.layers.0.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16},
          "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"}, "lm_head": {"quant_algo": "FP8"}})";
  const Planned p =
      Claimed(Modelopt("MIXED_PRECISION", layers + R"(, "exclude_modules": ["visual*"])"));
  CHECK(p.Scheme("model.layers.0.mlp.experts.3.w1") == "nvfp4");
  CHECK(p.Scheme("model.layers.1.mlp.experts.3.w1") == "bf16");
  CHECK(p.Scheme("model.layers.0.self_attn.q_proj") == "fp8_tensor");
  CHECK(p.Scheme("model.layers.0.self_attn.o_proj") == "bf16");  // no sibling's algorithm
  CHECK(p.Scheme("lm_head") == "fp8_tensor");                    // named
  CHECK(p.Scheme("model.layers.0.self_attn.qkv_proj") == "none");
  CHECK(p.Only(Code::kPartsDisagree).message.find("`q_proj` fp8_tensor, `k_proj` bf16") !=
        std::string::npos);
}

TEST_CASE("modelopt: a fused name in the table is the claim of its parts") {
  const Planned p = Claimed(Modelopt(
      "MIXED_PRECISION",
      R"("quantized_layers": {"model.layers.2.self_attn.qkv_proj": {"quant_algo": "FP8"}})"));
  CHECK(p.Codes().empty());
  CHECK(p.Scheme("model.layers.2.self_attn.qkv_proj") == "fp8_tensor");
  CHECK(p.Scheme("model.layers.2.self_attn.k_proj") == "fp8_tensor");
  CHECK(p.Scheme("model.layers.3.self_attn.qkv_proj") == "bf16");
  CHECK(Said(p, Code::kFusedListed) ==
        "`model.layers.2.self_attn.qkv_proj` in `quantized_layers` names the fused module "
        "`model.layers.2.self_attn.qkv_proj`");
}

TEST_CASE("modelopt: mixed precision without its table, and algorithms that nobody knows") {
  Diagnostics out;
  const auto read = [&](const std::string& text) {
    out = Diagnostics();
    CHECK_FALSE(ReadQuantConfig(Json(text), SourceBook().dialects, {}, &out));
    return CodeName(out.findings()[0].code);
  };
  CHECK(read(Modelopt("MIXED_PRECISION")) == "FR603");
  CHECK(out.findings()[0].message ==
        "nothing here is quantized, although dialect `modelopt` claims it");
  CHECK(read(Modelopt("W3A3")) == "FR605");
  CHECK(read(Modelopt("MIXED_PRECISION", R"("quantized_layers": {"a": {"quant_algo": "W3A3"}})")) ==
        "FR605");
  CHECK(read(Modelopt("MIXED_PRECISION", R"("quantized_layers": {"a": "FP8"})")) == "FR603");
  CHECK(read(Modelopt("MIXED_PRECISION", R"("quantized_layers": ["a"])")) == "FR603");
}

TEST_CASE("modelopt: what is skipped and named as quantized is a warning, and stays BF16") {
  const Planned p = Claimed(Modelopt(
      "MIXED_PRECISION",
      R"("quantized_layers": {"model.layers.2.mlp.down_proj": {"quant_algo": "FP8"}, "lm_head": {"quant_algo": "FP8"}}, "ignore": ["model.layers.2*"])"));
  CHECK(p.Scheme("model.layers.2.mlp.down_proj") == "bf16");
  CHECK(Said(p, Code::kListsOverlap) ==
        "`model.layers.2.mlp.down_proj` is named by `ignore` and by `quantized_layers`");
}

TEST_CASE("modelopt over fp8: what the list names stays the FP8 that it was") {
  const Planned p = Claimed(
      R"({"quant_method": "fp8", "quant_algo": "MIXED_PRECISION", "weight_block_size": [128, 128],
          "ignore": ["*.self_attn.*", "lm_head", "visual*"],
          "quantized_layers": {"model.layers.0.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16}}})");
  CHECK(p.Codes().empty());
  CHECK(p.Scheme("model.layers.0.mlp.experts.0.w1") == "nvfp4");
  CHECK(p.Scheme("model.layers.1.mlp.experts.0.w1") == "fp8_block");
  CHECK(p.Scheme("model.layers.0.self_attn.q_proj") == "fp8_block");
  CHECK(p.Scheme("lm_head") == "bf16");  // quantized only where named as such
  CHECK(p.Scheme("model.layers.0.mlp.gate") == "bf16");
}

TEST_CASE("mxfp4: a glob of the list covers what is below it") {
  const Planned p = Claimed(
      R"({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.gate", "lm_head", "visual"]})");
  CHECK(p.Codes().empty());
  CHECK(p.Scheme("model.layers.11.self_attn.qkv_proj") == "bf16");
  CHECK(p.Scheme("model.layers.11.mlp.experts.0.w1") == "mxfp4");
  CHECK(p.Scheme("visual.blocks.0.attn.qkv") == "bf16");
}

TEST_CASE("awq: substrings, and a warning where they cut a segment") {
  const Planned p = Claimed(
      R"({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": true,
          "modules_to_not_convert": ["model.layers.0.", "self_attn", "shared_expert", "visual"]})");
  CHECK(p.Scheme("model.layers.0.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.10.mlp.down_proj") == "int4");
  CHECK(p.Scheme("model.layers.4.self_attn.qkv_proj") == "bf16");
  CHECK(p.Scheme("model.layers.4.mlp.shared_expert.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.4.mlp.shared_expert_gate") == "bf16");
  CHECK(p.Only(Code::kAccidentalHit).message ==
        "`shared_expert` in `modules_to_not_convert` names `model.layers.1.mlp.shared_expert_gate` "
        "by accident: it begins or ends inside a segment");
  CHECK(p.Codes() == "FR409");
}

TEST_CASE("gptq: ordered patterns, the first that matches decides") {
  const auto gptq = [](const std::string& more) {
    return Claimed(R"({"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": true, )" + more +
                   "}");
  };
  const Planned p = gptq(
      R"("dynamic": {"+:.*\\.4\\.mlp\\.down_proj": {"bits": 8}, "-:.*down_proj": {}, ".*o_proj": {"bits": 8}, "-:.*o_proj": {}, "-:visual": {}})");
  CHECK(p.Scheme("model.layers.4.mlp.down_proj") == "int8");
  CHECK(p.Scheme("model.layers.5.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.5.self_attn.o_proj") == "int8");
  CHECK(p.Scheme("model.layers.5.self_attn.qkv_proj") == "int4");
  CHECK(p.Scheme("visual.blocks.0.attn.qkv") == "bf16");
  CHECK(p.Codes().empty());
}

TEST_CASE("gptq: an allow-list names all that is quantized, fused names too") {
  const Planned p = Claimed(
      R"({"quant_method": "gptq", "bits": 4, "group_size": 64,
          "modules_in_block_to_quantize": [["self_attn.qkv_proj"], ["mlp.gate_up_proj", "mlp.down_proj"]]})");
  CHECK(p.Scheme("model.layers.4.self_attn.qkv_proj") == "int4");
  CHECK(p.Scheme("model.layers.4.self_attn.k_proj") == "int4");
  CHECK(p.Scheme("model.layers.4.self_attn.o_proj") == "bf16");
  CHECK(p.Scheme("model.layers.4.mlp.gate_up_proj") == "int4");
  CHECK(p.Scheme("model.layers.4.mlp.down_proj") == "int4");
  CHECK(p.Scheme("model.layers.4.mlp.experts.0.w1") == "bf16");
  CHECK(p.Scheme("visual.blocks.0.attn.qkv") == "bf16");
  const Planned half = Claimed(
      R"({"quant_method": "gptq", "bits": 4, "group_size": 64, "modules_in_block_to_quantize": ["self_attn.q_proj"]})");
  CHECK(half.Scheme("model.layers.4.self_attn.qkv_proj") == "none");
  CHECK(half.All(Code::kPartsDisagree).size() == 1);
  const Planned none = Claimed(
      R"({"quant_method": "gptq", "bits": 4, "group_size": 64, "modules_in_block_to_quantize": []})");
  CHECK(none.Scheme("model.layers.4.self_attn.o_proj") == "int4");  // an empty one is none
}

TEST_CASE("auto-round: 16 bits for a layer skip it, blocks bound the rest") {
  const Planned p = Claimed(
      R"({"quant_method": "auto-round", "bits": 4, "group_size": 64, "data_type": "int", "sym": true,
          "packing_format": "auto_round:auto_gptq", "block_name_to_quantize": "model.layers,model.nothing",
          "extra_config": {"model.layers.3.mlp.down_proj": {"bits": 16, "data_type": "float"},
                           ".*shared_expert_gate.*": {"bits": 16}, "model.layers.4.mlp.down_proj": {"bits": 8}, "lm_head": {"bits": 8}}})");
  CHECK(p.Scheme("model.layers.3.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.4.mlp.down_proj") == "int8");
  CHECK(p.Scheme("model.layers.5.mlp.down_proj") == "int4");
  CHECK(p.Scheme("model.layers.5.mlp.shared_expert_gate") == "bf16");
  CHECK(p.Scheme("visual.blocks.0.attn.qkv") == "bf16");
  CHECK(p.Scheme("lm_head") == "int8");
  CHECK(p.Only(Code::kDeadEntry).message ==
        "`model.nothing` in `block_name_to_quantize` matches no module");
}

TEST_CASE("quark: exclude, then layers by glob in order, then classes, then the scheme of all") {
  const std::string fp8 =
      R"({"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false}})";
  const std::string fp4 =
      R"({"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}, "input_tensors": {"dtype": "fp4"}})";
  const Planned p = Claimed(
      R"({"quant_method": "quark", "exclude": ["lm_head", "re:visual.*", "*layers.7.*", "model.layers.6.mlp"],
          "layer_quant_config": {"*.self_attn.*": )" +
      fp8 + R"(, "*.q_proj": )" + fp4 +
      R"(, "*o_proj": {"weight": null}}, "layer_type_quant_config": {}, "global_quant_config": )" +
      fp4 + "}");
  CHECK(p.Scheme("model.layers.7.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.6.mlp.down_proj") == "mxfp4");  // a container covers nothing
  CHECK(p.Scheme("model.layers.6.self_attn.q_proj") == "fp8_tensor");
  CHECK(p.Scheme("model.layers.6.self_attn.o_proj") == "fp8_tensor");  // the first glob
  CHECK(p.Scheme("visual.blocks.0.attn.qkv") == "bf16");
  CHECK(Said(p, Code::kDeadEntry) == "`model.layers.6.mlp` in `exclude` matches no module");
  const Planned by_class =
      Claimed(R"({"quant_method": "quark", "exclude": [], "layer_quant_config": {},
          "layer_type_quant_config": {"Linear": )" +
              fp8 + R"(}, "global_quant_config": )" + fp4 + "}");
  CHECK(by_class.Scheme("model.layers.6.mlp.down_proj") == "fp8_tensor");
  CHECK(by_class.Scheme("lm_head") == "bf16");  // a class does not name a head
}

TEST_CASE("quark: the quantizers of weights and activations make a scheme") {
  struct Row {
    const char *quantizers, *scheme;
  };
  const Row rows[] = {
      {R"("weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": true})",
       "fp8_tensor"},
      {R"("weight": {"dtype": "fp8_e4m3", "qscheme": "per_channel"}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_channel", "is_dynamic": true})",
       "fp8_channel"},
      {R"("weight": {"dtype": "fp8_e4m3", "qscheme": "per_block", "block_size": [128, 128]}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_group", "group_size": 128, "is_dynamic": true})",
       "fp8_block"},
      {R"("weight": [{"dtype": "fp4", "qscheme": "per_group", "group_size": 16}, {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}], "input_tensors": [{"dtype": "fp4", "qscheme": "per_group", "group_size": 16, "is_dynamic": true}, {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}])",
       "nvfp4"},
  };
  for (const Row& row : rows) {
    INFO(row.quantizers);
    const Planned p = Claimed(fmt::format(
        R"({{"quant_method": "quark", "exclude": ["lm_head"], "layer_quant_config": {{}},
            "layer_type_quant_config": {{}}, "global_quant_config": {{{}}}}})",
        row.quantizers));
    CHECK(p.Codes().empty());
    CHECK(p.Scheme("model.layers.6.mlp.down_proj") == row.scheme);
  }
}

TEST_CASE("bitsandbytes and fbgemm_fp8: whole segments") {
  const Planned bnb = Claimed(
      R"({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "bnb_4bit_quant_type": "nf4", "llm_int8_skip_modules": ["lm_head", "visual", "o_proj"]})");
  CHECK(bnb.Codes().empty());
  CHECK(bnb.Scheme("model.layers.6.self_attn.o_proj") == "bf16");
  CHECK(bnb.Scheme("visual.blocks.0.attn.qkv") == "bf16");
  CHECK(bnb.Scheme("model.layers.6.self_attn.qkv_proj") == "nf4");
  const Planned fbgemm = Claimed(
      R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["model.layers.0.self_attn"]})");
  CHECK(fbgemm.Codes().empty());
  CHECK(fbgemm.Scheme("model.layers.0.self_attn.o_proj") == "bf16");
  CHECK(fbgemm.Scheme("model.layers.1.self_attn.o_proj") == "fbgemm_fp8");
}

TEST_CASE("modelslim: the file beside config.json says the kind of each tensor") {
  std::string text = R"({"model_quant_type": "W8A8", "version": "1.0.0")";
  for (int layer = 0; layer < 12; ++layer)
    for (const auto& [name, kind] : {std::pair("self_attn.q_proj", "W8A8"),
                                     {"self_attn.k_proj", "W8A8"},
                                     {"self_attn.v_proj", "W8A8"},
                                     {"self_attn.o_proj", "FLOAT"},
                                     {"mlp.down_proj", "W8A8_DYNAMIC"}})
      for (const char* tensor : {"weight", "weight_scale"})
        text += fmt::format(R"(, "model.layers.{}.{}.{}": "{}")", layer, name, tensor, kind);
  const Model model = SmallModel("");
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->config = model.Build()->config;
  checkpoint->quant_model_description = Json(text + "}");
  Diagnostics out;
  const auto plan = MakePlan(SmallBook(), checkpoint, {1}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(plan);
  CHECK_FALSE(out.has_errors());
  const auto scheme = [&](const char* path) {
    return plan->SchemeName(plan->decisions.modules[static_cast<size_t>(plan->Find(path))].scheme);
  };
  CHECK(scheme("model.layers.3.self_attn.qkv_proj") == "w8a8");
  CHECK(scheme("model.layers.3.self_attn.o_proj") == "bf16");
  CHECK(scheme("model.layers.3.mlp.down_proj") == "w8a8_dynamic");
  CHECK(scheme("model.layers.3.mlp.up_proj") == "bf16");  // not in the file
}

TEST_CASE("fp8-online: BF16 is stored, FP8 is meant; patterns begin at the start") {
  Model model = SmallModel(
      R"({"quant_method": "fp8-online", "ignore": ["model.layers.2.mlp.down_proj", "re:mlp.down.", "re:.*self_attn", "*.experts.*"]})");
  StoreAll(&model);
  const Planned p = PlanOf(SmallBook(), model);
  CHECK(p.Codes() == "FR401");  // `re:mlp.down.` would have to begin with `.*`
  CHECK(p.Scheme("model.layers.2.mlp.down_proj") == "bf16");
  CHECK(p.Scheme("model.layers.3.mlp.down_proj") == "fp8_online");
  CHECK(p.At("model.layers.3.mlp.down_proj").stored == p.At("model.layers.3.mlp.down_proj").claim);
  CHECK(p.Scheme("model.layers.3.self_attn.qkv_proj") == "bf16");
  CHECK(p.Scheme("model.layers.3.mlp.experts.0.w1") == "bf16");
  CHECK(p.Scheme("model.layers.3.mlp.gate") == "bf16");
}

TEST_CASE("a group that applies to no module is a warning") {
  const auto with = [](const std::string& target) {
    return Claimed(
        R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["re:.*self_attn.*"], "weights":
            {"type": "int", "num_bits": 4, "group_size": 32}}, "group_1": {"targets": [")" +
        target + R"("], "weights": {"type": "int", "num_bits": 8, "group_size": 32}}}})");
  };
  const Planned p = with("re:.*ffn.*(gate|up)_proj$");
  const Finding& finding = p.Only(Code::kDeadEntry);
  CHECK(finding.message == "a group of `config_groups`, int8, applies to no module");
  CHECK(FactOf(finding, "targets") == "`re:.*ffn.*(gate|up)_proj$`");
  CHECK(p.Scheme("model.layers.3.mlp.gate_up_proj") == "bf16");
  CHECK(with("re:.*mlp.*(gate|up)_proj$").Codes().empty());
}

TEST_CASE("modules that differ from layer to layer are a note with the layers") {
  const Planned p = Claimed(Modelopt(
      "NVFP4",
      R"("ignore": ["model.layers.0.*", "model.layers.1.*", "model.layers.10.*", "lm_head", "visual*"])"));
  CHECK(p.Codes().empty());
  const auto notes = p.All(Code::kLayersDiffer);
  // All eleven linears of a layer but the gate, once.
  REQUIRE(notes.size() == 1);
  CHECK(notes[0]->message ==
        "`model.layers.<layer>.mlp.down_proj` and 10 more kinds are not the same in all layers");
  CHECK(FactOf(*notes[0], "bf16") == "3 layers: 0, 1, 10");
  CHECK(FactOf(*notes[0], "nvfp4") == "9 layers: 2 to 9, 11");
  CHECK(FactOf(*notes[0], "more").ends_with("`, …"));
  CHECK(FactOf(*notes[0], "more").find("`model.layers.<layer>.mlp.up_proj`") != std::string::npos);
  // Kinds that differ in other layers are another note.
  const Planned two = Claimed(Modelopt(
      "NVFP4",
      R"("ignore": ["model.layers.0.*", "model.layers.3.self_attn", "lm_head", "visual*"])"));
  CHECK(two.All(Code::kLayersDiffer).size() == 2);
}

TEST_CASE("an entry with a number that the model does not have says which there are") {
  const Planned p = Claimed(Modelopt(
      "NVFP4",
      R"("ignore": ["model.layers.12.mlp.down_proj", "model.layers.13*", "visual.blocks.2", "model.layer.1.mlp"])"));
  const auto found = p.All(Code::kLayerOutOfRange);
  REQUIRE(found.size() == 3);
  CHECK(found[0]->message ==
        "`model.layers.12.mlp.down_proj` in `ignore` matches no module: "
        "`model.layers.<n>.mlp.down_proj` has numbers from 0 to 11");
  CHECK(found[1]->message ==
        "`model.layers.13*` in `ignore` matches no module: `model.layers.<n>` has numbers from 0 "
        "to 11");
  CHECK(p.Only(Code::kDeadEntry).message == "`model.layer.1.mlp` in `ignore` matches no module");
}
