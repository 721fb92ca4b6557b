// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_modules.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Last word above a node: self_attn for model.layers.<layer>.self_attn.q_proj.
std::string ParentWord(const NameNode& node) {
  for (const NameNode* at = node.parent; at != nullptr; at = at->parent)
    if (!at->segment.empty() && at->segment[0] != '<') return at->segment;
  return {};
}

// q for q_proj, a for in_proj_a; with a number where that is taken.
std::string SliceName(const std::string& part, const std::string& taken) {
  std::string word = part;
  if (word.size() > 5 && word.ends_with("_proj")) word.resize(word.size() - 5);
  if (const size_t bar = word.rfind('_'); bar != std::string::npos) word = word.substr(bar + 1);
  std::string name = word;
  for (int i = 2; Contains(" " + taken, " " + name + ":"); ++i) name = word + std::to_string(i);
  return name;
}

std::string Stem(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::vector<int64_t> ModuleDrafter::ShapeAt(const NameNode& leaf, uint32_t at) const {
  const auto tensor = leaf.tensors.find(at);
  if (tensor == leaf.tensors.end()) return {};
  const auto shape = checkpoint_.shape(checkpoint_.tensors()[static_cast<size_t>(tensor->second)]);
  return {shape.begin(), shape.end()};
}

std::string ModuleDrafter::ShapeText(const NameNode& leaf, uint32_t at) const {
  return ferrule::ShapeText(ShapeAt(leaf, at));
}

LinearSizes ModuleDrafter::Sizes(const NameNode& node, uint32_t at) const {
  const NameNode& weight = *WeightOf(node);
  const std::vector<int64_t> shape = ShapeAt(weight, at);
  const auto tensor = weight.tensors.find(at);
  if (tensor == weight.tensors.end()) return {shape, 0};
  const DType dtype = checkpoint_.tensors()[static_cast<size_t>(tensor->second)].dtype;
  const auto sizes = SizesOf(quant_, weight.segment, dtype, shape,
                             [&](std::string_view name) -> std::optional<std::vector<int64_t>> {
                               const NameNode* const beside = node.Child(name);
                               if (beside == nullptr || beside->tensors.count(at) == 0)
                                 return std::nullopt;
                               return ShapeAt(*beside, at);
                             });
  return sizes.value_or(LinearSizes{shape, 0});
}

std::string ModuleDrafter::Joined(const NameNode& leaf) const {
  for (const std::string& role : roles_.weights)
    if (role[0] == '_' && leaf.segment.size() > role.size() && leaf.segment.ends_with(role))
      return role;
  return {};
}

LinearSizes ModuleDrafter::SizesOfBare(const NameNode& leaf, uint32_t at) const {
  const std::vector<int64_t> shape = ShapeAt(leaf, at);
  const std::string role = Joined(leaf);
  const auto tensor = leaf.tensors.find(at);
  if (role.empty() || tensor == leaf.tensors.end()) return {shape, 0};
  const std::string stem = leaf.segment.substr(0, leaf.segment.size() - role.size());
  const DType dtype = checkpoint_.tensors()[static_cast<size_t>(tensor->second)].dtype;
  const auto sizes = SizesOf(quant_, role, dtype, shape,
                             [&](std::string_view name) -> std::optional<std::vector<int64_t>> {
                               const NameNode* const beside =
                                   leaf.parent->Child(stem + std::string(name));
                               if (beside == nullptr || beside->tensors.count(at) == 0)
                                 return std::nullopt;
                               return ShapeAt(*beside, at);
                             });
  return sizes.value_or(LinearSizes{shape, 0});
}

bool ModuleDrafter::Belongs(const NameNode& leaf) const {
  const auto with = [&](std::string_view end) {
    if (!leaf.segment.ends_with(end) || leaf.segment.size() == end.size()) return false;
    const std::string stem = leaf.segment.substr(0, leaf.segment.size() - end.size());
    return std::any_of(roles_.weights.begin(), roles_.weights.end(), [&](const std::string& role) {
      return role[0] == '_' && leaf.parent->Child(stem + role) != nullptr;
    });
  };
  if (with("_bias")) return true;
  return std::any_of(roles_.scales.begin(), roles_.scales.end(),
                     [&](const std::string& role) { return role[0] == '_' && with(role); });
}

bool ModuleDrafter::IsModule(const NameNode& node) const { return WeightOf(node) != nullptr; }

const NameNode* ModuleDrafter::WeightOf(const NameNode& node) const {
  for (const auto& child : node.children)
    if (!child->tensors.empty() && roles_.weights.count(child->segment) > 0) return child.get();
  return nullptr;
}

// `{q: …, k: …}` of a unified declaration or one slice of a plain one, and the rows of one group.
bool ModuleDrafter::Slices(const KnownModule& known, int64_t* rows, std::string* text) const {
  const RuleNode& node = *known.node;
  if (node.kind != NodeKind::kUnified) return false;
  for (const SliceRule& slice : node.slices) {
    const std::string size = KnownModules::WriteOut(known, slice.rows, config_);
    if (size.empty()) return false;
    int64_t value = ValueOf(size, config_).value_or(0);
    std::string line = size;
    if (slice.per) {
      const std::string per = KnownModules::WriteOut(known, *slice.per, config_);
      if (per.empty()) return false;
      value *= ValueOf(per, config_).value_or(0);
      line = fmt::format("{{rows: {}, per: {}{}}}", size, per,
                         slice.replicate ? ", replicate: true" : "");
    }
    *rows += value;
    *text += fmt::format("{}{}: {}", text->empty() ? "" : ", ", slice.name, line);
  }
  return true;
}

std::optional<ModuleDrafter::Fit> ModuleDrafter::FitLinear(
    const KnownModule& known, const std::vector<int64_t>& shape) const {
  const RuleNode& node = *known.node;
  if (!IsLinear(node.kind) || !node.in || node.stack.has_value() != (shape.size() == 3)) return {};
  int64_t rows = 0;
  std::string text;
  if (node.kind == NodeKind::kRows) {
    const std::string size = KnownModules::WriteOut(known, *node.rows, config_);
    if (size.empty()) return {};
    rows = ValueOf(size, config_).value_or(0);
    text = "rows: " + size;
  } else {
    std::string slices;
    if (!Slices(known, &rows, &slices)) return {};
    text = fmt::format("unified: {{{}}}", slices);
  }
  const auto add = [&](const char* key, const std::optional<Dim>& dim, int64_t* value) {
    if (!dim) return true;
    const std::string written = KnownModules::WriteOut(known, *dim, config_);
    if (written.empty()) return false;
    *value = ValueOf(written, config_).value_or(0);
    text += fmt::format(", {}: {}", key, written);
    return true;
  };
  int64_t per = 1, groups = 1, in = 0, stack = 0;
  if (!add("per", node.per, &per) || !add("groups", node.groups, &groups)) return {};
  if (node.replicate) text += ", replicate: true";
  if (node.scales_per_group) text += ", scales: per_group";
  if (!add("in", node.in, &in) || !add("stack", node.stack, &stack)) return {};
  if (node.kind == NodeKind::kUnified) rows *= std::max<int64_t>(groups, 1);
  if (rows * per != shape[shape.size() - 2] || in != shape.back()) return {};
  if (shape.size() == 3 && stack != shape[0]) return {};
  text += fmt::format(", split: {}", SplitName(node.split));
  return Fit{text, &known, {}};
}

// A stored tensor that other formats keep in parts: the slices are known, their order is not.
std::optional<ModuleDrafter::Fit> ModuleDrafter::FitFused(const KnownModule& known,
                                                          const std::vector<int64_t>& shape) const {
  if (known.node->kind != NodeKind::kFused || shape.size() != 2) return {};
  int64_t rows = 0;
  std::string slices, split, in;
  for (const NamedText& part : known.node->parts) {
    const KnownModule* found = nullptr;
    for (const KnownModule* other : known_.Find(part.name, known.parent))
      if (other->file == known.file && found == nullptr && IsLinear(other->node->kind))
        found = other;
    if (found == nullptr) return {};
    split = SplitName(found->node->split);
    in = KnownModules::WriteOut(*found, *found->node->in, config_);
    if (found->node->kind == NodeKind::kUnified) {
      if (!Slices(*found, &rows, &slices)) return {};
      continue;
    }
    const std::string size = KnownModules::WriteOut(*found, *found->node->rows, config_);
    const std::string per =
        found->node->per ? KnownModules::WriteOut(*found, *found->node->per, config_) : "1";
    if (size.empty() || per.empty()) return {};
    rows += ValueOf(size, config_).value_or(0) * ValueOf(per, config_).value_or(0);
    const std::string name = SliceName(part.name, slices);
    slices +=
        fmt::format("{}{}: {}", slices.empty() ? "" : ", ", name,
                    found->node->per ? fmt::format("{{rows: {}, per: {}}}", size, per) : size);
  }
  if (rows != shape[0] || ValueOf(in, config_) != shape[1]) return {};
  return Fit{fmt::format("unified: {{{}}}, in: {}, split: {}", slices, in, split), &known,
             fmt::format(
                 "one tensor here, {} parts in {}; whether its rows are interleaved no shape tells",
                 known.node->parts.size(), Stem(known.file->path))};
}

// Whether o_proj reads as many columns as q_proj has rows: then there is no gate among them.
bool ModuleDrafter::TakesAll(const NameNode& node, const std::string& name,
                             const std::vector<int64_t>& shape) const {
  const NameNode* const out =
      name == "q_proj" && node.parent != nullptr ? node.parent->Child("o_proj") : nullptr;
  if (out == nullptr || !IsModule(*out) || shape.size() != 2) return false;
  return std::any_of(out->present.begin(), out->present.end(), [&](uint32_t at) {
    return node.present.count(at) > 0 && Sizes(node, at).shape == shape &&
           Sizes(*out, at).shape.back() == shape[0];
  });
}

ModuleDrafter::Fit ModuleDrafter::Linear(const NameNode& node, const std::string& name,
                                         const LinearSizes& sizes, bool bare) const {
  const std::vector<int64_t>& shape = sizes.shape;
  const std::vector<const KnownModule*> known = known_.Find(name, ParentWord(node));
  const bool plain = TakesAll(node, name, shape);
  for (const KnownModule* candidate : known)
    if (!(plain && candidate->node->kind == NodeKind::kUnified) &&
        (candidate->node->suffix != bare || shape.size() != 3) &&
        candidate->node->scales_per_group == (sizes.groups > 0))
      if (auto fit = FitLinear(*candidate, shape)) return *fit;
  if (sizes.groups == 0)
    for (const KnownModule* candidate : known)
      if (auto fit = FitFused(*candidate, shape)) return *fit;
  const int64_t rows = shape[shape.size() - 2], in = shape.back();
  Fit fit;
  fit.text = ByName(node, name, rows, sizes.groups);
  fit.doubt = "unified by its name and sizes alone; the order of its rows no shape tells";
  if (fit.text.empty()) {
    fit.text = "rows: " + dims_.Expression(rows, node.path);
    const bool unified = std::any_of(known.begin(), known.end(), [](const KnownModule* candidate) {
      return candidate->node->kind == NodeKind::kUnified;
    });
    fit.doubt = unified ? "unified elsewhere, but its slices do not add up to these rows"
                        : "sizes by value alone; one projection or several in one tensor?";
  }
  if (sizes.groups > 0) {
    fit.text += fmt::format(", groups: {}, scales: per_group", sizes.groups);
    fit.doubt += fmt::format("; scales as for {} row groups", sizes.groups);
  }
  fit.text += ", in: " + dims_.Expression(in, node.path);
  if (shape.size() == 3) fit.text += ", stack: " + dims_.Expression(shape[0], node.path);
  fit.text += ", split: " + Split(node, name, rows, in);
  return fit;
}

// Slices of a tensor that is called qkv or gate_up, where its rows are what such a tensor has; of
// one row group, if there are groups.
std::string ModuleDrafter::ByName(const NameNode& node, const std::string& name, int64_t rows,
                                  int64_t groups) const {
  if (Contains(name, "gate_up") && rows % 2 == 0 && groups == 0) {
    const std::string half = dims_.Expression(rows / 2, node.path);
    return fmt::format("unified: {{gate: {0}, up: {0}}}", half);
  }
  const auto value = [&](const std::string& expression) {
    return ValueOf(expression, config_).value_or(0);
  };
  if (name == "in_proj" && groups == 0 && value("mamba_num_heads") > 0 &&  // Mamba 2
      value("2 * mamba_num_heads * mamba_head_dim + 2 * n_groups * ssm_state_size + "
            "mamba_num_heads") == rows) {
    const char* const inner = "{rows: mamba_head_dim, per: mamba_num_heads}";
    const char* const state = "{rows: ssm_state_size, per: n_groups, replicate: true}";
    return fmt::format(
        "unified: {{gate: {0}, x: {0}, b: {1}, c: {1}, dt: {{rows: 1, per: mamba_num_heads}}}}",
        inner, state);
  }
  if (!Contains(name, "qkv") || Contains(name, "qkvz")) return {};
  const std::string by = groups > 0 ? fmt::format(" / {}", groups) : "";
  // MiMo has sizes of its own for layers that see a window, and values narrower than keys.
  for (const std::string& prefix : {std::string(), std::string("swa_")}) {
    for (const std::string& width :
         {prefix + "head_dim", std::string("hidden_size / num_attention_heads")}) {
      const std::string q = prefix + "num_attention_heads", kv = prefix + "num_key_value_heads";
      const std::string narrow = prefix + "v_head_dim";
      const std::string v = value(narrow) > 0 ? narrow : width;
      const int64_t all = value(q) * value(width) + value(kv) * (value(width) + value(v));
      if (value(width) == 0 || value(kv) == 0 || all != rows) continue;
      if (groups > 0 && (value(q) % groups != 0 || value(kv) % groups != 0)) continue;
      return fmt::format(
          "unified: {{q: {{rows: {0}, per: {1}{4}}}, k: {{rows: {0}, per: {2}{4}, replicate: "
          "true}}, "
          "v: {{rows: {3}, per: {2}{4}, replicate: true}}}}",
          width, q, kv, v, by);
    }
  }
  if (rows % 3 != 0 || groups > 0) return {};
  return fmt::format("unified: {{q: {0}, k: {0}, v: {0}}}", dims_.Expression(rows / 3, node.path));
}

std::string ModuleDrafter::Split(const NameNode& node, const std::string& name, int64_t rows,
                                 int64_t in) const {
  for (const KnownModule* known : known_.Find(name, ParentWord(node)))
    if (IsLinear(known->node->kind)) return std::string(SplitName(known->node->split));
  const int64_t hidden = ValueOf("hidden_size", config_).value_or(0);
  if (Contains(node.path, "vis") || rows <= 1 || (rows == hidden && in == hidden)) return "none";
  return rows == hidden ? "row" : in == hidden ? "column" : "none";
}

std::string ModuleDrafter::Dims(const NameNode& node, const std::string& name,
                                const std::vector<int64_t>& shape, std::string* origin) const {
  for (const KnownModule* known : known_.Find(name, ParentWord(node))) {
    const std::vector<Dim>& dims = known->node->dims;
    if (dims.size() != shape.size()) continue;
    std::vector<std::string> written;
    for (size_t i = 0; i < dims.size(); ++i) {
      std::string text = KnownModules::WriteOut(*known, dims[i], config_);
      if (text.empty() || ValueOf(text, config_) != shape[i]) break;
      written.push_back(std::move(text));
    }
    if (written.size() != dims.size()) continue;
    *origin = Stem(known->file->path);
    return fmt::format("[{}]", fmt::join(written, ", "));
  }
  std::vector<std::string> written;
  written.reserve(shape.size());
  for (const int64_t dim : shape) written.push_back(dims_.Expression(dim, node.path));
  return fmt::format("[{}]", fmt::join(written, ", "));
}

std::vector<DraftLine> ModuleDrafter::Module(const NameNode& node, uint32_t at) const {
  std::vector<DraftLine> lines;
  const NameNode& weight = *WeightOf(node);
  const LinearSizes sizes = Sizes(node, at);
  const std::vector<int64_t>& shape = sizes.shape;
  const NameNode* const bias = node.Child("bias");
  const bool has_bias = bias != nullptr && bias->tensors.count(at) > 0;
  DraftLine line;
  line.key = line.name = node.segment;
  line.path = node.path;
  line.parent = ParentWord(node);
  const auto known = known_.Find(node.segment, line.parent);
  const bool table = known.empty()
                         ? (Contains(node.segment, "embed") && !Contains(node.segment, "proj")) ||
                               Contains(node.segment, "norm") || Contains(node.segment, "conv")
                         : known[0]->node->kind == NodeKind::kWeight;
  if (shape.size() == 2 && !table) {
    const Fit fit = Linear(node, node.segment, sizes, false);
    line.linear = true;
    line.text = fit.text;
    line.doubt = fit.doubt;
    line.sure = fit.doubt.empty();
    if (fit.known != nullptr) line.origin = Stem(fit.known->file->path);
  } else {
    line.text = "weight: " + Dims(node, node.segment, shape, &line.origin);
  }
  if (has_bias) line.text += ", bias: true";
  lines.push_back(line);
  for (const auto& child : node.children) {
    if (child.get() == &weight || child.get() == bias || child->tensors.count(at) == 0) continue;
    if (roles_.scales.count(child->segment) > 0) continue;
    DraftLine beside = Bare(*child, at);
    beside.key = node.segment + "." + child->segment;
    lines.push_back(beside);
  }
  return lines;
}

// Stacked experts whose columns come first: the hidden size is on the side that it would not be on.
bool ModuleDrafter::Turned(const NameNode& leaf, const std::vector<int64_t>& shape) const {
  const int64_t hidden = ValueOf("hidden_size", config_).value_or(0);
  if (shape.size() != 3 || ParentWord(leaf) != "experts" || shape[1] == shape[2]) return false;
  if (Contains(leaf.segment, "down")) return shape[2] == hidden;
  return (Contains(leaf.segment, "gate") || Contains(leaf.segment, "up")) && shape[1] == hidden;
}

DraftLine ModuleDrafter::Bare(const NameNode& leaf, uint32_t at) const {
  DraftLine line;
  const std::string joined = Joined(leaf);
  const std::string stem = leaf.segment.substr(0, leaf.segment.size() - joined.size());
  line.key = line.name = stem;
  line.path = leaf.path.substr(0, leaf.path.size() - joined.size());
  line.parent = ParentWord(leaf);
  LinearSizes sizes = SizesOfBare(leaf, at);
  std::vector<int64_t>& shape = sizes.shape;
  const bool turned = joined.empty() && Turned(leaf, shape);
  if (turned) std::swap(shape[1], shape[2]);
  const NameNode* const bias = leaf.parent->Child(stem + "_bias");
  const bool has_bias = bias != nullptr && bias->tensors.count(at) > 0 && !joined.empty();
  const std::string end = fmt::format("{}, suffix: none{}", turned ? ", transposed: true" : "",
                                      has_bias ? ", bias: true" : "");
  const auto known = known_.Find(stem, line.parent);
  for (const KnownModule* candidate : known) {
    if (candidate->node->suffix || shape.size() < 2) continue;
    const auto fit = FitLinear(*candidate, shape);
    if (!fit) continue;
    line.linear = true;
    line.text = fit->text + end;
    line.origin = Stem(candidate->file->path);
    return line;
  }
  if (!joined.empty() || (shape.size() == 3 && line.parent == "experts")) {
    const Fit fit = Linear(leaf, stem, sizes, true);
    line.linear = true;
    line.text = fit.text + end;
    line.sure = false;
    line.doubt = fit.doubt + (!joined.empty() ? ""
                              : turned        ? "; [experts, in, out] by its sizes"
                                              : "; [experts, out, in] assumed");
    return line;
  }
  const std::string name =
      roles_.weights.count(leaf.parent->segment) > 0 || leaf.parent->segment.empty()
          ? leaf.segment
          : leaf.parent->segment + "." + leaf.segment;
  line.text = "param: " + Dims(leaf, known.empty() ? name : leaf.segment, shape, &line.origin);
  return line;
}

std::vector<DraftLine> ModuleDrafter::Fused(const NameNode& parent,
                                            const std::vector<std::string>& names) const {
  std::vector<DraftLine> lines;
  const std::string word =
      parent.segment.empty() || parent.segment[0] == '<' ? ParentWord(parent) : parent.segment;
  std::set<std::string> done;
  for (const KnownModule& known : known_.all()) {
    if (known.node->kind != NodeKind::kFused || done.count(known.name) > 0) continue;
    if (std::find(names.begin(), names.end(), known.name) != names.end()) continue;
    std::vector<std::string> parts;
    std::set<int64_t> columns;
    for (const NamedText& part : known.node->parts) {
      const NameNode* const child = parent.Child(part.name);
      if (child == nullptr || std::find(names.begin(), names.end(), part.name) == names.end())
        break;
      const NameNode* const weight = WeightOf(*child);
      const NameNode* const leaf = weight != nullptr ? weight : child;
      if (leaf->tensors.empty()) break;
      const uint32_t at = leaf->tensors.begin()->first;
      const std::vector<int64_t> shape =
          weight != nullptr ? Sizes(*child, at).shape : ShapeAt(*leaf, at);
      if (shape.size() < 2) break;
      columns.insert(shape.back());
      parts.push_back(part.name);
    }
    if (parts.size() != known.node->parts.size() || columns.size() != 1) continue;
    done.insert(known.name);
    DraftLine line;
    line.key = line.name = known.name;
    line.parent = word;
    line.text = fmt::format("fused: [{}]{}", fmt::join(parts, ", "),
                            known.node->mixed_apart ? ", mixed: apart" : "");
    line.origin = Stem(known.file->path);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace ferrule
