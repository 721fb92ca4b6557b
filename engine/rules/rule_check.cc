// SPDX-License-Identifier: Apache-2.0
// Checks of one rule file that need its whole tree: every name that is used is defined, every
// definition is used, the parts of a fused module are real linears beside it.
//
// A shape is walked for each of its uses, because what a name means depends on the place of use.
// Shapes within shapes can unfold without bound, so steps are counted.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "engine/rules/rule_file.h"

namespace ferrule {
namespace {

using Names = std::vector<std::string>;

constexpr int kMaxUse = 24;  // shapes within shapes
constexpr int64_t kMaxSteps = 500'000;
constexpr size_t kMaxName = 1024;   // of a dotted name of the example
constexpr size_t kMaxRenamed = 64;  // roots that are compared with each other

class Checker {
 public:
  Checker(const RuleFile& file, Diagnostics* out) : file_(file), out_(out) {}

  Soundness Run() {
    for (const auto& [name, dim] : file_.dims) dim_names_.insert(name);
    for (const auto& [name, dim] : file_.conditions) conditions_.insert(name);
    for (const auto& [name, shape] : file_.shapes) shapes_.emplace(name, &shape);
    if (const YamlNode* example = file_.yaml.root.Find("example")) Example(*example, "");
    for (const IndexRule& index : file_.indices) Index(index);
    for (const auto& [name, dim] : file_.dims) Dimension(dim, {}, "`dims." + name + "`");
    const Names all(index_names_.begin(), index_names_.end());
    for (const auto& [name, dim] : file_.conditions)
      Dimension(dim, all, "`conditions." + name + "`");
    Cycles();
    Tree(file_.root, {}, 0);
    for (const auto& [node, parent] : same_) Same(*node, *parent);
    RenamesInARow();
    Leftovers();
    if (!endless_) Unused();
    return endless_ ? Soundness::kEndless : good_ ? Soundness::kSound : Soundness::kUnsound;
  }

 private:
  void Add(Code code, std::string message, const YamlPlace& place, std::string help = {}) {
    out_->Add(code, std::move(message), file_.At(place)).Help(std::move(help));
    good_ = good_ && Info(code).level != Level::kError;
  }

  // "did you mean …?", or `otherwise`. Not looked for once nobody would see it.
  template <typename Known>
  std::string Meant(const std::string& name, const Known& known, std::string otherwise = {}) const {
    if (out_->count(Level::kError) >= Diagnostics::kMaxKept) return {};
    const std::string nearest = NearestName(name, Names(known.begin(), known.end()));
    return nearest.empty() ? std::move(otherwise) : fmt::format("did you mean `{}`?", nearest);
  }

  // True when the walk may go on.
  bool Step(int64_t steps, const YamlPlace& place) {
    steps_ += steps;
    if (endless_ || steps_ <= kMaxSteps) return !endless_;
    endless_ = true;
    Add(Code::kYamlLimit, "the tree with all its shapes unfolded is too large", place);
    return false;
  }

  void Example(const YamlNode& map, const std::string& prefix) {
    for (const YamlEntry& entry : map.entries) {
      if (entry.value.kind == YamlNode::Kind::kNull ||
          prefix.size() + entry.key.size() > kMaxName || entry.key.find('.') != std::string::npos)
        continue;
      example_.insert(prefix + entry.key);
      if (entry.value.is_map()) Example(entry.value, prefix + entry.key + ".");
    }
  }

  // True when `example:` has `name`, in the section of `config:` or at the top.
  bool InExample(const std::string& name) const {
    return example_.count(name) > 0 ||
           (!file_.config_section.empty() && example_.count(file_.config_section + "." + name) > 0);
  }

  void Index(const IndexRule& index) {
    index_names_.insert(index.name);
    const std::string what = "`index." + index.name + "`";
    if (index.from) Dimension(*index.from, {}, what);
    Dimension(index.count, {}, what);
    // Otherwise an expression would mean the one or the other, depending on where it stands.
    if (dim_names_.count(index.name) > 0 || InExample(index.name))
      Add(Code::kConflictingKeys,
          fmt::format("the index `{}` has the name of {}", Printable(index.name),
                      dim_names_.count(index.name) > 0 ? "a dim" : "a key of `example:`"),
          index.place, "rename the index");
  }

  struct ExprName {
    std::string name;
    bool guarded;  // `has(name)` stands beside it
  };
  const std::vector<ExprName>& NamesOf(const Expr& expr) {
    auto [at, fresh] = names_.try_emplace(&expr);
    if (fresh)
      for (std::string& name : expr.Names()) {
        const bool guarded = expr.Guards(name);
        at->second.push_back({std::move(name), guarded});
      }
    return at->second;
  }

  void Dimension(const Dim& dim, const Names& local, const std::string& what) {
    const std::string* missing = nullptr;
    for (const Expr& expr : dim.alternatives) {
      const std::string* lacks = nullptr;
      const std::vector<ExprName>& names = NamesOf(expr);
      if (!Step(1 + static_cast<int64_t>(names.size()), dim.place)) return;
      for (const ExprName& name : names) {
        const bool known = name.guarded ||
                           std::find(local.begin(), local.end(), name.name) != local.end() ||
                           dim_names_.count(name.name) > 0 || InExample(name.name);
        if (!known) lacks = &name.name;
      }
      if (lacks == nullptr) return MarkAll(dim);
      if (missing == nullptr) missing = lacks;
    }
    MarkAll(dim);
    if (missing == nullptr || !reported_.emplace(dim.place.line, dim.place.column).second) return;
    std::string help;
    if (index_names_.count(*missing) > 0)
      help = fmt::format("`<{}>` is no part of the path of this module", *missing);
    else if (conditions_.count(*missing) > 0)
      help = fmt::format("`{}` is a condition: it can stand at `when:`", *missing);
    Names known(dim_names_.begin(), dim_names_.end());
    known.insert(known.end(), local.begin(), local.end());
    Add(Code::kUnknownName,
        fmt::format("{} is {}, and {} is no dim, no index and not in `example:`", what,
                    Quoted(dim.Text()), Quoted(*missing)),
        dim.place, Meant(*missing, known, help));
  }

  // Dims that need each other have no value, whether a module asks for one or not.
  void Cycles() {
    std::unordered_map<std::string_view, const Dim*> dims;
    for (const auto& [name, dim] : file_.dims) dims.emplace(name, &dim);
    std::unordered_set<std::string_view> done, open;
    std::vector<std::pair<std::string_view, Names>> path;
    const auto enter = [&](std::string_view name) {
      path.push_back({name, {}});
      open.insert(name);
      for (const Expr& expr : dims.at(name)->alternatives)
        for (std::string& used : expr.Values()) path.back().second.push_back(std::move(used));
    };
    for (const auto& [first, dim] : file_.dims) {
      if (done.count(first) == 0) enter(first);
      while (!path.empty()) {
        auto& [name, left] = path.back();
        if (left.empty()) {
          open.erase(name);
          done.insert(name);
          path.pop_back();
          continue;
        }
        const auto next = dims.find(left.back());
        left.pop_back();
        if (next == dims.end() || done.count(next->first) > 0) continue;
        if (open.count(next->first) == 0)
          enter(next->first);
        else
          Cycle(path, next->first, *next->second);
      }
    }
  }

  // The dims from `name` to the end of the path need each other.
  void Cycle(const std::vector<std::pair<std::string_view, Names>>& path, std::string_view name,
             const Dim& dim) {
    auto at = std::find_if(path.begin(), path.end(),
                           [&](const auto& step) { return step.first == name; });
    const bool itself = ++at == path.end();
    std::string through;
    for (; at != path.end() && through.size() < 100; ++at)
      through += fmt::format("{} `{}`", through.empty() ? " through" : ",", Printable(at->first));
    if (at != path.end()) through += ", …";
    Add(Code::kBadExpression, fmt::format("the dim {} refers to itself{}", Quoted(name), through),
        dim.place,
        itself && InExample(std::string(name))
            ? "a dim hides the key of config.json that has its name: rename the dim"
            : "say one of them without the others");
  }

  // Names in alternatives that the example does not take are used all the same.
  void MarkAll(const Dim& dim) {
    if (!marked_.insert(&dim).second) return;
    for (const Expr& expr : dim.alternatives)
      for (const ExprName& name : NamesOf(expr)) {
        used_.insert("dim " + name.name);
        used_.insert("index " + name.name);
      }
  }

  void Condition(const std::optional<When>& when) {
    if (!when) return;
    used_.insert("condition " + when->condition);
    if (conditions_.count(when->condition) > 0) return;
    if (!reported_.emplace(when->place.line, when->place.column).second) return;
    Add(Code::kUnknownName, fmt::format("no condition {} is defined", Quoted(when->condition)),
        when->place, Meant(when->condition, conditions_, "define it under `conditions:`"));
  }

  void Path(const std::vector<Segment>& segments, const YamlPlace& place) {
    for (const Segment& segment : segments) {
      if (!segment.placeholder) continue;
      used_.insert("index " + segment.text);
      if (index_names_.count(segment.text) > 0) continue;
      if (!reported_.emplace(place.line, place.column).second) continue;
      const std::string nearest = Meant(segment.text, index_names_);
      Add(Code::kUnknownName, fmt::format("no index `<{}>` is defined", Printable(segment.text)),
          place, nearest.empty() ? "define its range under `index:`" : nearest);
    }
  }

  void Tree(const RuleNode& node, Names local, int depth) {
    if (!Step(1, node.place)) return;
    const size_t above = path_.size();
    if (!node.segments.empty()) path_ += (above == 0 ? "" : ".") + PathText(node.segments);
    Below(node, std::move(local), depth);
    path_.resize(above);
  }

  void Below(const RuleNode& node, Names local, int depth) {
    Path(node.segments, node.place);
    for (const Segment& segment : node.segments)
      if (segment.placeholder) local.push_back(segment.text);
    Condition(node.when);
    Condition(node.quantize_when);
    Renames(node, local);
    if (node.kind == NodeKind::kUse) return Use(node, std::move(local), depth);
    if (node.kind != NodeKind::kTree) return Leaf(node, local);
    std::unordered_map<std::string, const RuleNode*> children;
    for (const RuleNode& child : node.children) {
      if (child.kind == NodeKind::kFused) {
        if (children.empty())
          for (const RuleNode& other : node.children)
            children.emplace(PathText(other.segments), &other);
        Fused(children, child);
      }
      if (!child.same_as.empty() && seen_.insert(&child).second) same_.emplace_back(&child, &node);
      Tree(child, local, depth);
    }
    for (const RuleNode& way : node.either) Tree(way, local, depth);
  }

  void Renames(const RuleNode& node, const Names& local) {
    for (const NamedText& rename : node.renames) {
      const bool below = std::any_of(local.begin(), local.end(), [&](const std::string& name) {
        return index_names_.count(name) > 0;
      });
      const bool known = std::find(file_.model_types.begin(), file_.model_types.end(),
                                   rename.name) != file_.model_types.end();
      // Read twice, a name that is renamed already would be renamed again.
      const bool again = rename.text.rfind(path_ + ".", 0) == 0;
      if (known && !below && renamed_.size() < kMaxRenamed) renamed_.push_back({&rename, path_});
      if ((known && !below && !again) ||
          !reported_.emplace(rename.place.line, rename.place.column).second)
        continue;
      if (!known)
        Add(Code::kUnknownName,
            fmt::format("`renames` names {}, which is no model_type of this file",
                        Quoted(rename.name)),
            rename.place, Meant(rename.name, file_.model_types));
      else if (below)
        Add(Code::kBadValue, "a root below a placeholder cannot be renamed", rename.place);
      else
        Add(Code::kRenamedAgain,
            fmt::format("the new root `{}` lies below the old one, `{}`", rename.text, path_),
            rename.place,
            fmt::format("declare the subtree at `{}` and rename it to `{}`", rename.text, path_));
    }
  }

  // Two roots of one release: the new name of one must not be what the other is renamed from.
  void RenamesInARow() {
    const auto touch = [](const std::string& a, const std::string& b) {
      return (a + ".").rfind(b + ".", 0) == 0 || (b + ".").rfind(a + ".", 0) == 0;
    };
    for (const auto& [first, root] : renamed_)
      for (const auto& [second, other] : renamed_) {
        if (first->name != second->name || root == other || !touch(first->text, other) ||
            !reported_.emplace(first->place.line, first->place.column).second)
          continue;
        Add(Code::kRenamedAgain,
            fmt::format("the new root `{}` of `{}` is renamed to `{}` in its turn", first->text,
                        root, second->text),
            first->place, "declare each subtree at the root that nothing else is renamed to");
      }
  }

  void Use(const RuleNode& node, Names local, int depth) {
    used_.insert("shape " + node.use);
    for (const auto& [name, dim] : node.with) Dimension(dim, local, "`with." + name + "`");
    for (const auto& [name, dim] : node.with) local.push_back(name);
    if (depth == kMaxUse) {
      if (!endless_) Add(Code::kYamlLimit, "shapes use each other without end", node.use_place);
      endless_ = true;
      return;
    }
    const auto shape = shapes_.find(node.use);
    if (shape != shapes_.end()) return Tree(*shape->second, std::move(local), depth + 1);
    if (!reported_.emplace(node.use_place.line, node.use_place.column).second) return;
    Names known;
    for (const auto& [name, other] : file_.shapes) known.push_back(name);
    Add(Code::kUnknownName, fmt::format("no shape {} is defined", Quoted(node.use)), node.use_place,
        Meant(node.use, known, "define it under `shapes:`"));
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

  void Fused(const std::unordered_map<std::string, const RuleNode*>& children,
             const RuleNode& fused) {
    const std::string name = PathText(fused.segments);
    const RuleNode* first = nullptr;
    for (const NamedText& part : fused.parts) {
      const auto at = children.find(part.name);
      const bool linear = at != children.end() && IsLinear(at->second->kind);
      if (linear && first == nullptr) first = at->second;
      if (linear && at->second->split == first->split) continue;
      if (!reported_.emplace(part.place.line, part.place.column).second) continue;
      if (at == children.end())
        Add(Code::kUndeclaredPart,
            fmt::format("`{}` is fused of {}, which is not declared beside it", name,
                        Quoted(part.name)),
            part.place,
            fmt::format("declare {} beside it with rows, in and split; or, if the checkpoint "
                        "stores `{}` itself, declare that as `unified`",
                        Quoted(part.name), name));
      else if (!linear)
        Add(Code::kBadFused,
            fmt::format("the part {} of `{}` is `{}`; parts are `rows` or `unified`",
                        Quoted(part.name), name, KindName(at->second->kind)),
            part.place, "list the names that the checkpoint stores");
      else
        Add(Code::kBadFused,
            fmt::format("the parts of `{}` are cut differently: `{}` by {}, {} by {}", name,
                        PathText(first->segments), SplitName(first->split), Quoted(part.name),
                        SplitName(at->second->split)),
            part.place, "what runs side by side has one split");
    }
  }

  // Whether the module at `path` is declared below `node`.
  bool Declares(const RuleNode& node, std::string_view path) {
    if (!Step(1, node.place)) return true;
    if (node.kind == NodeKind::kUse) {
      const auto shape = shapes_.find(node.use);
      return shape != shapes_.end() && Declares(*shape->second, path);
    }
    for (const RuleNode& child : node.children) {
      if (!Step(1, node.place)) return true;
      const std::string text = PathText(child.segments);
      if (path.substr(0, text.size()) != text) continue;
      if (path.size() == text.size()) return child.kind != NodeKind::kTree;
      if (path[text.size()] == '.' && Declares(child, path.substr(text.size() + 1))) return true;
    }
    return std::any_of(node.either.begin(), node.either.end(),
                       [&](const RuleNode& way) { return Declares(way, path); });
  }

  void Same(const RuleNode& node, const RuleNode& parent) {
    if (endless_ || Declares(file_.root, node.same_as) || Declares(parent, node.same_as)) return;
    Add(Code::kUnknownName,
        fmt::format("`same.as` names {}, which is no module of this file", Quoted(node.same_as)),
        node.same_place, "write its path from the root, or the name of a module beside this one");
  }

  void Leftovers() {
    const YamlNode* list = file_.yaml.root.Find("leftovers");
    for (size_t i = 0; i < file_.leftovers.size(); ++i)
      Path(file_.leftovers[i], list->items[i].place);
  }

  // Definitions stand in the order of the file, so the i-th has the i-th key.
  void Unused() {
    const auto check = [&](const char* kind, const char* section, const auto& definitions) {
      for (size_t i = 0; i < definitions.size(); ++i) {
        const YamlEntry& entry = file_.yaml.root.Find(section)->entries[i];
        if (used_.count(fmt::format("{} {}", kind, entry.key)) > 0) continue;
        Add(Code::kUnused, fmt::format("the {} `{}` is used nowhere", kind, Printable(entry.key)),
            entry.key_place);
      }
    };
    check("dim", "dims", file_.dims);
    check("condition", "conditions", file_.conditions);
    check("shape", "shapes", file_.shapes);
    check("index", "index", file_.indices);
  }

  const RuleFile& file_;
  Diagnostics* out_;
  bool good_ = true, endless_ = false;
  int64_t steps_ = 0;
  std::string path_;                                               // of the node at hand
  std::vector<std::pair<const NamedText*, std::string>> renamed_;  // and the root as declared
  std::set<std::string> dim_names_, index_names_, conditions_;
  std::unordered_set<std::string> used_, example_;
  std::unordered_map<std::string_view, const RuleNode*> shapes_;
  std::unordered_map<const Expr*, std::vector<ExprName>> names_;
  std::unordered_set<const Dim*> marked_;
  std::vector<std::pair<const RuleNode*, const RuleNode*>> same_;  // linear, parent
  std::unordered_set<const RuleNode*> seen_;                       // of same_
  std::set<std::pair<int, int>> reported_;
};

}  // namespace

Soundness CheckRuleFile(const RuleFile& file, Diagnostics* out) { return Checker(file, out).Run(); }

}  // namespace ferrule
