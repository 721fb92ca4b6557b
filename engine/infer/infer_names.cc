// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace ferrule {
namespace {

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t n = 0;
  if (text.empty() || text.size() > 9 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// Calls `each` with every segment of a name.
template <typename Each>
void Segments(std::string_view name, const Each& each) {
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    each(name.substr(begin, end - begin));
    begin = end + 1;
  }
}

// What a number below a path means.
struct Meaning {
  bool literal = true;
  std::string name, draft;    // placeholders
  uint32_t draft_from = ~0U;  // numbers from here on are the draft's
};

std::string LastSegment(const std::string& path) {
  const size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string Singular(const std::string& word) {
  return word.size() > 1 && word.back() == 's' ? word.substr(0, word.size() - 1) : word;
}

class TreeMaker {
 public:
  TreeMaker(const Checkpoint& checkpoint, int64_t layers)
      : checkpoint_(checkpoint), layers_(layers) {}

  NameTree Make() {
    tree_.root = std::make_unique<NameNode>();
    for (const Tensor& tensor : checkpoint_.tensors()) Count(tensor.name);
    for (const auto& [path, numbers] : numbers_) meanings_[path] = MeaningOf(path, numbers);
    for (size_t i = 0; i < checkpoint_.tensors().size(); ++i) Insert(static_cast<int32_t>(i));
    return std::move(tree_);
  }

 private:
  void Count(std::string_view name) {
    std::string path;
    Segments(name, [&](std::string_view segment) {
      const auto number = Number(segment);
      if (number) numbers_[path].insert(*number);
      if (!path.empty()) path += '.';
      path += number ? "#" : segment;
    });
  }

  Meaning MeaningOf(const std::string& path, const std::set<uint32_t>& numbers) {
    const uint32_t first = *numbers.begin(), last = *numbers.rbegin();
    const std::string word = LastSegment(path);
    const bool counted = word == "layers" || word == "blocks" || word == "experts" || word == "h";
    Meaning meaning;
    if (last - first + 1 != numbers.size() || (!counted && (first != 0 || numbers.size() < 4)))
      return meaning;
    meaning.literal = false;
    const uint32_t layers = static_cast<uint32_t>(layers_);
    if (word == "layers" && layers_ > 0 && first < layers && last >= layers) {
      meaning.draft_from = layers;
      meaning.name = Declare(path, first, layers - first, false);
      meaning.draft = Declare(path, layers, last + 1 - layers, true);
    } else {
      meaning.name = Declare(path, first, numbers.size(), false);
    }
    return meaning;
  }

  // A name for numbers `from` … `from + count - 1`: one that is there already, or a new one.
  std::string Declare(const std::string& path, int64_t from, size_t size, bool draft) {
    const int64_t count = static_cast<int64_t>(size);
    const std::string root = path.substr(0, path.find('.'));
    const std::string word = LastSegment(path);
    const bool mtp = draft || (root == "mtp" && word == "layers");
    std::vector<std::string> names = {mtp ? "mtp" : Singular(word)};
    names.push_back(names[0] + "_" + root);
    for (int i = 2; i < 100; ++i) names.push_back(fmt::format("{}{}", names[0], i));
    for (const std::string& name : names) {
      const auto at = std::find_if(tree_.indices.begin(), tree_.indices.end(),
                                   [&](const InferredIndex& index) { return index.name == name; });
      if (at == tree_.indices.end()) {
        tree_.indices.push_back({name, from, count, draft});
        return name;
      }
      if (at->from == from && at->count == count && at->draft == draft) return name;
    }
    return names[0];
  }

  void Insert(int32_t tensor) {
    NameNode* node = tree_.root.get();
    std::string path;
    std::optional<uint32_t> outer;
    std::vector<NameNode*> way;
    Segments(
        checkpoint_.tensors()[static_cast<size_t>(tensor)].name, [&](std::string_view segment) {
          const auto number = Number(segment);
          std::string text(segment);
          if (number) {
            const Meaning& meaning = meanings_[path];
            if (!meaning.literal) {
              text =
                  fmt::format("<{}>", *number >= meaning.draft_from ? meaning.draft : meaning.name);
              if (!outer) outer = *number;
            }
          }
          if (!path.empty()) path += '.';
          path += number ? "#" : segment;
          node = Descend(node, text);
          way.push_back(node);
        });
    for (NameNode* at : way) at->present.insert(outer.value_or(0));
    node->tensors.try_emplace(outer.value_or(0), tensor);
  }

  static NameNode* Descend(NameNode* node, const std::string& segment) {
    if (NameNode* const child = node->Child(segment)) return child;
    auto made = std::make_unique<NameNode>();
    made->segment = segment;
    made->path = node->path.empty() ? segment : node->path + "." + segment;
    made->parent = node;
    made->index = node->index;
    if (made->index.empty() && segment[0] == '<')
      made->index = segment.substr(1, segment.size() - 2);
    node->children.push_back(std::move(made));
    return node->children.back().get();
  }

  const Checkpoint& checkpoint_;
  const int64_t layers_;
  std::map<std::string, std::set<uint32_t>> numbers_;  // path with `#` → numbers below it
  std::map<std::string, Meaning> meanings_;
  NameTree tree_;
};

}  // namespace

NameNode* NameNode::Child(std::string_view name) const {
  for (const auto& child : children)
    if (child->segment == name) return child.get();
  return nullptr;
}

NameTree TreeOfNames(const Checkpoint& checkpoint, int64_t layers) {
  return TreeMaker(checkpoint, layers).Make();
}

}  // namespace ferrule
