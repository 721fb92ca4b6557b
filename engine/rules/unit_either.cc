// SPDX-License-Identifier: Apache-2.0
// Which alternative of `either` the checkpoint stores, and whether an optional subtree is there.
#include <fmt/format.h>

#include <algorithm>

#include "engine/rules/unit_walker.h"

namespace ferrule {

bool UnitWalker::Stored(const RuleNode& node, Where where) {
  if (node.when && !Holds(node.when)) return false;
  if (node.kind == NodeKind::kUse) {
    const auto shape = shapes_.find(node.use);
    return shape != shapes_.end() && Stored(*shape->second, std::move(where));
  }
  if (node.kind == NodeKind::kFused) return false;
  if (node.kind != NodeKind::kTree) return options_.stored->Has(where.path, where.numbers);
  for (const RuleNode& child : node.children) {
    Where below = where;
    bool empty = false;
    for (const Segment& segment : child.segments) {
      if (!below.path.empty()) below.path += '.';
      if (!segment.placeholder) {
        NormalName literal;
        Normalise(segment.text, &literal);
        below.path += literal.view();
        if (literal.count > 0) below.numbers.push_back(literal.numbers[0]);
        continue;
      }
      const auto index = indices_.find(segment.text);
      int64_t from = 0, count = 0;
      if (index == indices_.end() ||
          (index->second->from && !Size(*index->second->from, segment.text, &from, 0)) ||
          !Size(index->second->count, segment.text, &count, 0) || count == 0) {
        empty = true;
        break;
      }
      below.path += '#';
      below.numbers.push_back(static_cast<int32_t>(from));
    }
    if (!empty && Stored(child, std::move(below))) return true;
  }
  return std::any_of(node.either.begin(), node.either.end(),
                     [&](const RuleNode& way) { return Stored(way, where); });
}

void UnitWalker::Either(const RuleNode& node, const Where& where) {
  std::vector<const RuleNode*> open;
  for (const RuleNode& way : node.either)
    if (Holds(way.when)) open.push_back(&way);
  if (failed_) return;
  const std::string path = Concrete(where.path, where.numbers);
  if (open.empty())
    return Fail(Code::kEitherNone, fmt::format("no condition of `either` holds at `{}`", path),
                node.either[0].place);
  if (open.size() == 1) return Node(*open[0], where);
  if (options_.stored == nullptr || where.missing) {
    Where first = where;
    first.assumed = !where.missing;
    return Node(*open[0], std::move(first));
  }
  std::vector<const RuleNode*> stored;
  for (const RuleNode* way : open)
    if (Stored(*way, where)) stored.push_back(way);
  if (stored.size() == 1) return Node(*stored[0], where);
  failed_ = true;
  if (stored.empty()) {
    out_->Add(Code::kEitherNone,
              fmt::format("the checkpoint stores no alternative of `either` at `{}`", path),
              file_.At(node.either[0].place));
  } else {
    out_->Add(Code::kEitherBoth,
              fmt::format("the checkpoint stores tensors of two alternatives of `either` at `{}`",
                          path),
              file_.At(stored[0]->place))
        .Mark(file_.At(stored[1]->place), "and of this one");
  }
}

}  // namespace ferrule
