// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_words.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "engine/infer/infer_dims.h"

namespace ferrule {
namespace {

constexpr int kMaxDepth = 24;

bool IsNameByte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

// `text` with each name replaced by what `of` gives for it; quoted texts are left alone.
template <typename Of>
std::string ReplaceNames(const std::string& text, const Of& of) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\'') {
      const size_t end = std::min(text.find('\'', at + 1), text.size() - 1);
      out += text.substr(at, end + 1 - at);
      at = end + 1;
    } else if (IsNameByte(text[at])) {
      size_t end = at;
      while (end < text.size() && IsNameByte(text[end])) ++end;
      const std::string name = text.substr(at, end - at);
      const std::string with = of(name);
      const bool alone = at == 0 && end == text.size();
      out += alone || with.find(' ') == std::string::npos ? with : "(" + with + ")";
      at = end;
    } else {
      out += text[at++];
    }
  }
  return out;
}

class Writer {
 public:
  Writer(const KnownModule& module, const ConfigScope& config) : module_(module), config_(config) {}

  std::string Write(const Dim& dim, int depth) const {
    for (const Expr& expr : dim.alternatives) {
      std::string text = Write(expr.text(), depth);
      if (!text.empty() && ValueOf(text, config_)) return text;
    }
    return {};
  }

 private:
  std::string Write(const std::string& text, int depth) const {
    if (depth > kMaxDepth) return {};
    bool good = true;
    std::string out = ReplaceNames(text, [&](const std::string& name) -> std::string {
      if (const auto bound = module_.bound.find(name); bound != module_.bound.end())
        return bound->second;
      for (const auto& [known, dim] : module_.file->dims) {
        if (known != name) continue;
        std::string inner = Write(dim, depth + 1);
        good = good && !inner.empty();
        return inner;
      }
      return name;
    });
    return good ? out : std::string();
  }

  const KnownModule& module_;
  const ConfigScope& config_;
};

}  // namespace

KnownModules::KnownModules(const Book& book, std::string_view model_type,
                           const std::vector<std::string>& present) {
  const std::set<std::string> names(present.begin(), present.end());
  std::vector<std::pair<size_t, std::vector<KnownModule>>> by_file;
  for (const auto& file : book.files) {
    const auto& types = file->model_types;
    if (!file->sound || std::find(types.begin(), types.end(), model_type) != types.end()) continue;
    KnownModule around;
    around.file = file.get();
    Walk(*file, file->root, around, "", 0);
    std::set<std::string> shared;
    for (const KnownModule& module : modules_)
      if (names.count(module.name) > 0) shared.insert(module.parent + "." + module.name);
    by_file.emplace_back(shared.size(), std::move(modules_));
    modules_.clear();
  }
  std::stable_sort(by_file.begin(), by_file.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& [shared, modules] : by_file)
    modules_.insert(modules_.end(), modules.begin(), modules.end());
}

void KnownModules::Walk(const RuleFile& file, const RuleNode& node, const KnownModule& around,
                        const std::string& parent, int depth) {
  if (depth > kMaxDepth) return;
  KnownModule here = around;
  here.node = &node;
  here.parent = parent;
  if (node.quantize != Quantize::kDefault) here.quantize = node.quantize;
  std::string own = parent;
  for (const Segment& segment : node.segments)
    if (!segment.placeholder) own = segment.text;
  if (node.kind != NodeKind::kTree && node.kind != NodeKind::kUse) {
    here.name = PathText(node.segments);
    modules_.push_back(std::move(here));
    return;
  }
  for (const auto& [name, dim] : node.with)
    if (!dim.alternatives.empty()) here.bound[name] = dim.alternatives[0].text();
  // What is bound may itself use names bound further out.
  for (auto& [name, text] : here.bound)
    text = ReplaceNames(text, [&](const std::string& inner) {
      const auto outer = around.bound.find(inner);
      return outer == around.bound.end() ? inner : outer->second;
    });
  for (const auto& [name, shape] : file.shapes)
    if (node.kind == NodeKind::kUse && name == node.use)
      for (const RuleNode& child : shape.children) Walk(file, child, here, own, depth + 1);
  for (const RuleNode& child : node.children) Walk(file, child, here, own, depth + 1);
  for (const RuleNode& child : node.either) Walk(file, child, here, own, depth + 1);
}

std::vector<const KnownModule*> KnownModules::Find(std::string_view name,
                                                   std::string_view parent) const {
  std::vector<const KnownModule*> out;
  for (const bool same : {true, false})
    for (const KnownModule& module : modules_)
      if (module.name == name && (module.parent == parent) == same) out.push_back(&module);
  return out;
}

std::string KnownModules::WriteOut(const KnownModule& module, const Dim& dim,
                                   const ConfigScope& config) {
  return Writer(module, config).Write(dim, 0);
}

}  // namespace ferrule
