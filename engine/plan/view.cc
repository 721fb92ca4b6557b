// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/view.h"

#include <algorithm>

namespace ferrule {
namespace {

constexpr std::string_view kTogether[] = {"agree", "apart", "narrower", "disagree"};

// The dtype of an unquantized weight by config.json alone.
std::string ConfigDtype(const Plan& plan) {
  const JsonValue& config = plan.checkpoint->config;
  for (const JsonValue& from : {config, config.Find("text_config")})
    for (const char* key : {"dtype", "torch_dtype"}) {
      const std::string_view text = from.Find(key).Text();
      if (text == "bfloat16") return "BF16";
      if (text == "float16") return "F16";
      if (text == "float32") return "F32";
    }
  return {};
}

void Sizes(const Plan& plan, const Unit& unit, ModuleView* view) {
  if (unit.kind != NodeKind::kFused) {
    if (unit.stack > 0) view->shape.push_back(unit.stack);
    view->shape.push_back(unit.rows);
    view->shape.push_back(unit.in);
    return;
  }
  int64_t rows = 0, in = 0;
  for (const int32_t id : unit.parts) {
    const Unit& part = plan.decisions.units.units[static_cast<size_t>(id)];
    if (plan.decisions.modules[static_cast<size_t>(part.first)].absent) continue;
    rows += part.rows;
    in = part.in;
  }
  view->shape = {rows, in};
}

}  // namespace

std::vector<int32_t> PresentModules(const Plan& plan) {
  std::vector<int32_t> present;
  for (const Unit& unit : plan.decisions.units.units) {
    if (!IsLinear(unit.kind) && unit.kind != NodeKind::kFused) continue;
    for (int32_t id = unit.first; id < unit.first + unit.count; ++id) {
      const Module& module = plan.decisions.modules[static_cast<size_t>(id)];
      if (!module.absent || module.reason == Reason::kSame) present.push_back(id);
    }
  }
  return present;
}

std::string_view LayoutOf(const Unit& unit) {
  if (unit.kind != NodeKind::kUnified) return {};
  return unit.per > 0 ? "interleaved" : unit.groups > 0 ? "grouped" : "concatenated";
}

ModuleView ViewOf(const Plan& plan, int32_t id, const Group* group) {
  const Decisions& d = plan.decisions;
  const Unit& unit = d.UnitOf(id);
  const Module& module = d.modules[static_cast<size_t>(id)];
  const int32_t i = id - unit.first;
  ModuleView view;
  view.name = group != nullptr ? unit.Display() : unit.PathOf(i);
  view.kind = KindName(unit.kind);
  view.claim = plan.SchemeName(module.claim);
  view.stored = plan.SchemeName(module.stored);
  view.scheme = plan.SchemeName(module.scheme);
  if (module.absent && module.reason == Reason::kSame) {
    view.same = unit.node->same_as;
    view.stored.clear();
  }
  if (module.has_dtype)
    view.dtype = std::string(DTypeName(module.dtype));
  else if (module.scheme == 0)
    view.dtype = ConfigDtype(plan);
  if (module.scheme > 0) {
    const Scheme& scheme = d.quant.schemes[static_cast<size_t>(module.scheme)];
    view.block_n = scheme.block_n;
    view.block_k = scheme.block_k;
    const StorageRule* weight = scheme.rule->weight();
    if (view.dtype.empty() && weight != nullptr && weight->dtypes.size() == 1)
      view.dtype = std::string(DTypeName(weight->dtypes[0]));
  }
  Sizes(plan, unit, &view);
  view.cut = plan.CutOf(unit);
  const Module* why = &module;
  if (unit.kind == NodeKind::kFused) {
    view.together = kTogether[static_cast<size_t>(module.together)];
    for (const int32_t part : unit.parts) {
      const Unit& p = d.units.units[static_cast<size_t>(part)];
      const Module& stored = d.modules[static_cast<size_t>(p.first + i)];
      if (stored.absent) continue;
      view.parts.push_back(group != nullptr ? p.Display() : p.PathOf(i));
      if (why == &module) why = &stored;
    }
  }
  const Location rule = RuleAt(d, unit);
  view.rule_file = rule.path;
  view.rule_line = rule.line;
  if (d.quant.dialect) view.dialect = d.quant.dialect->name;
  view.reason = ReasonName(why->reason);
  if (unit.assumed) view.reason += "; first alternative of `either` assumed, there are no headers";
  if (why->entry >= 0) {
    view.list = d.quant.KeyOf(why->where);
    view.entry = d.quant.TextOf(why->where, why->entry);
    view.entry_index = why->entry;
    view.match = PrimitiveName(why->how);
    if (why->via >= 0) view.via = d.units.units[static_cast<size_t>(why->via)].PathOf(i);
  }
  if (why->weight >= 0) {
    const Tensor& tensor = plan.checkpoint->tensors()[static_cast<size_t>(why->weight)];
    view.tensor = std::string(tensor.name);
    view.file = plan.checkpoint->FileOf(tensor);
  }
  return view;
}

}  // namespace ferrule
