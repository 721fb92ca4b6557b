// SPDX-License-Identifier: Apache-2.0
// Tensor names of a checkpoint → a tree with placeholders, as a rule file would write it.
//
//   model.layers.0.mlp.gate.weight, model.layers.1.mlp.gate.weight, …  →  model · layers · <layer>
//   · mlp …
//
// A number is a placeholder where it counts layers, blocks or experts without a gap; else it stays
// a literal segment (`merger.mlp.0`). Layers behind the last one that config.json counts are draft
// layers with a placeholder of their own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"

namespace ferrule {

struct NameNode {
  std::string segment;  // a word, or `<layer>`
  std::string path;     // with placeholders, from the root
  NameNode* parent = nullptr;
  std::vector<std::unique_ptr<NameNode>> children;  // in the order in which the names came

  // Number of the outermost placeholder (0 where there is none) → a tensor of this very name, the
  // first over inner placeholders.
  std::map<uint32_t, int32_t> tensors;
  // Outermost numbers for which there is a tensor here or below.
  std::set<uint32_t> present;
  std::string index;  // name of the outermost placeholder of the path; empty: none

  NameNode* Child(std::string_view name) const;
};

struct InferredIndex {
  std::string name;  // layer
  int64_t from = 0, count = 0;
  bool draft = false;  // behind the last layer
};

struct NameTree {
  std::unique_ptr<NameNode> root;  // on the heap: its children point to it
  std::vector<InferredIndex> indices;
};

// `layers` is what config.json calls num_hidden_layers; 0: it does not say.
NameTree TreeOfNames(const Checkpoint& checkpoint, int64_t layers);

}  // namespace ferrule
