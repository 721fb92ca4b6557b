// SPDX-License-Identifier: Apache-2.0
// Checks of one rule file that need its whole tree: every name that is used is defined, every
// definition is used, the parts of a fused module are real linears beside it.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/rule_file.h"

namespace ferrule {
namespace {

using Names = std::vector<std::string>;

class Checker {
 public:
  Checker(const RuleFile& file, Diagnostics* out) : file_(file), out_(out) {}

  bool Run() {
    for (const auto& [name, dim] : file_.dims) dim_names_.insert(name);
    for (const IndexRule& index : file_.indices) index_names_.insert(index.name);
    for (const auto& [name, dim] : file_.dims) Dimension(dim, {}, "`dims." + name + "`");
    for (const IndexRule& index : file_.indices) {
      if (index.from) Dimension(*index.from, {}, "`index." + index.name + "`");
      Dimension(index.count, {}, "`index." + index.name + "`");
    }
    const Names all(index_names_.begin(), index_names_.end());
    for (const auto& [name, dim] : file_.conditions)
      Dimension(dim, all, "`conditions." + name + "`");
    Tree(file_.root, {}, 0);
    for (const auto& leftover : file_.leftovers) Path(leftover, {});
    Unused();
    return good_;
  }

 private:
  void Add(Code code, std::string message, const YamlPlace& place, std::string help = {}) {
    out_->Add(code, std::move(message), file_.At(place)).Help(std::move(help));
    good_ = good_ && Info(code).level != Level::kError;
  }

  // True when `example:` has `name`, in the section of `config:` or at the top.
  bool InExample(std::string_view name) const {
    const YamlNode* example = file_.yaml.root.Find("example");
    const auto find = [&](const YamlNode* node) {
      for (size_t at = 0; node != nullptr && at <= name.size();) {
        const size_t dot = std::min(name.find('.', at), name.size());
        node = node->Find(name.substr(at, dot - at));
        at = dot + 1;
      }
      return node != nullptr && node->kind != YamlNode::Kind::kNull;
    };
    return find(example) || (!file_.config_section.empty() &&
                             find(example->Find(file_.config_section)));
  }

  void Dimension(const Dim& dim, const Names& local, const std::string& what) {
    std::string missing;
    for (const Expr& expr : dim.alternatives) {
      std::string lacks;
      for (const std::string& name : expr.Names()) {
        if (expr.text().find("has(" + name) != std::string::npos) continue;
        if (std::find(local.begin(), local.end(), name) != local.end()) {
          used_.insert("index " + name);
        } else if (dim_names_.count(name) > 0) {
          used_.insert("dim " + name);
        } else if (!InExample(name)) {
          lacks = name;
        }
      }
      if (lacks.empty()) return MarkAll(dim);
      if (missing.empty()) missing = lacks;
    }
    Names known(dim_names_.begin(), dim_names_.end());
    known.insert(known.end(), local.begin(), local.end());
    const std::string nearest = NearestName(missing, known);
    Add(Code::kUnknownName,
        fmt::format("{} is {}, and {} is no dim, no index and not in `example:`", what,
                    Quoted(dim.Text()), Quoted(missing)),
        dim.place, nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
  }

  // Names in alternatives that the example does not take are used all the same.
  void MarkAll(const Dim& dim) {
    for (const Expr& expr : dim.alternatives)
      for (const std::string& name : expr.Names()) {
        used_.insert("dim " + name);
        used_.insert("index " + name);
      }
  }

  void Condition(const std::optional<When>& when) {
    if (!when) return;
    for (const auto& [name, dim] : file_.conditions)
      if (name == when->condition) {
        used_.insert("condition " + name);
        return;
      }
    Names known;
    for (const auto& [name, dim] : file_.conditions) known.push_back(name);
    const std::string nearest = NearestName(when->condition, known);
    Add(Code::kUnknownName, fmt::format("no condition {} is defined", Quoted(when->condition)),
        when->place, nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
  }

  void Path(const std::vector<Segment>& segments, const YamlPlace& place) {
    for (const Segment& segment : segments) {
      if (!segment.placeholder) continue;
      used_.insert("index " + segment.text);
      if (index_names_.count(segment.text) > 0) continue;
      const std::string nearest =
          NearestName(segment.text, {index_names_.begin(), index_names_.end()});
      Add(Code::kUnknownName, fmt::format("no index `<{}>` is defined", Printable(segment.text)),
          place, nearest.empty() ? "" : fmt::format("did you mean `<{}>`?", nearest));
    }
  }

  void Tree(const RuleNode& node, Names local, int depth) {
    if (depth > 24) {
      Add(Code::kYamlLimit, "shapes use each other without end", node.place);
      return;
    }
    Path(node.segments, node.place);
    for (const Segment& segment : node.segments)
      if (segment.placeholder) local.push_back(segment.text);
    Condition(node.when);
    if (node.kind == NodeKind::kUse) return Use(node, std::move(local), depth);
    if (node.kind != NodeKind::kTree) return Leaf(node, local);
    std::set<std::string> seen;
    for (const RuleNode& child : node.children) {
      if (!seen.insert(PathText(child.segments)).second && !child.when)
        Add(Code::kPathTwice, fmt::format("`{}` is declared twice", PathText(child.segments)),
            child.place);
      if (child.kind == NodeKind::kFused) Fused(node, child);
      Tree(child, local, depth + 1);
    }
    for (const RuleNode& way : node.either) Tree(way, local, depth + 1);
  }

  void Use(const RuleNode& node, Names local, int depth) {
    used_.insert("shape " + node.use);
    for (const auto& [name, dim] : node.with) Dimension(dim, local, "`with." + name + "`");
    for (const auto& [name, dim] : node.with) local.push_back(name);
    for (const auto& [name, shape] : file_.shapes)
      if (name == node.use) {
        // A shape is walked for each use, because what a name means depends on the place of use.
        Tree(shape, std::move(local), depth + 1);
        return;
      }
    Names known;
    for (const auto& [name, shape] : file_.shapes) known.push_back(name);
    const std::string nearest = NearestName(node.use, known);
    Add(Code::kUnknownName, fmt::format("no shape {} is defined", Quoted(node.use)), node.place,
        nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
  }

  void Leaf(const RuleNode& node, const Names& local) {
    const auto dimension = [&](const std::optional<Dim>& dim, const char* key) {
      if (dim) Dimension(*dim, local, fmt::format("`{}`", key));
    };
    dimension(node.rows, "rows");
    dimension(node.per, "per");
    dimension(node.in, "in");
    dimension(node.stack, "stack");
    dimension(node.groups, "groups");
    for (const SliceRule& slice : node.slices) {
      Dimension(slice.rows, local, "the slice `" + slice.name + "`");
      dimension(slice.per, "per");
    }
    for (const Dim& dim : node.dims) Dimension(dim, local, "a dimension");
    Condition(node.bias_when);
    Condition(node.same_when);
  }

  void Fused(const RuleNode& parent, const RuleNode& fused) {
    for (const NamedText& part : fused.parts) {
      const auto at = std::find_if(
          parent.children.begin(), parent.children.end(),
          [&](const RuleNode& child) { return PathText(child.segments) == part.name; });
      const std::string name = PathText(fused.segments);
      if (at == parent.children.end()) {
        if (!reported_.insert(part.place.line * 4096 + part.place.column).second) continue;
        Add(Code::kUndeclaredPart,
            fmt::format("`{}` is fused of {}, which is declared nowhere", name, Quoted(part.name)),
            part.place,
            fmt::format("declare {} beside it with rows, in and split; or, if the checkpoint "
                        "stores `{}` itself, declare that as `unified`",
                        Quoted(part.name), name));
      } else if (!IsLinear(at->kind)) {
        if (!reported_.insert(part.place.line * 4096 + part.place.column).second) continue;
        Add(Code::kBadFused,
            fmt::format("the part {} of `{}` is {}, not a real linear", Quoted(part.name), name,
                        KindName(at->kind)),
            part.place, "list the names that the checkpoint stores");
      }
    }
  }

  void Unused() {
    const auto check = [&](const std::string& kind, const std::string& name, const YamlPlace& place) {
      if (used_.count(kind + " " + name) == 0)
        Add(Code::kUnused, fmt::format("the {} `{}` is used nowhere", kind, Printable(name)), place);
    };
    for (const auto& [name, dim] : file_.dims) check("dim", name, dim.place);
    for (const auto& [name, dim] : file_.conditions) check("condition", name, dim.place);
    for (const auto& [name, shape] : file_.shapes) check("shape", name, shape.place);
    for (const IndexRule& index : file_.indices) check("index", index.name, index.place);
  }

  const RuleFile& file_;
  Diagnostics* out_;
  bool good_ = true;
  std::set<std::string> dim_names_, index_names_, used_;
  std::set<int> reported_;
};

}  // namespace

bool CheckRuleFile(const RuleFile& file, Diagnostics* out) { return Checker(file, out).Run(); }

}  // namespace ferrule
