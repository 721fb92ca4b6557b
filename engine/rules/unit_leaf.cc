// SPDX-License-Identifier: Apache-2.0
// A leaf of the rule tree in one place → a unit with its sizes; fused modules → their parts.
#include <fmt/format.h>

#include <algorithm>

#include "engine/rules/unit_walker.h"

namespace ferrule {
namespace {

constexpr size_t kMaxUnits = 250'000;

}  // namespace

Unit* UnitWalker::Add(const RuleNode& node, const Where& where) {
  Unit unit;
  unit.node = &node;
  unit.kind = node.kind;
  unit.path = where.path;
  unit.numbers = where.numbers;
  unit.index = where.index;
  unit.range = where.range;
  unit.count = where.count;
  unit.container = where.container;
  unit.quantize = where.quantize;
  unit.as = where.as;
  unit.assumed = where.assumed;
  unit.draft = where.draft;
  unit.first = units_.modules;
  if (units_.modules + int64_t{unit.count} > kMaxModules || units_.units.size() >= kMaxUnits) {
    Fail(Code::kTooLarge, fmt::format("the model has more than {} modules", kMaxModules),
         node.place);
    return nullptr;
  }
  if (!Step(node.slices.size() + node.parts.size(), node.place)) return nullptr;
  units_.modules += unit.count;
  units_.units.push_back(std::move(unit));
  return &units_.units.back();
}

void UnitWalker::Leaf(const RuleNode& node, const Where& where) {
  Unit* unit = Add(node, where);
  if (unit == nullptr) return;
  unit->optional = node.optional || where.missing;
  unit->bias = node.bias && Holds(node.bias_when);
  if (!IsLinear(node.kind)) {
    for (const Dim& dim : node.dims) {
      int64_t size = 0;
      if (!Size(dim, "a dimension", &size)) return;
      unit->shape.push_back(size);
    }
    return;
  }
  unit->same = !node.same_as.empty() && Holds(node.same_when);
  if (!OptionalSize(node.per, "per", &unit->per) ||
      !OptionalSize(node.stack, "stack", &unit->stack) ||
      !OptionalSize(node.groups, "groups", &unit->groups) ||
      !OptionalSize(node.in, "in", &unit->in))
    return;
  const int64_t times = std::max<int64_t>({1, unit->per, unit->groups});
  if (node.kind == NodeKind::kRows) {
    if (!Size(*node.rows, "rows", &unit->rows)) return;
  } else {
    for (const SliceRule& rule : node.slices) {
      Slice slice{rule.name, 0, 0, rule.replicate};
      if (!Size(rule.rows, rule.name, &slice.rows) || !OptionalSize(rule.per, "per", &slice.groups))
        return;
      if (slice.groups > 0) slice.rows *= slice.groups;
      unit->rows += slice.rows;
      slice.rows *= times;
      if (unit->groups > 0)
        slice.groups *= unit->groups;  // the rule counts those of one stored group
      unit->slices.push_back(std::move(slice));
    }
  }
  if (unit->rows > kMaxSize / times)
    return Fail(Code::kTooLarge, "a linear with more than 2^40 rows", node.place);
  unit->rows *= times;
}

void UnitWalker::Fused(const RuleNode& parent, const RuleNode& node, const Where& where) {
  if (!Holds(node.when)) return;
  std::vector<std::string> undeclared;
  const auto [children, fresh] = children_.try_emplace(&parent);
  if (fresh)
    for (const RuleNode& child : parent.children)
      children->second.emplace(PathText(child.segments), &child);
  for (const NamedText& part : node.parts) {
    const auto declared = children->second.find(part.name);
    if (declared == children->second.end()) {
      undeclared.push_back(part.name);
      continue;
    }
    pending_.push_back({units_.units.size(), declared->second, &part});
  }
  Unit* unit = Add(node, where);
  if (unit == nullptr) return;
  unit->undeclared = std::move(undeclared);
}

bool UnitWalker::ResolveParts() {
  std::unordered_map<std::string, int32_t> by_path;
  for (size_t i = 0; i < units_.units.size(); ++i) {
    const Unit& unit = units_.units[i];
    if (IsLinear(unit.kind)) by_path.emplace(unit.PathOf(0), static_cast<int32_t>(i));
  }
  for (const Pending& pending : pending_) {
    Unit& fused = units_.units[pending.fused];
    const std::string own = PathText(fused.node->segments);
    std::string path = fused.PathOf(0);
    // A fused name has no placeholders of its own, so its key is the end of its path.
    path.resize(path.size() - own.size());
    const auto at = by_path.find(path + PathText(pending.part->segments));
    if (at == by_path.end()) continue;
    const Unit& part = units_.units[static_cast<size_t>(at->second)];
    if (!fused.parts.empty()) {
      const Unit& first = units_.units[static_cast<size_t>(fused.parts[0])];
      if (first.in != part.in)
        Fail(Code::kBadFused,
             fmt::format(
                 "the parts of `{}` read inputs of different widths: `{}` has in {}, `{}` {}", own,
                 PathText(first.node->segments), first.in, PathText(part.node->segments), part.in),
             pending.named->place);
    }
    fused.parts.push_back(at->second);
  }
  return !failed_;
}

}  // namespace ferrule
