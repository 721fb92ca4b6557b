// SPDX-License-Identifier: Apache-2.0
// Modules of one kind that differ from layer to layer: worth knowing, because engines that decide
// once for all layers are wrong for some.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/plan/decision.h"

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
  // One note for all kinds that differ in the same layers below the same list of layers.
  struct Alike {
    const Kind* first = nullptr;
    std::vector<std::string> names;
  };
  std::map<std::pair<std::string, std::map<int8_t, std::vector<int32_t>>>, Alike> notes;
  for (const auto& [path, kind] : kinds) {
    if (kind.layers.size() < 2) continue;
    Alike& alike = notes[{std::string(path.substr(0, path.find('#'))), kind.layers}];
    if (alike.first == nullptr) alike.first = &kind;
    alike.names.push_back(kind.unit->Display());
  }
  for (const auto& [pattern, alike] : notes) {
    const std::vector<std::string>& names = alike.names;
    const size_t others = names.size() - 1;
    const std::string more =
        others == 0 ? " is"
                    : fmt::format(" and {} more kind{} are", others, others == 1 ? "" : "s");
    Finding finding(Code::kLayersDiffer,
                    fmt::format("`{}`{} not the same in all layers", names[0], more),
                    RuleAt(decisions, *alike.first->unit));
    for (const auto& [scheme, layers] : alike.first->layers)
      finding.Fact(decisions.quant.schemes[static_cast<size_t>(scheme)].name,
                   fmt::format("{} layer{}: {}", layers.size(), layers.size() == 1 ? "" : "s",
                               Ranges(layers)));
    if (names.size() > 1)
      finding.Fact(
          "more",
          fmt::format(
              "`{}`{}",
              fmt::join(names.begin() + 1,
                        names.begin() + static_cast<ptrdiff_t>(std::min<size_t>(names.size(), 9)),
                        "`, `"),
              names.size() > 9 ? ", …" : ""));
    out->Add(std::move(finding));
  }
}

}  // namespace ferrule
