// SPDX-License-Identifier: Apache-2.0
// A subtree that may be absent as a whole: its names stay known, and half of it is an error.
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr const char* kRules = R"(ferrule: 1
model_type: tiny
about: a dense model with drafts
unverified: made up for a test
index: {layer: 2, mtp: {from: 2, count: 2}, expert: 4}
modules:
  layers.<layer>.fc: {rows: 128, in: 128, split: column}
  layers.<mtp>:
    optional: true
    eh_proj: {rows: 128, in: 256, split: none, quantize: never}
    norm: {weight: [128]}
    attn:
      either:
        - qkv: {rows: 384, in: 128, split: column}
        - q: {rows: 128, in: 128, split: column}
          kv: {rows: 256, in: 128, split: column}
          qkv: {fused: [q, kv]}
    experts.<expert>.up: {rows: 128, in: 128, split: column}
    stacked: {stack: 4, rows: 128, in: 128, split: column, suffix: none, bias: true, optional: true}
example: {}
)";

Model Tiny(const std::vector<std::string>& list = {}) {
  Model model;
  model.config = {{"model_type", "\"tiny\""}};
  if (!list.empty()) model.config["quantization_config"] = Fp8(list);
  for (const char* name : {"layers.0.fc", "layers.1.fc"}) {
    model.tensors[std::string(name) + ".weight"] = {DType::kF8E4M3, {128, 128}};
    model.tensors[std::string(name) + ".weight_scale_inv"] = {DType::kF32, {1, 1}};
  }
  return model;
}

void AddDraft(Model* model, const std::string& layer) {
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    model->tensors[layer + "." + name] = {DType::kBF16, shape};
  };
  add("eh_proj.weight", {128, 256});
  add("norm.weight", {128});
  add("attn.q.weight", {128, 128});
  add("attn.kv.weight", {256, 128});
  for (int e = 0; e < 4; ++e) add("experts." + std::to_string(e) + ".up.weight", {128, 128});
}

}  // namespace

TEST_CASE("an optional subtree that is not stored is absent, and lists may name it") {
  const Planned planned = PlanUnder(kRules, Tiny({"layers.2", "layers.3.eh_proj", "layers.4"}));
  CHECK_FALSE(planned.out.has_errors());
  CHECK(planned.Scheme("layers.0.fc") == "fp8_block");
  for (const char* path : {"layers.2.eh_proj", "layers.3.experts.3.up", "layers.2.attn.qkv"})
    CHECK(planned.Scheme(path) == "absent");
  CHECK(planned.Codes() == "FR411");  // there is no layers.4
  CHECK(planned.Only(Code::kLayerOutOfRange).message.find("`layers.4`") != std::string::npos);
}

TEST_CASE("one of two optional subtrees is stored") {
  Model model = Tiny({"layers.3"});
  AddDraft(&model, "layers.3");
  const Planned planned = PlanUnder(kRules, model);
  CHECK(planned.Codes().empty());
  CHECK(planned.Scheme("layers.3.eh_proj") == "bf16");
  CHECK(planned.Scheme("layers.3.attn.qkv") == "bf16");
  CHECK(planned.Scheme("layers.3.experts.3.up") == "bf16");
  CHECK(planned.Scheme("layers.2.eh_proj") == "absent");
  CHECK(planned.Scheme("layers.2.experts.0.up") == "absent");
}

TEST_CASE("half an optional subtree is an error") {
  Model model = Tiny({"layers.3"});
  AddDraft(&model, "layers.3");
  model.tensors.erase("layers.3.norm.weight");
  model.tensors.erase("layers.3.experts.2.up.weight");
  const Planned planned = PlanUnder(kRules, model);
  CHECK(planned.All(Code::kMissingTensor).size() == 2);
}

TEST_CASE("without headers an optional subtree is there") {
  Model model = Tiny({"layers.2"});
  model.headers = false;
  const Planned planned = PlanUnder(kRules, model);
  CHECK(planned.Scheme("layers.2.eh_proj") == "bf16");
  CHECK(planned.Scheme("layers.3.experts.0.up") == "fp8_block");
}

TEST_CASE("the bias of a tensor without .weight is named after it, one row for each expert") {
  Model model = Tiny({"layers.3"});
  AddDraft(&model, "layers.3");
  model.tensors["layers.3.stacked"] = {DType::kBF16, {4, 128, 128}};
  CHECK(PlanUnder(kRules, model).Only(Code::kMissingTensor).message.find("bias") !=
        std::string::npos);
  model.tensors["layers.3.stacked_bias"] = {DType::kBF16, {4, 128}};
  CHECK(PlanUnder(kRules, model).Codes().empty());
  model.tensors["layers.3.stacked_bias"].shape = {128};
  CHECK(PlanUnder(kRules, model).Codes() == "FR305");
}
