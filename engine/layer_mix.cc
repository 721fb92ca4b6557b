// SPDX-License-Identifier: Apache-2.0
// Modules of one kind that differ from layer to layer: worth knowing, because engines that decide
// once for all layers are wrong for some.
#include <fmt/format.h>

#include <map>

#include "engine/decision.h"

namespace ferrule {
namespace {

struct Kind {  // modules with the same path but for numbers
  const Unit* unit = nullptr;
  std::map<int8_t, std::vector<int32_t>> layers;  // scheme → first numbers, ascending
};

// "0 to 2, 60": runs of numbers.
std::string Ranges(const std::vector<int32_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (text.size() > 60) return text + ", …";
    text += fmt::format("{}{}", text.empty() ? "" : ", ", numbers[i]);
    if (end - i > 1) text += fmt::format("{} {}", end - i > 2 ? " to" : ",", numbers[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace

void ReportMixedLayers(const Decisions& decisions, Diagnostics* out) {
  std::map<std::string_view, Kind> kinds;
  for (const Unit& unit : decisions.units.units) {
    // The layer is the first number; a range over it holds several layers.
    if (!IsLinear(unit.kind) || unit.numbers.empty()) continue;
    Kind& kind = kinds[unit.path];
    if (kind.unit == nullptr) kind.unit = &unit;
    for (int32_t i = 0; i < unit.count; ++i) {
      const Module& module = decisions.modules[static_cast<size_t>(unit.first + i)];
      if (module.absent || module.scheme < 0) continue;
      std::vector<int32_t>& layers = kind.layers[module.scheme];
      const int32_t layer = unit.Number(0, i);
      if (layers.empty() || layers.back() != layer) layers.push_back(layer);
    }
  }
  for (const auto& [path, kind] : kinds) {
    if (kind.layers.size() < 2) continue;
    Finding finding(Code::kLayersDiffer,
                    fmt::format("`{}` is not the same in all layers", kind.unit->Display()),
                    RuleAt(decisions, *kind.unit));
    for (const auto& [scheme, layers] : kind.layers)
      finding.Fact(decisions.quant.schemes[static_cast<size_t>(scheme)].name, Ranges(layers));
    out->Add(std::move(finding));
  }
}

}  // namespace ferrule
