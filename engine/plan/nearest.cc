// SPDX-License-Identifier: Apache-2.0
// A name that is no module → the module that was most likely meant.
#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/name_match.h"
#include "engine/plan/plan.h"

namespace ferrule {
namespace {

// Ways in which releases and engines write the same path otherwise.
std::vector<std::string> Variants(const Decisions& decisions, std::string_view name) {
  const std::string text(name);
  std::vector<std::string> variants;
  const auto strip = [&](std::string_view end) {
    if (text.size() > end.size() && name.substr(name.size() - end.size()) == end)
      variants.push_back(text.substr(0, text.size() - end.size()));
  };
  for (const char* end : {".", ".weight", ".bias", ".linear"}) strip(end);
  const auto swap = [&](std::string_view from, std::string_view to) {
    if (name.substr(0, from.size()) == from)
      variants.push_back(std::string(to) + text.substr(from.size()));
  };
  variants.push_back("model." + text);
  swap("model.", "");
  swap("model.", "model.language_model.");
  swap("model.language_model.", "model.");
  swap("language_model.model.", "model.language_model.");
  swap("language_model.model.", "model.");
  swap("language_model.", "");
  swap("visual.", "model.visual.");
  for (const auto& [root, alias] : decisions.units.aliases) {
    swap(alias + ".", root + ".");
    swap(root + ".", alias + ".");
  }
  std::string lower = text;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  variants.push_back(lower);
  return variants;
}

// The last `segments` segments of `path`; empty when it has no more than that.
std::string_view Tail(std::string_view path, ptrdiff_t segments) {
  size_t at = path.size();
  for (; segments > 0; --segments) {
    if (at == 0) return {};
    at = path.rfind('.', at - 1);
    if (at == std::string_view::npos) return {};
  }
  return path.substr(at + 1);
}

// The first module, fused or not, whose last segments are `name`; empty when there is none.
std::string EndingIn(const Decisions& decisions, std::string_view name, bool fused) {
  NormalName normal;
  if (!Normalise(name, &normal)) return {};
  for (int32_t id = 0; id < static_cast<int32_t>(decisions.paths.templates()); ++id) {
    const std::string_view text = decisions.paths.Text(id);
    if (!HasLastSegments(normal.view(), text)) continue;
    for (size_t i = 0; i < decisions.paths.Count(id); ++i) {
      const std::span<const int32_t> own = decisions.paths.Numbers(id, i);
      if (own.size() >= normal.count &&
          std::equal(own.end() - static_cast<ptrdiff_t>(normal.count), own.end(), normal.numbers) &&
          fused == (decisions.UnitOf(decisions.paths.Value(id, i)).kind == NodeKind::kFused))
        return Concrete(text, std::vector<int32_t>(own.begin(), own.end()));
    }
  }
  return {};
}

}  // namespace

std::string NearestPath(const Decisions& decisions, std::string_view name) {
  constexpr std::string_view kBlanks = " \t\r\n";
  if (const size_t begin = name.find_first_not_of(kBlanks); begin != std::string_view::npos) {
    const size_t end = name.find_last_not_of(kBlanks) + 1;
    if (end - begin < name.size()) {
      const std::string_view inner = name.substr(begin, end - begin);
      if (decisions.paths.At(inner) >= 0) return std::string(inner);
      std::string path = EndingIn(decisions, inner, false);
      return path.empty() ? NearestPath(decisions, inner) : path;
    }
  }
  for (const std::string& variant : Variants(decisions, name))
    if (decisions.paths.At(variant) >= 0) return variant;
  // Short names: what engines call `qkv_proj` is `qkv` in some releases, and a wrapper's `linear`.
  const std::string text(name);
  const size_t linear = text.size() - std::min(text.size(), std::string_view(".linear").size());
  if (linear > 0 && text.substr(linear) == ".linear")
    if (std::string path = EndingIn(decisions, text.substr(0, linear), false); !path.empty())
      return path;
  if (std::string path = EndingIn(decisions, text + "_proj", true); !path.empty()) return path;

  NormalName normal;
  if (!Normalise(name, &normal)) return {};
  const std::span<const int32_t> numbers(normal.numbers, normal.count);
  const ptrdiff_t segments = std::count(name.begin(), name.end(), '.') + 1;
  int best = 3;
  std::string path;
  for (int32_t id = 0; id < static_cast<int32_t>(decisions.paths.templates()); ++id) {
    if (decisions.paths.Count(id) == 0) continue;
    const std::string_view candidate = decisions.paths.Text(id);
    const std::span<const int32_t> first = decisions.paths.Numbers(id, 0);
    if (first.size() < numbers.size()) continue;
    // The whole path, or its end: lists name modules by their last segments too. A single segment
    // is too little to guess from: `b_proj` is near to `o_proj`.
    const bool whole = first.size() == numbers.size();
    int distance = whole ? EditDistance(normal.view(), candidate, best - 1) : best;
    const std::string_view tail = segments > 1 ? Tail(candidate, segments) : std::string_view();
    const ptrdiff_t in_tail = std::count(tail.begin(), tail.end(), '#');
    if (!tail.empty() && in_tail == static_cast<ptrdiff_t>(numbers.size()))
      distance = std::min(distance, EditDistance(normal.view(), tail, best - 1));
    if (distance >= best) continue;
    std::vector<int32_t> own(first.begin(), first.end());
    std::copy(numbers.begin(), numbers.end(), own.end() - static_cast<ptrdiff_t>(numbers.size()));
    best = distance;
    path = Concrete(candidate, decisions.paths.At(id, own) >= 0
                                   ? own
                                   : std::vector<int32_t>(first.begin(), first.end()));
    if (distance == 0) break;  // the template is known, so a number is out of range
  }
  return path;
}

int32_t FindLinear(const Plan& plan, std::string_view name, Diagnostics* out) {
  const int32_t module = plan.Find(name);
  if (module < 0) {
    Finding& finding =
        out->Add(Code::kUnknownModule, fmt::format("the model has no linear {}", Quoted(name)));
    const std::string nearest = NearestPath(plan.decisions, name);
    if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
    return -1;
  }
  if (plan.CutOf(plan.decisions.UnitOf(module)) != nullptr) return module;
  out->Add(Code::kUnknownModule, fmt::format("{} is no linear", Quoted(name)));
  return -1;
}

}  // namespace ferrule
