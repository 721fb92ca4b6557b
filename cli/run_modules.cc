// SPDX-License-Identifier: Apache-2.0
#include "cli/run_modules.h"

#include <algorithm>

namespace ferrule::cli {

RunModules ModulesToRun(const Plan& plan) {
  const Decisions& d = plan.decisions;
  std::vector<bool> inside(d.modules.size(), false);
  RunModules result;
  std::vector<int32_t>& ids = result.ids;
  for (const Unit& unit : d.units.units)
    for (int32_t i = 0; unit.kind == NodeKind::kFused && i < unit.count; ++i) {
      const Module& fused = d.modules[static_cast<size_t>(unit.first + i)];
      if (fused.absent || fused.scheme < 0) continue;
      ids.push_back(unit.first + i);
      for (const int32_t part : unit.parts)
        inside[static_cast<size_t>(d.units.units[static_cast<size_t>(part)].first + i)] = true;
    }
  for (const Unit& unit : d.units.units)
    for (int32_t i = 0; IsLinear(unit.kind) && i < unit.count; ++i)
      if (!inside[static_cast<size_t>(unit.first + i)]) ids.push_back(unit.first + i);
  std::erase_if(ids, [&](int32_t id) {
    const Module& module = d.modules[static_cast<size_t>(id)];
    const Scheme* scheme =
        module.scheme >= 0 ? &d.quant.schemes[static_cast<size_t>(module.scheme)] : nullptr;
    const bool stacked = d.UnitOf(id).stack > 0;
    const bool runs = scheme != nullptr && scheme->executed() && !stacked;
    if (!runs && !module.absent) ++(stacked ? result.stacked : result.reported);
    return !runs;
  });
  std::sort(ids.begin(), ids.end());
  return result;
}

}  // namespace ferrule::cli
