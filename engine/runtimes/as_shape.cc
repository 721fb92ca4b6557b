// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/as_shape.h"

#include <algorithm>

#include "engine/lists/name_match.h"

namespace ferrule {
namespace {

// The last segments of any of `tails`.
bool EndsWith(const std::vector<std::string>& tails, std::string_view name) {
  return std::any_of(tails.begin(), tails.end(),
                     [&](const std::string& tail) { return HasLastSegments(tail, name); });
}

// Rows of one rank for each output that the engine's layer has.
std::vector<int64_t> Parts(const Plan& plan, const Runtime& runtime, const EngineModule& module,
                           std::string_view name, int64_t whole) {
  const auto& units = plan.decisions.units.units;
  if (EndsWith(runtime.one_output, name)) return {whole};
  std::vector<int64_t> parts;
  if (module.units.size() > 1) {
    for (const int32_t id : module.units) {
      const Cut* cut = plan.CutOf(units[static_cast<size_t>(id)]);
      parts.push_back(cut == nullptr || cut->ranks.empty() ? 0 : cut->ranks[0].row_count());
    }
    return parts;
  }
  const Unit& unit = units[static_cast<size_t>(module.units[0])];
  const bool slices = !unit.slices.empty() && (unit.per == 0 || runtime.cuts_interleaved);
  if (slices)
    for (const Slice& slice : unit.slices) parts.push_back(slice.rows * whole / unit.rows);
  if (parts.empty()) parts.push_back(whole);
  return parts;
}

}  // namespace

std::string BlockRefusal(const Plan& plan, const Runtime& runtime, const EngineModel& model,
                         const EngineModule& module, std::string_view name) {
  const Decisions& d = plan.decisions;
  if (!runtime.block_check || module.units.empty() || EndsWith(model.unchecked, name)) return {};
  const auto block = std::find_if(d.quant.schemes.begin(), d.quant.schemes.end(),
                                  [](const Scheme& scheme) { return scheme.block_n > 0; });
  if (block == d.quant.schemes.end()) return {};
  const Unit& first = d.units.units[static_cast<size_t>(module.units[0])];
  const Cut* cut = plan.CutOf(first);
  if (cut == nullptr || cut->ranks.empty()) return {};
  const Shard& shard = cut->ranks[0];
  BlockShape shape;
  shape.tp = plan.tp;
  shape.block_rows = block->block_n;
  shape.block_columns = block->block_k;
  shape.experts = module.layer == LayerKind::kExperts;
  shape.columns = first.in;
  shape.columns_per_rank = shard.cols.size();
  shape.rows = first.rows;
  shape.rows_per_rank = shard.row_count();
  if (!shape.experts)  // a fused module's size is that of its parts side by side
    for (size_t k = 1; k < module.units.size(); ++k) {
      const Unit& part = d.units.units[static_cast<size_t>(module.units[k])];
      const Cut* one = plan.CutOf(part);
      shape.rows += part.rows;
      shape.rows_per_rank += one == nullptr || one->ranks.empty() ? 0 : one->ranks[0].row_count();
    }
  if (shape.columns_per_rank <= 0 || shape.rows_per_rank <= 0) return {};
  if (shape.experts)
    // Gate and up are cut by rows, down by columns; either gives the inner size.
    // In one tensor they stand side by side: the first slice gives it.
    shape.inner = shape.columns_per_rank < shape.columns ? shape.columns_per_rank
                  : first.slices.empty()                 ? shape.rows_per_rank
                                         : first.slices[0].rows * shape.rows_per_rank / shape.rows;
  else
    shape.parts = Parts(plan, runtime, module, name, shape.rows_per_rank);
  return Refusal(*runtime.block_check, shape).value_or("");
}

}  // namespace ferrule
