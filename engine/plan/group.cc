// SPDX-License-Identifier: Apache-2.0
// Modules that are decided alike, joined over layers and experts.
#include <algorithm>
#include <map>
#include <tuple>

#include "engine/plan/plan.h"

namespace ferrule {
namespace {

// What makes two modules of one rule different lines of a report.
using Look =
    std::tuple<int8_t, int8_t, int8_t, Reason, bool, bool, DType, Together, bool, Primitive>;

Look LookOf(const Module& module) {
  return {module.claim,     module.stored, module.scheme,   module.reason,     module.absent,
          module.has_dtype, module.dtype,  module.together, module.entry >= 0, module.how};
}

}  // namespace

std::vector<Group> GroupModules(const Plan& plan) {
  const Decisions& d = plan.decisions;
  // node, path, sizes, look, values of the range, fixed numbers but the first placeholder's
  using Key = std::tuple<const RuleNode*, std::string, int64_t, int64_t, int32_t, Look,
                         std::vector<int32_t>, std::vector<int32_t>>;
  std::map<Key, size_t> index;
  std::vector<Group> groups;
  for (size_t u = 0; u < d.units.units.size(); ++u) {
    const Unit& unit = d.units.units[u];
    if (!IsLinear(unit.kind) && unit.kind != NodeKind::kFused) continue;
    // Runs of equal modules within the unit's range.
    std::map<Look, std::vector<int32_t>> looks;
    std::vector<Look> order;
    for (int32_t i = 0; i < unit.count; ++i) {
      const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
      if (module.absent && module.reason != Reason::kSame) continue;
      const Look look = LookOf(module);
      auto [at, fresh] = looks.try_emplace(look);
      if (fresh) order.push_back(look);
      at->second.push_back(i);
    }
    int first = -1;  // the placeholder over which units are joined
    for (size_t p = 0; p < unit.index.size() && first < 0; ++p)
      if (!unit.index[p].empty() && static_cast<int>(p) != unit.range) first = static_cast<int>(p);
    for (const Look& look : order) {
      const std::vector<int32_t>& members = looks[look];
      std::vector<int32_t> fixed = unit.numbers;
      if (first >= 0) fixed[static_cast<size_t>(first)] = -1;
      const Key key{unit.node, unit.path, unit.rows, unit.in, plan.cut_of[u], look, members, fixed};
      const auto [at, fresh] = index.emplace(key, groups.size());
      if (fresh) {
        Group group;
        group.unit = static_cast<int32_t>(u);
        group.module = unit.first + members[0];
        for (size_t p = 0; p < unit.index.size(); ++p) {
          if (unit.index[p].empty()) continue;
          std::vector<int32_t> values;
          if (static_cast<int>(p) == unit.range)
            for (const int32_t i : members) values.push_back(unit.Number(p, i));
          else if (static_cast<int>(p) != first)
            values.push_back(unit.numbers[p]);
          group.indices.emplace_back(unit.index[p], std::move(values));
        }
        groups.push_back(std::move(group));
      }
      Group& group = groups[at->second];
      group.count += static_cast<int64_t>(members.size());
      if (first < 0) continue;
      size_t position = 0;
      for (size_t p = 0; p < static_cast<size_t>(first); ++p)
        position += unit.index[p].empty() ? 0 : 1;
      group.indices[position].second.push_back(unit.numbers[static_cast<size_t>(first)]);
    }
  }
  return groups;
}

}  // namespace ferrule
