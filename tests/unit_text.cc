// SPDX-License-Identifier: Apache-2.0
#include "tests/unit_text.h"

#include <fmt/format.h>

namespace ferrule {

std::string UnitText(const Units& units, const Unit& unit) {
  std::string out = fmt::format("{} {}", unit.PathOf(0), KindName(unit.kind));
  if (unit.range >= 0)
    out += fmt::format(" x{} over <{}>", unit.count, unit.index[static_cast<size_t>(unit.range)]);
  if (IsLinear(unit.kind)) {
    out += fmt::format(" [{}, {}] {}", unit.rows, unit.in, SplitName(unit.node->split));
    if (unit.per > 0) out += fmt::format(" per {}", unit.per);
    if (unit.node->replicate) out += " replicate";
    if (unit.groups > 0) out += fmt::format(" groups {}", unit.groups);
    if (unit.node->scales_per_group) out += " scales per group";
    if (unit.stack > 0) out += fmt::format(" stack {}", unit.stack);
    for (const Slice& slice : unit.slices) {
      out += fmt::format(" {}:{}", slice.name, slice.rows);
      if (slice.groups > 0) out += fmt::format("/{}", slice.groups);
      if (slice.replicate) out += " replicate";
    }
    if (!unit.node->suffix) out += " no suffix";
    if (unit.node->transposed) out += " transposed";
    if (unit.same) out += " same as " + unit.node->same_as;
  } else if (unit.kind == NodeKind::kFused) {
    for (const int32_t part : unit.parts)
      out += " " + units.units[static_cast<size_t>(part)].PathOf(0);
    for (const std::string& part : unit.undeclared) out += " " + part + "?";
    if (unit.node->mixed_apart) out += " apart";
  } else {
    out += fmt::format(" [{}]", fmt::join(unit.shape, ", "));
  }
  if (unit.bias) out += " bias";
  if (unit.optional) out += " optional";
  if (unit.quantize != Quantize::kDefault)
    out += unit.quantize == Quantize::kNever ? " never quantized" : " quantized where named";
  if (unit.container >= 0)
    out += " in " + Concrete(units.containers[static_cast<size_t>(unit.container)].path,
                             units.containers[static_cast<size_t>(unit.container)].numbers);
  return out;
}

std::vector<std::string> UnitLines(const RuleFile& file, const std::string& model_type,
                                   Diagnostics* out) {
  const auto config = ParseJson(file.path + " (example)", file.example_json, {}, out);
  if (!config) return {};
  const JsonValue section =
      file.config_section.empty() ? JsonValue() : config->Find(file.config_section);
  const UnitsOptions options{model_type.empty() ? file.model_types[0] : model_type,
                             ConfigScope(*config, section), config->location(), nullptr};
  const auto units = EvaluateUnits(file, options, out);
  std::vector<std::string> lines;
  if (!units) return lines;
  for (const Unit& unit : units->units) lines.push_back(UnitText(*units, unit));
  for (const auto& [root, alias] : units->aliases)
    lines.push_back(fmt::format("also {} as {}", root, alias));
  return lines;
}

std::string UnitsText(const RuleFile& file, Diagnostics* out) {
  std::string text;
  for (const std::string& line : UnitLines(file, "", out)) text += line + "\n";
  return text;
}

}  // namespace ferrule
