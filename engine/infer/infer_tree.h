// SPDX-License-Identifier: Apache-2.0
// The tree of names → the `modules:` of a rule file, with the conditions under which they stand.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/infer/infer_modules.h"

namespace ferrule {

// What the first look at the plan of a draft adds to it: path with placeholders → `never`, `named`.
using QuantizeWords = std::map<std::string, std::string, std::less<>>;

class TreeWriter {
 public:
  TreeWriter(const ModuleDrafter& drafter, const DimGuess& dims, const TensorRoles& roles,
             const QuantizeWords& quantize)
      : drafter_(drafter), dims_(dims), roles_(roles), quantize_(quantize) {}

  void Write(const NameNode& root) { Children(root, {0}, 1, ""); }
  // A head that is not stored because it reads the embedding at `path`.
  void TiedHead(const std::string& path, const std::string& dims);

  bool keys_as_values = false;  // attention_k_eq_v
  std::string text;
  std::vector<std::pair<std::string, std::string>> conditions;  // name → expression
  std::vector<DraftLine> lines;
  // A linear that is no part of a fused name and no expert, for the draft's test; may be empty.
  std::string example_path() const;

 private:
  using Numbers = std::set<uint32_t>;
  void Children(const NameNode& node, const Numbers& universe, int indent,
                const std::string& prefix);
  void Child(const NameNode& child, const Numbers& universe, int indent, const std::string& prefix);
  void KeysAsValues(const NameNode& node, const Numbers& universe, int indent,
                    std::map<Numbers, std::vector<std::string>>* together);
  void FusedNames(const NameNode& node, const Numbers& universe, int indent);
  bool OnlyScales(const NameNode& node) const;
  bool Either(const NameNode& node, const Numbers& universe, int indent);
  std::string Signature(const NameNode& module, uint32_t at) const;
  void Line(DraftLine line, const std::string& when, int indent);
  void Indented(int indent, const std::string& line);
  // "dense", "not dense"; empty when `wanted` is all.
  std::string When(const std::string& index, const Numbers& wanted, const Numbers& all,
                   const std::string& hint);

  struct Known {
    std::string name, index;
    Numbers wanted, all;
  };
  const ModuleDrafter& drafter_;
  const DimGuess& dims_;
  const TensorRoles& roles_;
  const QuantizeWords& quantize_;
  std::vector<Known> pool_;
  std::set<std::string> fused_parts_;
  bool first_in_item_ = false;  // the next line stands behind the dash of a list
};

}  // namespace ferrule
