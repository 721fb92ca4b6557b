// SPDX-License-Identifier: Apache-2.0
// The walk over a rule tree that EvaluateUnits makes: what its stages share. units.cc goes through
// the tree, unit_sizes.cc evaluates dims and conditions, unit_leaf.cc makes units, unit_either.cc
// asks the checkpoint which alternative it stores.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/rules/tree_scope.h"
#include "engine/rules/units.h"

namespace ferrule {

class UnitWalker {
 public:
  UnitWalker(const RuleFile& file, const UnitsOptions& options, Diagnostics* out);
  std::optional<Units> Run();

 private:
  struct Pending {  // a part of the fused unit, looked for when all units exist
    size_t fused;
    const RuleNode* part;
    const NamedText* named;
  };

  // units.cc
  void Node(const RuleNode& node, Where where);
  void Rename(const RuleNode& node, Where* where);
  void Use(const RuleNode& node, Where where);
  // Appends the segments of `child` from `at` on and goes on below; loops over placeholders.
  void Child(const RuleNode& parent, const RuleNode& child, Where where, size_t at = 0);
  // Whether anything of a node and below it depends on the value of the placeholder `index`, or
  // would have to be decided anew for each of its values. The node's own segments do not count.
  bool Depends(const RuleNode& node, std::string_view index);
  bool DependsOn(const RuleNode& node, std::string_view index);

  // unit_sizes.cc
  void Fail(Code code, std::string message, const YamlPlace& place, std::string help = {});
  // False when the tree unfolds to more than a model can be.
  bool Step(size_t steps, const YamlPlace& place);
  bool Value(const Dim& dim, std::string_view what, ExprValue* value);
  bool Size(const Dim& dim, std::string_view what, int64_t* size, int64_t least = 1);
  bool OptionalSize(const std::optional<Dim>& dim, std::string_view what, int64_t* size);
  // Whether the condition holds; false also when it cannot be evaluated, which was then reported.
  bool Holds(const std::optional<When>& when);

  // unit_leaf.cc
  Unit* Add(const RuleNode& node, const Where& where);
  void Leaf(const RuleNode& node, const Where& where);
  void Fused(const RuleNode& parent, const RuleNode& node, const Where& where);
  // Parts are found when all units exist: same binding, path of the fused module's parent. False
  // when parts cannot run side by side.
  bool ResolveParts();

  // unit_either.cc
  bool Stored(const RuleNode& node, Where where);
  void Either(const RuleNode& node, const Where& where);

  const RuleFile& file_;
  const UnitsOptions& options_;
  Diagnostics* out_;
  TreeScope scope_;
  Units units_;
  bool failed_ = false;
  std::vector<Pending> pending_;
  std::unordered_map<std::string_view, const Dim*> conditions_;
  std::unordered_map<std::string_view, const RuleNode*> shapes_;
  std::unordered_map<std::string_view, const IndexRule*> indices_;
  std::map<std::pair<const RuleNode*, std::string_view>, bool> depends_;
  std::unordered_map<const RuleNode*, std::unordered_map<std::string, const RuleNode*>> children_;
  std::set<std::pair<int, int>> reported_;
  int64_t steps_ = 0;
};

}  // namespace ferrule
