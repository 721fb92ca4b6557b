// SPDX-License-Identifier: Apache-2.0
#include "engine/rules/units.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/rules/unit_walker.h"

namespace ferrule {
namespace {

constexpr size_t kMaxPath = 1024;
constexpr size_t kMaxAliases = 64;

}  // namespace

UnitWalker::UnitWalker(const RuleFile& file, const UnitsOptions& options, Diagnostics* out)
    : file_(file), options_(options), out_(out), scope_(file, options.config) {
  for (const auto& [name, condition] : file.conditions) conditions_.emplace(name, &condition);
  for (const auto& [name, shape] : file.shapes) shapes_.emplace(name, &shape);
  for (const IndexRule& index : file.indices) indices_.emplace(index.name, &index);
}

std::optional<Units> UnitWalker::Run() {
  Node(file_.root, Where());
  if (failed_ || !ResolveParts()) return std::nullopt;
  return std::move(units_);
}

void UnitWalker::Node(const RuleNode& node, Where where) {
  if (failed_ || !Holds(node.when)) return;
  if (node.quantize != Quantize::kDefault) where.quantize = node.quantize;
  if (!node.quantize_as.empty() && Holds(node.quantize_when)) where.as = node.quantize_as;
  where.draft = where.draft || node.draft;
  Rename(node, &where);
  const bool tree = node.kind == NodeKind::kTree || node.kind == NodeKind::kUse;
  if (tree && node.optional && options_.stored != nullptr && !Stored(node, where))
    where.missing = true;
  if (node.kind == NodeKind::kUse) return Use(node, std::move(where));
  if (!tree) return Leaf(node, where);
  for (const RuleNode& child : node.children) Child(node, child, where);
  if (!node.either.empty()) Either(node, where);
}

void UnitWalker::Rename(const RuleNode& node, Where* where) {
  for (const NamedText& rename : node.renames) {
    const bool active = rename.name == options_.model_type;
    const std::string declared = where->path;
    if (active) where->path = rename.text;
    std::pair<std::string, std::string> alias(where->path, active ? declared : rename.text);
    std::vector<std::pair<std::string, std::string>>& all = units_.aliases;
    if (std::find(all.begin(), all.end(), alias) != all.end()) continue;
    if (all.size() >= kMaxAliases)
      return Fail(Code::kTooLarge, fmt::format("more than {} renamed roots", kMaxAliases),
                  rename.place);
    all.push_back(std::move(alias));
  }
}

void UnitWalker::Use(const RuleNode& node, Where where) {
  const auto shape = shapes_.find(node.use);
  if (shape == shapes_.end()) return;  // reported by CheckRuleFile
  const size_t size = scope_.size();
  std::vector<std::pair<std::string_view, int64_t>> bound;
  for (const auto& [name, dim] : node.with) {
    int64_t value = 0;
    if (!Size(dim, name, &value)) return;
    bound.emplace_back(name, value);
  }
  for (const auto& [name, value] : bound) scope_.Push(name, value);
  Node(*shape->second, std::move(where));
  scope_.Pop(size);
}

void UnitWalker::Child(const RuleNode& parent, const RuleNode& child, Where where, size_t at) {
  if (failed_ || !Step(1 + where.path.size() / 128, child.place)) return;
  if (where.path.size() > kMaxPath)
    return Fail(Code::kTooLarge, fmt::format("a path of more than {} bytes", kMaxPath),
                child.place);
  if (at == child.segments.size()) {
    if (child.kind == NodeKind::kFused) return Fused(parent, child, where);
    return Node(child, std::move(where));
  }
  const Segment& segment = child.segments[at];
  if (!where.path.empty()) where.path += '.';
  NormalName literal;
  if (!segment.placeholder) {
    Normalise(segment.text, &literal);
    where.path += literal.view();
    if (literal.count > 0) {
      where.numbers.push_back(literal.numbers[0]);
      where.index.emplace_back();
    }
    return Child(parent, child, std::move(where), at + 1);
  }
  const auto index = indices_.find(segment.text);
  if (index == indices_.end()) return;  // reported by CheckRuleFile
  int64_t from = 0, count = 0;
  if (index->second->from && !Size(*index->second->from, segment.text, &from, 0)) return;
  if (!Size(index->second->count, segment.text, &count, 0)) return;
  if (from + count > 999'999'999 || units_.modules + count > kMaxModules)
    return Fail(
        Code::kTooLarge,
        fmt::format("`<{}>` has {} values{}; a model has at most {} modules", segment.text, count,
                    units_.modules > 0 && count <= kMaxModules
                        ? fmt::format(" after {} modules", units_.modules)
                        : "",
                    kMaxModules),
        index->second->place, "mend config.json, or the range under `index:`");
  if (count == 0) return;
  if (segment.text == "expert") {
    where.container = static_cast<int32_t>(units_.containers.size());
    std::string path = where.path;
    if (!path.empty()) path.pop_back();  // the dot
    units_.containers.push_back({path, where.numbers});
  }
  where.path += '#';
  where.numbers.push_back(static_cast<int32_t>(from));
  where.index.push_back(segment.text);
  if (where.range < 0 && at + 1 == child.segments.size() && !Depends(child, segment.text)) {
    where.range = static_cast<int>(where.numbers.size()) - 1;
    where.count = static_cast<int32_t>(count);
    const size_t size = scope_.size();
    scope_.Push(segment.text, from);
    Child(parent, child, std::move(where), at + 1);
    scope_.Pop(size);
    return;
  }
  for (int64_t i = 0; i < count && !failed_; ++i) {
    where.numbers.back() = static_cast<int32_t>(from + i);
    const size_t size = scope_.size();
    scope_.Push(segment.text, from + i);
    Child(parent, child, where, at + 1);
    scope_.Pop(size);
  }
}

bool UnitWalker::Depends(const RuleNode& node, std::string_view index) {
  const auto [at, fresh] = depends_.try_emplace({&node, index}, false);
  if (fresh) at->second = DependsOn(node, index);
  return depends_[{&node, index}];
}

bool UnitWalker::DependsOn(const RuleNode& node, std::string_view index) {
  const auto dim = [&](const std::optional<Dim>& d) { return d && d->Uses(index); };
  const auto when = [&](const std::optional<When>& w) {
    if (!w) return false;
    const auto condition = conditions_.find(w->condition);
    return condition == conditions_.end() || condition->second->Uses(index);
  };
  if (!node.either.empty() || when(node.when) || when(node.bias_when) || when(node.same_when) ||
      when(node.quantize_when))
    return true;
  const bool tree = node.kind == NodeKind::kTree || node.kind == NodeKind::kUse;
  if (tree && node.optional) return true;
  if (dim(node.rows) || dim(node.per) || dim(node.in) || dim(node.stack) || dim(node.groups))
    return true;
  for (const SliceRule& slice : node.slices)
    if (slice.rows.Uses(index) || dim(slice.per)) return true;
  for (const Dim& d : node.dims)
    if (d.Uses(index)) return true;
  for (const auto& [name, d] : node.with)
    if (d.Uses(index)) return true;
  for (const RuleNode& child : node.children) {
    for (const Segment& segment : child.segments)
      if (segment.placeholder && segment.text != index) return true;
    if (Depends(child, index)) return true;
  }
  if (node.kind != NodeKind::kUse) return false;
  const auto shape = shapes_.find(node.use);
  return shape != shapes_.end() && Depends(*shape->second, index);
}

std::optional<Units> EvaluateUnits(const RuleFile& file, const UnitsOptions& options,
                                   Diagnostics* out) {
  return UnitWalker(file, options, out).Run();
}

}  // namespace ferrule
