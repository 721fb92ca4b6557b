// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_tree.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

std::set<uint32_t> Meet(const std::set<uint32_t>& a, const std::set<uint32_t>& b) {
  std::set<uint32_t> out;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::inserter(out, out.end()));
  return out;
}

bool IsLeaf(const NameNode& node) { return node.children.empty(); }

}  // namespace

void TreeWriter::TiedHead(const std::string& path, const std::string& dims) {
  conditions.emplace_back("tied", "has(tie_word_embeddings) and tie_word_embeddings");
  DraftLine line;
  line.key = line.name = line.path = "lm_head";
  line.linear = true;
  line.text =
      fmt::format("{}, split: column, quantize: named, same: {{when: tied, as: {}}}", dims, path);
  Line(std::move(line), "", 1);
}

std::string TreeWriter::example_path() const {
  for (const bool any : {false, true})
    for (const DraftLine& line : lines) {
      if (!line.linear || line.path.find("expert") != std::string::npos) continue;
      if (!any && (line.path.find("layers") == std::string::npos || quantize_.count(line.path) > 0))
        continue;
      if (fused_parts_.count(line.parent + "." + line.name) == 0) return line.path;
    }
  return {};
}

void TreeWriter::Indented(int indent, const std::string& line) {
  if (first_in_item_)
    text += fmt::format("{:{}}- {}\n", "", 2 * (indent - 1), line);
  else
    text += fmt::format("{:{}}{}\n", "", 2 * indent, line);
  first_in_item_ = false;
}

std::string TreeWriter::When(const std::string& index, const Numbers& wanted, const Numbers& all,
                             const std::string& hint) {
  if (wanted == all) return {};
  Numbers rest;
  std::set_difference(all.begin(), all.end(), wanted.begin(), wanted.end(),
                      std::inserter(rest, rest.end()));
  for (const Known& known : pool_) {
    if (known.index != index) continue;
    if (Meet(known.wanted, all) == wanted &&
        std::includes(known.all.begin(), known.all.end(), all.begin(), all.end()))
      return known.name;
    if (Meet(known.wanted, all) == rest &&
        std::includes(known.all.begin(), known.all.end(), all.begin(), all.end()))
      return "not " + known.name;
  }
  std::string stem = hint;
  std::replace(stem.begin(), stem.end(), '.', '_');
  std::string name = fmt::format("{}_{}", stem, index);
  const auto taken = [&](const std::string& word) {
    return std::any_of(pool_.begin(), pool_.end(),
                       [&](const Known& known) { return known.name == word; });
  };
  for (int i = 2; taken(name); ++i) name = fmt::format("{}_{}{}", stem, index, i);
  pool_.push_back({name, index, wanted, all});
  conditions.emplace_back(name, dims_.Condition(index, wanted, all));
  return name;
}

// Shapes of the tensors of a module or bare tensor, without scales.
std::string TreeWriter::Signature(const NameNode& module, uint32_t at) const {
  std::string out;
  const auto add = [&](const NameNode& leaf) {
    if (roles_.scales.count(leaf.segment) > 0 || roles_.weights.count(leaf.segment) > 0) return;
    out += leaf.segment + (leaf.tensors.count(at) > 0 ? drafter_.ShapeText(leaf, at) : "-");
  };
  if (IsLeaf(module)) add(module);
  if (drafter_.IsModule(module)) out += ShapeText(drafter_.Sizes(module, at).shape);
  for (const auto& child : module.children)
    if (!child->tensors.empty()) add(*child);
  return out;
}

void TreeWriter::Line(DraftLine line, const std::string& when, int indent) {
  std::string body = when.empty() ? line.text : fmt::format("when: {}, {}", when, line.text);
  if (const auto word = quantize_.find(line.path);
      word != quantize_.end() && line.linear && body.find("quantize:") == std::string::npos)
    body += ", quantize: " + word->second;
  std::string comment;
  if (!line.sure) comment = "   # ? " + line.doubt;
  Indented(indent, fmt::format("{}: {{{}}}{}", line.key, body, comment));
  lines.push_back(std::move(line));
}

// Modules whose shapes depend on the layer: one alternative for each set of layers that agree.
bool TreeWriter::Either(const NameNode& node, const Numbers& universe, int indent) {
  if (node.index.empty() || universe.size() < 2) return false;
  std::vector<const NameNode*> varying;
  for (const auto& child : node.children) {
    if (!drafter_.IsModule(*child) && !IsLeaf(*child)) continue;
    std::set<std::string> looks;
    for (const uint32_t at : Meet(child->present, universe)) looks.insert(Signature(*child, at));
    if (looks.size() > 1) varying.push_back(child.get());
  }
  if (varying.empty()) return false;
  std::map<std::string, Numbers> classes;
  for (const uint32_t at : universe) {
    std::string look;
    for (const NameNode* child : varying)
      look += child->present.count(at) > 0 ? Signature(*child, at) + "|" : "-|";
    classes[look].insert(at);
  }
  if (classes.size() < 2) return false;
  std::vector<Numbers> ordered;
  ordered.reserve(classes.size());
  for (auto& [look, numbers] : classes) ordered.push_back(numbers);
  std::sort(ordered.begin(), ordered.end());
  Indented(indent, "either:");
  for (const Numbers& numbers : ordered) {
    first_in_item_ = true;
    Indented(indent + 2, "when: " + When(node.index, numbers, universe, varying[0]->segment));
    Children(node, numbers, indent + 2, "");
  }
  return true;
}

void TreeWriter::Children(const NameNode& node, const Numbers& universe, int indent,
                          const std::string& prefix) {
  if (prefix.empty() && Either(node, universe, indent)) return;
  for (const auto& child : node.children) {
    if (!prefix.empty() && !child->tensors.empty() && IsLeaf(*child)) continue;  // of the module
    const bool enters = child->index != node.index;
    if (enters || !Meet(child->present, universe).empty())
      Child(*child, enters ? child->present : universe, indent, prefix);
  }
  if (prefix.empty()) FusedNames(node, universe, indent);
}

// A scale whose weight is nowhere is a part of no module, whatever its shape: left out of the
// draft it is a tensor that nobody explains.
bool TreeWriter::OnlyScales(const NameNode& node) const {
  if (IsLeaf(node)) return roles_.scales.count(node.segment) > 0 && !drafter_.Belongs(node);
  return !drafter_.IsModule(node) &&
         std::all_of(node.children.begin(), node.children.end(),
                     [&](const auto& child) { return OnlyScales(*child); });
}

void TreeWriter::Child(const NameNode& child, const Numbers& universe, int indent,
                       const std::string& prefix) {
  if (OnlyScales(child)) return;
  const Numbers here = Meet(child.present, universe);
  const std::string when = When(child.index, here, universe, child.segment);
  std::string key = prefix + child.segment;
  if (drafter_.IsModule(child)) {
    for (DraftLine& line : drafter_.Module(child, *here.begin())) {
      line.key = prefix + line.key;
      Line(std::move(line), when, indent);
    }
    Children(child, here, indent, key + ".");
    return;
  }
  if (IsLeaf(child)) {
    if (drafter_.Belongs(child)) return;
    DraftLine line = drafter_.Bare(child, *here.begin());
    line.key = prefix + line.key;
    return Line(std::move(line), when, indent);
  }
  const NameNode* at = &child;
  Numbers below = here;
  while (at->children.size() == 1 && at->children[0]->segment[0] == '<') {
    below = at->children[0]->index != at->index ? at->children[0]->present : below;
    at = at->children[0].get();
    key += "." + at->segment;
  }
  if (at->children.size() == 1 && IsLeaf(*at->children[0]) && !drafter_.IsModule(*at)) {
    DraftLine line = drafter_.Bare(*at->children[0], *below.begin());
    line.key = key + "." + line.key;
    return Line(std::move(line), when, indent);
  }
  if (at != &child && drafter_.IsModule(*at)) {  // speech_embeddings.<n>.weight
    for (DraftLine& line : drafter_.Module(*at, *below.begin())) {
      line.key = key + line.key.substr(at->segment.size());
      Line(std::move(line), when, indent);
    }
    return Children(*at, below, indent, key + ".");
  }
  Indented(indent, key + ":");
  if (!when.empty()) Indented(indent + 1, "when: " + when);
  Children(*at, below, indent + 1, "");
}

// Layers that store no v_proj because their keys serve as values, if config.json says so.
void TreeWriter::KeysAsValues(const NameNode& node, const Numbers& universe, int indent,
                              std::map<Numbers, std::vector<std::string>>* together) {
  const NameNode *k = node.Child("k_proj"), *v = node.Child("v_proj");
  if (k == nullptr || v == nullptr || !keys_as_values || !drafter_.IsModule(*k)) return;
  Numbers here;
  for (const uint32_t at : Meet(k->present, universe))
    if (v->present.count(at) == 0) here.insert(at);
  if (here.empty() || Meet(k->present, universe) != here) return;
  DraftLine line = drafter_.Module(*k, *here.begin())[0];
  line.key = line.name = "v_proj";
  line.path = v->path;
  line.text += ", same: {as: k_proj}";
  Line(std::move(line), When(node.index, here, universe, "v_proj"), indent);
  for (auto& [numbers, names] : *together)
    if (numbers == here) names.emplace_back("v_proj");
}

void TreeWriter::FusedNames(const NameNode& node, const Numbers& universe, int indent) {
  std::map<Numbers, std::vector<std::string>> together;  // layers → modules that are all there
  std::vector<std::string> all;
  for (const auto& child : node.children) {
    all.push_back(child->segment);
    const Numbers here = Meet(child->present, universe);
    if (!here.empty() && !child->segment.starts_with("<")) together[here].push_back(child->segment);
  }
  KeysAsValues(node, universe, indent, &together);
  for (const auto& [here, names] : together)
    for (DraftLine& line : drafter_.Fused(node, names)) {
      if (std::find(all.begin(), all.end(), line.key) != all.end()) continue;
      for (const std::string& name : names)
        if (line.text.find(name) != std::string::npos)
          fused_parts_.insert(line.parent + "." + name);
      line.path = node.path + "." + line.key;
      const std::string when = When(node.index, here, universe, line.key);
      Line(std::move(line), when, indent);
    }
}

}  // namespace ferrule
