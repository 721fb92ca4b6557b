// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/quant_agree.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

namespace ferrule {
namespace {

using Said = std::map<std::string, std::string>;  // name → what it is

Said ListOf(const QuantConfig& quant) {
  Said said;
  for (size_t i = 0; i < quant.list.size(); ++i) said.emplace(quant.list.name(i), "");
  return said;
}

Said LayersOf(const QuantConfig& quant) {
  Said said;
  for (const LayerTable& table : quant.layers)
    for (size_t i = 0; i < table.names.size(); ++i) {
      const Scheme& scheme = quant.schemes[static_cast<size_t>(table.schemes[i])];
      said.emplace(table.names.name(i),
                   scheme.group > 0 ? fmt::format("{}, groups of {}", scheme.name, scheme.group)
                                    : scheme.name);
    }
  return said;
}

std::string BaseOf(const QuantConfig& quant) {
  const Scheme& scheme = quant.schemes[static_cast<size_t>(quant.base)];
  std::string text = scheme.name;
  if (scheme.block_n > 0) text += fmt::format(" {} x {}", scheme.block_n, scheme.block_k);
  if (scheme.group > 0) text += fmt::format(", groups of {}", scheme.group);
  return text;
}

// "`a` and 3 more" of the names that `in` has and `lacks` has not.
std::string Missing(const Said& in, const Said& lacks) {
  std::string first;
  size_t count = 0;
  for (const auto& [name, what] : in) {
    if (lacks.count(name) > 0) continue;
    if (count++ == 0) first = Quoted(name);
  }
  return count > 1 ? fmt::format("{} and {} more", first, count - 1) : first;
}

class Comparer {
 public:
  Comparer(const Description& first, const Description& other, Diagnostics* out)
      : first_(first), other_(other), out_(out) {}

  void Names(const std::string& what, const Said& a, const Said& b) {
    if (a == b) return;
    const std::string here = Missing(a, b), there = Missing(b, a);
    Finding finding = Disagree(fmt::format("{} in {} and {} in {}", Count(what, a.size()),
                                           NameOf(first_), Count(what, b.size()), NameOf(other_)));
    if (!here.empty()) finding.Fact("only", fmt::format("in {}: {}", NameOf(first_), here));
    if (!there.empty()) finding.Fact("only", fmt::format("in {}: {}", NameOf(other_), there));
    for (const auto& [name, says] : a) {
      const auto at = b.find(name);
      if (at == b.end() || at->second == says) continue;
      finding.Fact("differs", fmt::format("{} is {} and {}", Quoted(name), says, at->second));
      break;
    }
    out_->Add(std::move(finding));
  }

  void Schemes(const std::string& a, const std::string& b) {
    if (a != b)
      out_->Add(
          Disagree(fmt::format("{} in {} and {} in {}", a, NameOf(first_), b, NameOf(other_))));
  }

 private:
  static std::string Count(const std::string& what, size_t count) {
    return fmt::format("{} {}", count, count == 1 ? what : what + "s");
  }

  static std::string NameOf(const Description& description) {
    return description.place.key == "quantization_config" || description.place.file != "config.json"
               ? description.place.file
               : fmt::format("`{}`", description.place.key);
  }

  Finding Disagree(const std::string& what) const {
    Finding finding(Code::kListsDisagree, fmt::format("two descriptions disagree: {}", what),
                    other_.value.location());
    finding.Mark(first_.value.location(), "the one that is read here");
    finding.Fact("effect", "engines read one or the other, so each would decide otherwise");
    finding.Help("correct one of them, or remove it");
    return finding;
  }

  const Description& first_;
  const Description& other_;
  Diagnostics* out_;
};

std::vector<std::string> SortedTexts(const std::vector<ListEntry>& from) {
  std::vector<std::string> texts;
  texts.reserve(from.size());
  for (const ListEntry& entry : from) texts.push_back(entry.text);
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return texts;
}

}  // namespace

bool ListsAgree(const std::vector<ListEntry>& a, const std::string& a_key,
                const std::vector<ListEntry>& b, const std::string& b_key, const Location& at,
                Diagnostics* out) {
  const std::vector<std::string> left = SortedTexts(a), right = SortedTexts(b);
  if (left == right) return true;
  std::vector<std::string> only;
  std::set_difference(left.begin(), left.end(), right.begin(), right.end(),
                      std::back_inserter(only));
  const bool in_left = !only.empty();
  if (!in_left)
    std::set_difference(right.begin(), right.end(), left.begin(), left.end(),
                        std::back_inserter(only));
  out->Add(Code::kListsDisagree,
           fmt::format("`{}` and `{}` differ: {} and {} entries", a_key, b_key, a.size(), b.size()),
           at)
      .Fact("found",
            fmt::format("{} stands in `{}` only", Quoted(only[0]), in_left ? a_key : b_key))
      .Fact("effect", "engines read different keys, so they would run this checkpoint differently")
      .Help("keep one list");
  return false;
}

void CompareDescriptions(const Description& first, const QuantConfig& a, const Description& other,
                         const QuantConfig& b, Diagnostics* out) {
  Comparer compare(first, other, out);
  compare.Names("listed name", ListOf(a), ListOf(b));
  compare.Names("layer", LayersOf(a), LayersOf(b));
  if (a.base > 0 && b.base > 0) compare.Schemes(BaseOf(a), BaseOf(b));
}

}  // namespace ferrule
