// SPDX-License-Identifier: Apache-2.0
// A model with one module of each kind, for tests of how lists are meant and what is stored.
#pragma once

#include <string>

#include "tests/engine/model.h"

namespace ferrule::test {

// Twelve layers: self_attn q, k, v (fused: qkv_proj) and o, mlp.gate (never quantized), gate_proj,
// up_proj (fused: gate_up_proj) and down_proj, four experts with w1 and w2,
// shared_expert.down_proj, shared_expert_gate; lm_head (quantized only where named);
// visual.blocks.0-1.attn.qkv.
const Book& SmallBook();

// Without headers, with this quantization_config.
Model SmallModel(const std::string& quantization_config);

// Adds headers in which everything is BF16.
void StoreAll(Model* model);

// Takes `<module>.weight` away and stores these tensors below the module instead.
void Store(Model* model, const std::string& module,
           const std::vector<std::pair<std::string, StoredTensor>>& tensors);

}  // namespace ferrule::test
