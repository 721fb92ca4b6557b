// SPDX-License-Identifier: Apache-2.0
#include "engine/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "engine/tree_scope.h"

namespace ferrule {
namespace {

// Limits of what one rule file and config.json may unfold to; a real model has a few thousand
// units.
constexpr int64_t kMaxSteps = 1'000'000;
constexpr size_t kMaxUnits = 250'000;
constexpr size_t kMaxPath = 1024;
constexpr size_t kMaxAliases = 64;

struct Where {  // the place in the tree that is being evaluated
  std::string path;
  std::vector<int32_t> numbers;
  std::vector<std::string> index;
  int range = -1;
  int32_t count = 1;
  int32_t container = -1;
  Quantize quantize = Quantize::kDefault;
  std::string_view as;
  bool assumed = false;
  bool missing = false;  // below an optional subtree that is not stored
};

class Walker {
 public:
  Walker(const RuleFile& file, const UnitsOptions& options, Diagnostics* out)
      : file_(file), options_(options), out_(out), scope_(file, options.config) {
    for (const auto& [name, condition] : file.conditions) conditions_.emplace(name, &condition);
    for (const auto& [name, shape] : file.shapes) shapes_.emplace(name, &shape);
    for (const IndexRule& index : file.indices) indices_.emplace(index.name, &index);
  }

  std::optional<Units> Run() {
    Node(file_.root, Where());
    if (failed_) return std::nullopt;
    return std::move(units_);
  }

 private:
  void Fail(Code code, std::string message, const YamlPlace& place, std::string help = {}) {
    failed_ = true;
    if (!reported_.emplace(place.line, place.column).second) return;
    out_->Add(code, std::move(message), file_.At(place))
        .Fact("config", options_.config_at.ToString())
        .Help(std::move(help));
  }

  // False when the tree unfolds to more than a model can be.
  bool Step(size_t steps, const YamlPlace& place) {
    steps_ += static_cast<int64_t>(steps);
    if (steps_ <= kMaxSteps) return true;
    if (!failed_) Fail(Code::kTooLarge, "the rules unfold to more places than a model has", place);
    return false;
  }

  bool Value(const Dim& dim, std::string_view what, ExprValue* value) {
    for (const Expr& expr : dim.alternatives)
      if (!Step(1 + expr.size() / 4, dim.place)) return false;
    const Answer answer = scope_.Evaluate(dim);
    if (answer.ok()) {
      *value = answer.value;
      return true;
    }
    if (answer.outcome == Answer::Outcome::kUnanswerable)
      Fail(
          Code::kConfigLacks,
          fmt::format(
              "`{}` is {}, and {} {}", what, Quoted(dim.Text()),
              indices_.count(answer.why) > 0 ? "the path here has no index" : "config.json has no",
              Quoted(answer.why)),
          dim.place,
          indices_.count(answer.why) > 0
              ? ""
              : "config.json is incomplete or of another model; a key of another name is a further "
                "alternative in a list");
    else
      Fail(Code::kBadExpression, fmt::format("`{}`: {}", what, answer.why), dim.place);
    return false;
  }

  bool Size(const Dim& dim, std::string_view what, int64_t* size, int64_t least = 1) {
    ExprValue value;
    if (!Value(dim, what, &value)) return false;
    if (value.kind != ExprValue::Kind::kInt) {
      Fail(Code::kBadExpression,
           fmt::format("`{}` is {}, which is {} and no integer", what, Quoted(dim.Text()),
                       ValueText(value)),
           dim.place);
      return false;
    }
    *size = value.number;
    if (*size >= least && *size <= kMaxSize) return true;
    Fail(Code::kTooLarge,
         fmt::format("`{}` is {} = {}; it must be between {} and 2^40", what, Quoted(dim.Text()),
                     *size, least),
         dim.place, "no model has such a size: mend config.json, or the rule's dims");
    return false;
  }

  bool OptionalSize(const std::optional<Dim>& dim, std::string_view what, int64_t* size) {
    return !dim || Size(*dim, what, size);
  }

  // Whether the condition holds; false also when it cannot be evaluated, which was then reported.
  bool Holds(const std::optional<When>& when) {
    if (!when) return true;
    const auto at = conditions_.find(when->condition);
    if (at == conditions_.end()) return false;  // reported by CheckRuleFile
    ExprValue value;
    if (!Value(*at->second, when->condition, &value)) return false;
    if (value.kind != ExprValue::Kind::kBool) {
      Fail(Code::kBadExpression,
           fmt::format("the condition `{}` is neither true nor false", when->condition),
           at->second->place);
      return false;
    }
    return (value.number != 0) != when->negated;
  }

  void Node(const RuleNode& node, Where where) {
    if (failed_ || !Holds(node.when)) return;
    if (node.quantize != Quantize::kDefault) where.quantize = node.quantize;
    if (!node.quantize_as.empty() && Holds(node.quantize_when)) where.as = node.quantize_as;
    Rename(node, &where);
    const bool tree = node.kind == NodeKind::kTree || node.kind == NodeKind::kUse;
    if (tree && node.optional && options_.stored != nullptr && !Stored(node, where))
      where.missing = true;
    if (node.kind == NodeKind::kUse) return Use(node, std::move(where));
    if (!tree) return Leaf(node, where);
    for (const RuleNode& child : node.children) Child(node, child, where);
    if (!node.either.empty()) Either(node, where);
  }

  void Rename(const RuleNode& node, Where* where) {
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

  void Use(const RuleNode& node, Where where) {
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

  // Appends the segments of `child` from `at` on and goes on below; loops over placeholders.
  void Child(const RuleNode& parent, const RuleNode& child, Where where, size_t at = 0) {
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

  // Whether anything of a node and below it depends on the value of the placeholder `index`, or
  // would have to be decided anew for each of its values. The node's own segments do not count.
  bool Depends(const RuleNode& node, std::string_view index) {
    const auto [at, fresh] = depends_.try_emplace({&node, index}, false);
    if (fresh) at->second = DependsOn(node, index);
    return depends_[{&node, index}];
  }

  bool DependsOn(const RuleNode& node, std::string_view index) {
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

  Unit* Add(const RuleNode& node, const Where& where) {
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

  void Leaf(const RuleNode& node, const Where& where) {
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
        if (!Size(rule.rows, rule.name, &slice.rows) ||
            !OptionalSize(rule.per, "per", &slice.groups))
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

  void Fused(const RuleNode& parent, const RuleNode& node, const Where& where) {
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

  bool Stored(const RuleNode& node, Where where) {
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

  void Either(const RuleNode& node, const Where& where) {
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

 public:
  struct Pending {
    size_t fused;
    const RuleNode* part;
    const NamedText* named;
  };
  // Parts are found when all units exist: same binding, path of the fused module's parent. False
  // when parts cannot run side by side.
  bool ResolveParts(Units* units) {
    std::unordered_map<std::string, int32_t> by_path;
    for (size_t i = 0; i < units->units.size(); ++i) {
      const Unit& unit = units->units[i];
      if (IsLinear(unit.kind)) by_path.emplace(unit.PathOf(0), static_cast<int32_t>(i));
    }
    for (const Pending& pending : pending_) {
      Unit& fused = units->units[pending.fused];
      const std::string own = PathText(fused.node->segments);
      std::string path = fused.PathOf(0);
      // A fused name has no placeholders of its own, so its key is the end of its path.
      path.resize(path.size() - own.size());
      const auto at = by_path.find(path + PathText(pending.part->segments));
      if (at == by_path.end()) continue;
      const Unit& part = units->units[static_cast<size_t>(at->second)];
      if (!fused.parts.empty()) {
        const Unit& first = units->units[static_cast<size_t>(fused.parts[0])];
        if (first.in != part.in)
          Fail(
              Code::kBadFused,
              fmt::format(
                  "the parts of `{}` read inputs of different widths: `{}` has in {}, `{}` {}", own,
                  PathText(first.node->segments), first.in, PathText(part.node->segments), part.in),
              pending.named->place);
      }
      fused.parts.push_back(at->second);
    }
    return !failed_;
  }

 private:
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

}  // namespace

std::optional<Units> EvaluateUnits(const RuleFile& file, const UnitsOptions& options,
                                   Diagnostics* out) {
  Walker walker(file, options, out);
  std::optional<Units> units = walker.Run();
  if (!units || !walker.ResolveParts(&*units)) return std::nullopt;
  return units;
}

}  // namespace ferrule
