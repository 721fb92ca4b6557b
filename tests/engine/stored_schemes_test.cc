// SPDX-License-Identifier: Apache-2.0
// What each method stores for a linear: every tensor is recognised, checked and used up.
#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/engine/small_model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

using Tensors = std::vector<std::pair<std::string, StoredTensor>>;

constexpr char kModule[] = "model.layers.3.mlp.down_proj";  // [128, 256]

// A method, and what it stores for kModule. All other linears stay BF16.
struct Method {
  std::string config;
  std::string scheme;
  Tensors tensors;
};

std::string Skipping(const std::string& head, const std::string& key) {
  // Whole containers and modules but kModule.
  std::vector<std::string> names = {"lm_head", "visual"};
  for (int layer = 0; layer < 12; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    for (const char* name : {"self_attn", "mlp.gate_proj", "mlp.up_proj", "mlp.experts",
                             "mlp.shared_expert", "mlp.shared_expert_gate"})
      names.push_back(at + name);
    if (layer != 3) names.push_back(at + "mlp.down_proj");
  }
  return head + ", \"" + key + "\": " + JsonList(names) + "}";
}

std::vector<Method> Methods() {
  const auto f32 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kF32, shape}; };
  const auto f16 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kF16, shape}; };
  const auto i32 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kI32, shape}; };
  const auto u8 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kU8, shape}; };
  const auto e4m3 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kF8E4M3, shape}; };
  const auto i8 = [](std::vector<int64_t> shape) { return StoredTensor{DType::kI8, shape}; };
  const auto group = [](const std::string& weights, const std::string& format) {
    return R"({"quant_method": "compressed-tensors", "format": ")" + format +
           R"(", "config_groups": {"group_0": {"targets": ["model.layers.3.mlp.down_proj"], "weights": )" +
           weights + R"(, "input_activations": null}}, "ignore": []})";
  };
  const std::string modelopt = R"({"quant_method": "modelopt", "quant_algo": )";
  const std::string bnb = R"({"quant_method": "bitsandbytes", "load_in_8bit": )";
  return {
      {Skipping(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm")",
                "modules_to_not_convert"),
       "int4",
       {{"qweight", i32({256, 16})}, {"qzeros", i32({4, 16})}, {"scales", f16({4, 128})}}},
      {Skipping(R"({"quant_method": "gptq", "bits": 4, "group_size": 100)",
                "modules_to_not_convert"),
       "int4",
       {{"qweight", i32({32, 128})},
        {"qzeros", i32({3, 16})},
        {"scales", f16({3, 128})},
        {"g_idx", i32({256})}}},
      {Skipping(R"({"quant_method": "gptq", "bits": 3, "group_size": -1)",
                "modules_to_not_convert"),
       "int3",
       {{"qweight", i32({24, 128})}, {"qzeros", i32({1, 12})}, {"scales", f16({1, 128})}}},
      {group(R"({"type": "int", "num_bits": 4, "strategy": "group", "group_size": 32})",
             "pack-quantized"),
       "int4",
       {{"weight_packed", i32({128, 32})},
        {"weight_scale", {DType::kBF16, {128, 8}}},
        {"weight_shape", i32({2})}}},
      {group(R"({"type": "int", "num_bits": 8, "strategy": "channel", "group_size": null})",
             "pack-quantized"),
       "int8",
       {{"weight_packed", i32({128, 64})},
        {"weight_scale", {DType::kBF16, {128, 1}}},
        {"weight_shape", {DType::kI64, {2}}},
        {"weight_zero_point", i32({32, 1})}}},
      {group(R"({"type": "int", "num_bits": 8, "strategy": "channel"})", "int-quantized"),
       "int8",
       {{"weight", i8({128, 256})}, {"weight_scale", f32({128, 1})}}},
      {group(R"({"type": "float", "num_bits": 4, "group_size": 16})", "nvfp4-pack-quantized"),
       "nvfp4",
       {{"weight_packed", u8({128, 128})},
        {"weight_scale", e4m3({128, 16})},
        {"weight_global_scale", f32({1})},
        {"input_global_scale", f32({1})}}},
      {group(R"({"type": "float", "num_bits": 4, "group_size": 32})", "mxfp4-pack-quantized"),
       "mxfp4",
       {{"weight_packed", u8({128, 128})}, {"weight_scale", u8({128, 8})}}},
      {Skipping(modelopt + R"("NVFP4")", "ignore"),
       "nvfp4",
       {{"weight", u8({128, 128})},
        {"weight_scale", e4m3({128, 16})},
        {"weight_scale_2", f32({})},
        {"input_scale", f32({})}}},
      {Skipping(modelopt + R"("W4A16_NVFP4", "group_size": 32)", "ignore"),
       "w4a16_nvfp4",
       {{"weight", u8({128, 128})}, {"weight_scale", e4m3({128, 8})}, {"weight_scale_2", f32({})}}},
      {Skipping(modelopt + R"("MXFP8")", "ignore"),
       "mxfp8",
       {{"weight", e4m3({128, 256})}, {"weight_scale", u8({128, 8})}}},
      {Skipping(modelopt + R"("FP8")", "ignore"),
       "fp8_tensor",
       {{"weight", e4m3({128, 256})}, {"weight_scale", f32({})}, {"input_scale", f32({1})}}},
      {Skipping(modelopt + R"("FP8_PB_WO")", "ignore"),
       "fp8_pb_wo",
       {{"weight", e4m3({128, 256})}, {"weight_scale", f32({1, 1, 2, 1})}}},
      {Skipping(R"({"quant_method": "mxfp8", "weight_block_size": [1, 32])", "ignored_layers"),
       "mxfp8",
       {{"weight", e4m3({128, 256})}, {"weight_scale_inv", {DType::kF8E8M0, {128, 8}}}}},
      {Skipping(R"({"quant_method": "fp8", "weight_block_size": [128, 128])",
                "modules_to_not_convert"),
       "fp8_block",
       {{"weight", e4m3({128, 256})}, {"scale", {DType::kF8E8M0, {1, 2}}}}},
      {Skipping(R"({"quant_method": "fbgemm_fp8")", "modules_to_not_convert"),
       "fbgemm_fp8",
       {{"weight", e4m3({128, 256})}, {"weight_scale", f32({128, 1})}}},
      {Skipping(bnb + R"(true, "load_in_4bit": false)", "llm_int8_skip_modules"),
       "bnb_int8",
       {{"weight", i8({128, 256})}, {"SCB", f32({128})}, {"weight_format", u8({})}}},
      {Skipping(bnb + R"(false, "load_in_4bit": true, "bnb_4bit_quant_type": "nf4")",
                "llm_int8_skip_modules"),
       "nf4",
       {{"weight", u8({16384, 1})},
        {"weight.absmax", u8({512})},
        {"weight.nested_absmax", f32({2})},
        {"weight.nested_quant_map", f32({256})},
        {"weight.quant_map", f32({16})},
        {"weight.quant_state.bitsandbytes__nf4", u8({95})}}},
  };
}

Model Stored(const Method& method) {
  Model model = SmallModel(method.config);
  StoreAll(&model);
  Store(&model, kModule, method.tensors);
  return model;
}

}  // namespace

TEST_CASE("each method's tensors are recognised, checked and used up") {
  for (const Method& method : Methods()) {
    const Planned p = PlanOf(SmallBook(), Stored(method));
    INFO(method.config.substr(0, 120) << "\n" << ToHuman(p.out, false));
    CHECK(p.Codes().empty());
    CHECK(p.Scheme(kModule) == method.scheme);
    CHECK(p.At(kModule).claim == p.At(kModule).stored);
    CHECK(p.Scheme("model.layers.3.mlp.gate_up_proj") == "bf16");
  }
}

TEST_CASE("a tensor that is missing, of another shape or of another dtype is a finding") {
  int missing = 0, shapes = 0, dtypes = 0;
  for (const Method& method : Methods()) {
    for (size_t t = 0; t < method.tensors.size(); ++t) {
      const std::string name = std::string(kModule) + "." + method.tensors[t].first;
      INFO(method.config.substr(0, 80) << " " << name);
      // Missing: the weight itself, a scale, or nothing when it may be absent.
      Model lacks = Stored(method);
      lacks.tensors.erase(name);
      const std::string codes = PlanOf(SmallBook(), lacks).Codes();
      if (t == 0)
        CHECK(codes.find("FR303") != std::string::npos);
      else
        CHECK((codes.empty() || codes == "FR308"));
      missing += codes.empty() ? 0 : 1;
      // Twice as large in the last dimension.
      Model wide = Stored(method);
      if (wide.tensors[name].shape.empty())
        wide.tensors[name].shape = {2};
      else
        wide.tensors[name].shape.back() *= 2;
      const std::string wrong = PlanOf(SmallBook(), wide).Codes();
      CHECK((wrong.empty() || wrong == "FR305" || wrong == "FR309"));
      shapes += wrong.empty() ? 0 : 1;
      // As bytes of another kind.
      if (t == 0) continue;
      Model other = Stored(method);
      other.tensors[name].dtype = DType::kF64;
      CHECK(PlanOf(SmallBook(), other).Codes() == "FR310");
      ++dtypes;
    }
  }
  // Of 54 tensors 7 may be absent, 7 have no known shape, and 18 are the weights.
  CHECK(missing == 47);
  CHECK(shapes == 47);
  CHECK(dtypes == 36);
}

TEST_CASE("one tensor too many is left over") {
  for (const Method& method : Methods()) {
    Model model = Stored(method);
    model.tensors[std::string(kModule) + ".weight_offset"] = {DType::kF32, {1}};
    INFO(method.config.substr(0, 120));
    CHECK(PlanOf(SmallBook(), model).Codes() == "FR304");
  }
}

TEST_CASE("what cannot be packed is said") {
  Method gptq = Methods()[1];
  gptq.config.replace(gptq.config.find("\"bits\": 4"), 9, "\"bits\": 3");
  Model model = Stored(gptq);
  // 256 columns of 3 bits are 24 words; 128 rows are 12.
  model.tensors[std::string(kModule) + ".qweight"].shape = {24, 128};
  model.tensors[std::string(kModule) + ".qzeros"].shape = {3, 12};
  CHECK(PlanOf(SmallBook(), model).Codes().empty());
  Method awq = Methods()[0];
  const Book odd = BookWith(R"(ferrule: 1
model_type: odd
about: rows that no word holds
unverified: made up
modules:
  fc: {rows: 12, in: 64, split: none}
example: {a: 1}
)");
  Model small;
  small.config = {{"model_type", "\"odd\""},
                  {"quantization_config",
                   R"({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"})"}};
  small.tensors = {{"fc.qweight", {DType::kI32, {64, 1}}}, {"fc.scales", {DType::kF16, {1, 12}}}};
  const Planned p = PlanOf(odd, small);
  CHECK(p.Only(Code::kShapeMismatch)
            .message.find("the weights of `fc` cannot be packed: "
                          "`rows * bits / 32`: ") == 0);
}

TEST_CASE("experts in one tensor: blocks and scales of MXFP4, and biases beside them") {
  const Book book = BookWith(R"(ferrule: 1
model_type: stacked
about: experts in one tensor
unverified: made up
index: {layer: layers}
modules:
  layers.<layer>.experts:
    up_proj: {stack: experts, rows: 96, in: 64, split: column, suffix: none, bias: true}
  layers.<layer>.router: {rows: 8, in: 64, split: none, quantize: never}
dims: {experts: num_experts}
example: {layers: 2, num_experts: 8}
)");
  Model model;
  model.config = {
      {"model_type", "\"stacked\""},
      {"layers", "2"},
      {"num_experts", "8"},
      {"quantization_config", R"({"quant_method": "mxfp4", "modules_to_not_convert": null})"}};
  for (const char* layer : {"layers.0.", "layers.1."}) {
    const std::string at = std::string(layer) + "experts.up_proj";
    model.tensors[at + "_blocks"] = {DType::kU8, {8, 96, 2, 16}};
    model.tensors[at + "_scales"] = {DType::kU8, {8, 96, 2}};
    model.tensors[at + "_bias"] = {DType::kBF16, {8, 96}};
    model.tensors[std::string(layer) + "router.weight"] = {DType::kBF16, {8, 64}};
  }
  const Planned p = PlanOf(book, model);
  INFO(ToHuman(p.out, false));
  CHECK(p.Codes().empty());
  CHECK(p.Scheme("layers.1.experts.up_proj") == "mxfp4");
  model.tensors["layers.1.experts.up_proj_blocks"].shape = {8, 96, 1, 16};
  CHECK(PlanOf(book, model).Codes() == "FR305");
  model.tensors["layers.1.experts.up_proj_blocks"].shape = {8, 96, 2, 16};
  model.tensors["layers.1.experts.up_proj_bias"].shape = {96};
  CHECK(PlanOf(book, model).Codes() == "FR305");
}

TEST_CASE("scales of the KV cache may stand below any attention, in any scheme") {
  Model model = Stored(Methods()[8]);
  const Method nvfp4 = Methods()[8];
  REQUIRE(nvfp4.scheme == "nvfp4");
  model.tensors["model.layers.3.self_attn.k_proj.k_scale"] = {DType::kF32, {}};
  model.tensors["model.layers.3.self_attn.v_scale"] = {DType::kF32, {1}};
  CHECK(PlanOf(SmallBook(), model).Codes().empty());
  model.tensors["model.layers.3.attn.v_scale"] = {DType::kF32, {1}};  // nothing stands there
  CHECK(PlanOf(SmallBook(), model).Codes() == "FR304");
  model.tensors.erase("model.layers.3.attn.v_scale");
  model.tensors["model.layers.3.self_attn.v_scale"].shape = {2};
  CHECK(PlanOf(SmallBook(), model).Codes() == "FR304");
}

TEST_CASE("two schemes of one table are told apart by what is stored, not by what is claimed") {
  Model model = SmallModel(
      R"({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {
          "model.layers.3.mlp.down_proj": {"quant_algo": "NVFP4"},
          "model.layers.4.mlp.down_proj": {"quant_algo": "W4A16_NVFP4"},
          "model.layers.5.mlp.down_proj": {"quant_algo": "MXFP8"}}})");
  StoreAll(&model);
  const Tensors fp4 = {{"weight", {DType::kU8, {128, 128}}},
                       {"weight_scale", {DType::kF8E4M3, {128, 16}}},
                       {"weight_scale_2", {DType::kF32, {}}}};
  Store(&model, "model.layers.3.mlp.down_proj", fp4);
  Store(&model, "model.layers.4.mlp.down_proj", fp4);
  Store(&model, "model.layers.5.mlp.down_proj",
        {{"weight", {DType::kF8E4M3, {128, 256}}}, {"weight_scale", {DType::kU8, {128, 8}}}});
  const Planned p = PlanOf(SmallBook(), model);
  CHECK(p.Scheme("model.layers.3.mlp.down_proj") == "w4a16_nvfp4");  // no scale of activations
  CHECK(p.Scheme("model.layers.4.mlp.down_proj") == "w4a16_nvfp4");
  CHECK(p.Scheme("model.layers.5.mlp.down_proj") == "mxfp8");
  CHECK(p.Only(Code::kClaimDiffers).message ==
        "`model.layers.3.mlp.down_proj` is nvfp4 by config.json, but stored as w4a16_nvfp4");
}

TEST_CASE("exl3: everything below a linear belongs to it") {
  Model model = SmallModel(R"({"quant_method": "exl3", "bits": 3.84, "version": "0.0.14"})");
  StoreAll(&model);
  std::map<std::string, StoredTensor> stored;
  for (const auto& [name, tensor] : model.tensors) {
    const std::string module = name.substr(0, name.rfind('.'));
    if (module == "model.embed_tokens" || module.ends_with("mlp.gate")) {
      stored[name] = tensor;
      continue;
    }
    stored[module + ".trellis"] = {DType::kI16, {2, 2, 64}};
    stored[module + ".suh"] = {DType::kF16, {128}};
    stored[module + ".svh"] = {DType::kF16, {128}};
  }
  model.tensors = stored;
  const Planned p = PlanOf(SmallBook(), model);
  INFO(ToHuman(p.out, false));
  CHECK(p.Scheme(kModule) == "exl3");
  CHECK(p.Scheme("model.layers.3.self_attn.qkv_proj") == "exl3");
  // Rules say that heads are quantized where named; this method quantizes them unasked.
  CHECK(p.Codes() == "FR402");
  CHECK(p.Only(Code::kClaimDiffers).message ==
        "`lm_head` is bf16 by config.json, but stored as exl3");
}
