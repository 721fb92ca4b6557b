// SPDX-License-Identifier: Apache-2.0
#include "engine/infer_modules.h"

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

ModuleDrafter::Fit ModuleDrafter::Linear(const NameNode& node, const std::vector<int64_t>& shape,
                                         bool bare) const {
  const std::vector<const KnownModule*> known = known_.Find(node.segment, ParentWord(node));
  for (const KnownModule* candidate : known)
    if (candidate->node->suffix != bare || shape.size() != 3)
      if (auto fit = FitLinear(*candidate, shape)) return *fit;
  for (const KnownModule* candidate : known)
    if (auto fit = FitFused(*candidate, shape)) return *fit;
  const int64_t rows = shape[shape.size() - 2], in = shape.back();
  Fit fit;
  fit.text = ByName(node, rows);
  fit.doubt = "unified by its name and sizes alone; the order of its rows no shape tells";
  if (fit.text.empty()) {
    fit.text = "rows: " + dims_.Expression(rows, node.path);
    const bool unified = std::any_of(known.begin(), known.end(), [](const KnownModule* candidate) {
      return candidate->node->kind == NodeKind::kUnified;
    });
    fit.doubt = unified ? "unified elsewhere, but its slices do not add up to these rows"
                        : "sizes by value alone; one projection or several in one tensor?";
  }
  fit.text += ", in: " + dims_.Expression(in, node.path);
  if (shape.size() == 3) fit.text += ", stack: " + dims_.Expression(shape[0], node.path);
  fit.text += ", split: " + Split(node, rows, in);
  return fit;
}

std::string ModuleDrafter::Experts(int64_t count, const NameNode& node) const {
  for (const char* const key : {"num_experts", "n_routed_experts", "num_local_experts"})
    if (ValueOf(key, config_) == count) return key;
  return dims_.Expression(count, node.path);
}

// Slices of a tensor that is called qkv or gate_up, where its rows are what such a tensor has.
std::string ModuleDrafter::ByName(const NameNode& node, int64_t rows) const {
  if (Contains(node.segment, "gate_up") && rows % 2 == 0) {
    const std::string half = dims_.Expression(rows / 2, node.path);
    return fmt::format("unified: {{gate: {0}, up: {0}}}", half);
  }
  if (!Contains(node.segment, "qkv") || Contains(node.segment, "qkvz")) return {};
  for (const char* const size : {"head_dim", "hidden_size / num_attention_heads"}) {
    const int64_t width = ValueOf(size, config_).value_or(0);
    const int64_t heads = ValueOf("num_attention_heads", config_).value_or(0);
    const int64_t kv_heads = ValueOf("num_key_value_heads", config_).value_or(0);
    if (width == 0 || kv_heads == 0 || (heads + 2 * kv_heads) * width != rows) continue;
    const std::string kv =
        fmt::format("{{rows: {}, per: num_key_value_heads, replicate: true}}", size);
    return fmt::format("unified: {{q: {{rows: {0}, per: num_attention_heads}}, k: {1}, v: {1}}}",
                       size, kv);
  }
  if (rows % 3 != 0) return {};
  return fmt::format("unified: {{q: {0}, k: {0}, v: {0}}}", dims_.Expression(rows / 3, node.path));
}

std::string ModuleDrafter::Split(const NameNode& node, int64_t rows, int64_t in) const {
  for (const KnownModule* known : known_.Find(node.segment, ParentWord(node)))
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
  const std::vector<int64_t> shape = ShapeAt(weight, at);
  const NameNode* const bias = node.Child("bias");
  const bool has_bias = bias != nullptr && bias->tensors.count(at) > 0;
  DraftLine line;
  line.key = line.name = node.segment;
  line.path = node.path;
  line.parent = ParentWord(node);
  const auto known = known_.Find(node.segment, line.parent);
  const bool table = known.empty()
                         ? Contains(node.segment, "embed") || Contains(node.segment, "norm") ||
                               Contains(node.segment, "conv")
                         : known[0]->node->kind == NodeKind::kWeight;
  if (shape.size() == 2 && !table) {
    const Fit fit = Linear(node, shape, false);
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

DraftLine ModuleDrafter::Bare(const NameNode& leaf, uint32_t at) const {
  DraftLine line;
  line.key = line.name = leaf.segment;
  line.path = leaf.path;
  line.parent = ParentWord(leaf);
  const std::vector<int64_t> shape = ShapeAt(leaf, at);
  const auto known = known_.Find(leaf.segment, line.parent);
  for (const KnownModule* candidate : known) {
    if (candidate->node->suffix || shape.size() < 2) continue;
    const auto fit = FitLinear(*candidate, shape);
    if (!fit) continue;
    line.linear = true;
    line.text = fit->text + ", suffix: none";
    line.origin = Stem(candidate->file->path);
    return line;
  }
  if (shape.size() == 3 && line.parent == "experts") {
    const Fit fit = Linear(leaf, shape, true);
    line.linear = true;
    line.text = fit.text + ", suffix: none";
    line.sure = false;
    line.doubt = fit.doubt + "; [experts, out, in] assumed";
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
      const std::vector<int64_t> shape = ShapeAt(*leaf, leaf->tensors.begin()->first);
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
