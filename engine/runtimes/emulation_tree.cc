// SPDX-License-Identifier: Apache-2.0
// Functions that walk a model: every module in the order of named_modules, containers before what
// they hold, the root under the empty name.
#include <algorithm>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

struct Node {
  std::string name;
  bool leaf = false;
  std::vector<Node> children;
};

void Add(const std::string& path, Node* root) {
  Node* node = root;
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('.', end + 1);
    const std::string name = path.substr(0, end);
    const auto known = std::find_if(node->children.begin(), node->children.end(),
                                    [&](const Node& child) { return child.name == name; });
    node = known != node->children.end() ? &*known
                                         : &node->children.emplace_back(Node{name, false, {}});
  }
  node->leaf = true;
}

void ListAll(const Node& node, std::vector<const Node*>* out) {
  out->push_back(&node);
  for (const Node& child : node.children) ListAll(child, out);
}

}  // namespace

RuntimeAnswer Emulator::Tree(const RuntimeFunction& function, const Frame& frame) {
  const TreeRule& tree = *function.tree;
  Node root;
  for (const QuestionEntry& module : Emulator::List(tree.modules, frame)) Add(module.text, &root);
  std::vector<const Node*> nodes, chosen;
  ListAll(root, &nodes);
  std::string collected;
  const auto at = [&](const Node& node) {
    Frame inner = frame;
    inner.name = node.name;
    inner.layer = node.leaf ? tree.leaf : tree.container;
    return inner;
  };
  const auto collect = [&](const Node& node, const RuntimeAnswer& answer) {
    std::string item = JsonText(node.name);
    for (const auto& [name, json] : answer.fields)
      if (name == tree.value) item += ":" + json;
    collected += (collected.empty() ? "" : ",") + item;
  };
  const auto walk = [&](const std::vector<Step>& steps, const std::vector<const Node*>& over,
                        bool last) -> Decision {
    for (const Node* node : over) {
      const Decision answer = Steps(steps, at(*node));
      if (!answer) continue;
      if (answer->is_error() || answer->result == "unsupported") return answer;
      if (answer->result != "quant") continue;
      if (last)
        collect(*node, *answer);
      else
        chosen.push_back(node);
    }
    return std::nullopt;
  };
  if (const Decision stop = walk(function.steps, nodes, tree.then.empty())) return *stop;
  if (!tree.then.empty())
    if (const Decision stop = walk(tree.then, chosen, true)) return *stop;
  const bool names = tree.value.empty();
  return {"ok", "", {{tree.field, (names ? "[" : "{") + collected + (names ? "]" : "}")}}};
}

}  // namespace ferrule
