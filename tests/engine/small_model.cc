// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/small_model.h"

#include <fmt/format.h>

namespace ferrule::test {
namespace {

constexpr char kRules[] = R"(ferrule: 1
model_type: small
about: one module of each kind
unverified: made up for tests
index: {layer: num_hidden_layers, expert: num_experts, block: depth}
modules:
  model.embed_tokens: {weight: [vocab, hidden]}
  model.layers.<layer>:
    self_attn:
      q_proj: {rows: hidden, in: hidden, split: column}
      k_proj: {rows: 32, in: hidden, split: column}
      v_proj: {rows: 32, in: hidden, split: column}
      qkv_proj: {fused: [q_proj, k_proj, v_proj]}
      o_proj: {rows: hidden, in: hidden, split: row}
    mlp:
      gate: {rows: num_experts, in: hidden, split: none, quantize: never}
      gate_proj: {rows: 256, in: hidden, split: column}
      up_proj: {rows: 256, in: hidden, split: column}
      gate_up_proj: {fused: [gate_proj, up_proj]}
      down_proj: {rows: hidden, in: 256, split: row}
      experts.<expert>:
        w1: {rows: 64, in: hidden, split: column}
        w2: {rows: hidden, in: 64, split: row}
      shared_expert.down_proj: {rows: hidden, in: 64, split: row}
      shared_expert_gate: {rows: 8, in: hidden, split: none}
  lm_head: {rows: vocab, in: hidden, split: column, quantize: named}
  visual.blocks.<block>.attn.qkv: {rows: 96, in: 32, split: none}
dims: {hidden: hidden_size, vocab: vocab_size}
example: {num_hidden_layers: 12, num_experts: 4, depth: 2, hidden_size: 128, vocab_size: 64}
)";

}  // namespace

const Book& SmallBook() {
  static const Book book = BookWith(kRules);
  return book;
}

Model SmallModel(const std::string& quantization_config) {
  Model model;
  model.headers = false;
  model.config = {{"model_type", "\"small\""}, {"num_hidden_layers", "12"},
                  {"num_experts", "4"},        {"depth", "2"},
                  {"hidden_size", "128"},      {"vocab_size", "64"}};
  if (!quantization_config.empty()) model.config["quantization_config"] = quantization_config;
  return model;
}

void StoreAll(Model* model) {
  model->headers = true;
  const auto add = [&](const std::string& name, int64_t rows, int64_t in) {
    model->tensors[name + ".weight"] = {DType::kBF16, {rows, in}};
  };
  add("model.embed_tokens", 64, 128);
  add("lm_head", 64, 128);
  for (int block = 0; block < 2; ++block)
    add(fmt::format("visual.blocks.{}.attn.qkv", block), 96, 32);
  for (int layer = 0; layer < 12; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    add(at + "self_attn.q_proj", 128, 128);
    add(at + "self_attn.k_proj", 32, 128);
    add(at + "self_attn.v_proj", 32, 128);
    add(at + "self_attn.o_proj", 128, 128);
    add(at + "mlp.gate", 4, 128);
    add(at + "mlp.gate_proj", 256, 128);
    add(at + "mlp.up_proj", 256, 128);
    add(at + "mlp.down_proj", 128, 256);
    for (int expert = 0; expert < 4; ++expert) {
      add(fmt::format("{}mlp.experts.{}.w1", at, expert), 64, 128);
      add(fmt::format("{}mlp.experts.{}.w2", at, expert), 128, 64);
    }
    add(at + "mlp.shared_expert.down_proj", 128, 64);
    add(at + "mlp.shared_expert_gate", 8, 128);
  }
}

void Store(Model* model, const std::string& module,
           const std::vector<std::pair<std::string, StoredTensor>>& tensors) {
  model->tensors.erase(module + ".weight");
  for (const auto& [name, tensor] : tensors) model->tensors[module + "." + name] = tensor;
}

}  // namespace ferrule::test
