// SPDX-License-Identifier: Apache-2.0
// One stored module → its line of a rule file.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/infer/infer_dims.h"
#include "engine/infer/infer_names.h"
#include "engine/infer/infer_sizes.h"
#include "engine/infer/infer_words.h"

namespace ferrule {

// A line `key: {text}` and what stands behind it.
struct DraftLine {
  std::string key, text;
  std::string origin;  // file whose declaration fits, or empty
  bool sure = true;    // false: it could not be told, and the line says what
  std::string doubt;
  bool linear = false;
  std::string path;  // with placeholders
  std::string parent, name;
};

// Names of weights and of what goes with them, as the dialect of this checkpoint stores them.
struct TensorRoles {
  std::set<std::string, std::less<>> weights{"weight"};
  std::set<std::string, std::less<>> scales;  // also further tensors of a quantized weight
};

class ModuleDrafter {
 public:
  ModuleDrafter(const Checkpoint& checkpoint, const QuantConfig& quant, const ConfigScope& config,
                const DimGuess& dims, const KnownModules& known, const TensorRoles& roles)
      : checkpoint_(checkpoint),
        quant_(quant),
        config_(config),
        dims_(dims),
        known_(known),
        roles_(roles) {}

  // Whether tensors lie directly below `node`, so that it is a module.
  bool IsModule(const NameNode& node) const;
  // The child that holds the weight; null when there is none.
  const NameNode* WeightOf(const NameNode& node) const;
  // The lines of a module: the linear or weight, and parameters beside it. `at`: the outermost
  // number whose tensors are looked at.
  std::vector<DraftLine> Module(const NameNode& node, uint32_t at) const;
  // The line of a tensor without a module: A_log, or stacked experts.
  DraftLine Bare(const NameNode& leaf, uint32_t at) const;
  std::string ShapeText(const NameNode& leaf, uint32_t at) const;
  // Rows and columns of a module's linear, also of a packed one.
  LinearSizes Sizes(const NameNode& node, uint32_t at) const;
  // Whether a tensor without a module goes with another: experts_scales with experts_blocks.
  bool Belongs(const NameNode& leaf) const;
  // Fused names over modules that stand side by side.
  std::vector<DraftLine> Fused(const NameNode& parent, const std::vector<std::string>& names) const;

 private:
  struct Fit {
    std::string text;
    const KnownModule* known = nullptr;
    std::string doubt;
  };
  std::vector<int64_t> ShapeAt(const NameNode& leaf, uint32_t at) const;
  // `blocks` for gate_up_proj_blocks, where the dialect stores such a weight; else empty.
  std::string Joined(const NameNode& leaf) const;
  LinearSizes SizesOfBare(const NameNode& leaf, uint32_t at) const;
  std::optional<Fit> FitLinear(const KnownModule& known, const std::vector<int64_t>& shape) const;
  std::optional<Fit> FitFused(const KnownModule& known, const std::vector<int64_t>& shape) const;
  bool Slices(const KnownModule& known, int64_t* rows, std::string* text) const;
  // `name`: the module's key, not always the node's segment.
  Fit Linear(const NameNode& node, const std::string& name, const LinearSizes& sizes,
             bool bare) const;
  bool TakesAll(const NameNode& node, const std::string& name,
                const std::vector<int64_t>& shape) const;
  bool Turned(const NameNode& leaf, const std::vector<int64_t>& shape) const;
  std::string ByName(const NameNode& node, const std::string& name, int64_t rows,
                     int64_t groups) const;
  std::string Split(const NameNode& node, const std::string& name, int64_t rows, int64_t in) const;
  std::string Dims(const NameNode& node, const std::string& name, const std::vector<int64_t>& shape,
                   std::string* origin) const;

  const Checkpoint& checkpoint_;
  const QuantConfig& quant_;
  const ConfigScope& config_;
  const DimGuess& dims_;
  const KnownModules& known_;
  const TensorRoles& roles_;
};

}  // namespace ferrule
