// SPDX-License-Identifier: Apache-2.0
// ferrule bench --plan DIR [--tp N [--rank R]]: the distinct shapes of what a rank runs, each under
// the name of its first module.
#include <fmt/format.h>

#include <map>

#include "cli/bench_shapes.h"
#include "cli/run_modules.h"
#include "engine/text/source.h"
#include "kernels/placement.h"

namespace ferrule::cli {
namespace {

// False: its blocks are none that the benchmark makes weights for.
bool ShapeOf(const PlacedModule& module, BenchShape* shape) {
  shape->in = module.in;
  for (const PlacedSegment& placed : module.segments) {
    const LinearSegment& from = placed.segment;
    BenchSegment to;
    to.rows = from.rows;
    to.scheme = from.scheme;
    if (to.bf16()) to.weight_type = from.weight_type;
    to.ue8m0 = from.ue8m0;
    to.static_x = placed.input >= 0;
    if (from.scheme == LinearScheme::kFp8Block) {
      if (from.block_n != 128 || from.block_k != 128) return false;
      to.n_phase = from.n_phase;
      to.k_phase = from.k_phase;
      if (from.scale_stride > to.ScaleColumns(module.in)) to.scale_stride = from.scale_stride;
    }
    shape->segments.push_back(to);
  }
  return true;
}

std::string LeftOut(int64_t stacked, int64_t reported, int64_t blocks) {
  std::string text;
  const auto add = [&text](int64_t count, const char* what) {
    if (count > 0)
      text += fmt::format("# left out: {} {}{}\n", count, count == 1 ? "module" : "modules", what);
  };
  add(stacked, " of stacked experts, which are planned, not run");
  add(reported, " in schemes that are only reported");
  add(blocks, " in blocks that are not 128 x 128");
  return text;
}

}  // namespace

std::optional<BenchList> ShapesOfPlan(const Common& common, const BenchOptions& options,
                                      Diagnostics* out) {
  const auto checkpoint = ReadCheckpoint(options.plan, out);
  if (!checkpoint) return std::nullopt;
  const auto book = ReadBookFor(common, *checkpoint, out);
  if (!book) return std::nullopt;
  Diagnostics planned;
  const std::optional<Plan> plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &planned);
  if (!plan || planned.has_errors()) {  // a plan with errors is never run
    out->Append(planned);
    return std::nullopt;
  }
  if (!plan->decisions.has_headers) {
    out->Add(Code::kMissingFile, "there are no headers: what is stored how is not known",
             {nullptr, options.plan, 0, 0, 0, ""})
        .Help("name a checkpoint or a header fixture, or give the shapes with `--shape`");
    return std::nullopt;
  }
  const RunModules modules = ModulesToRun(*plan);
  BenchList list;
  std::map<std::string, size_t> known;
  int64_t blocks = 0;
  for (const int32_t id : modules.ids) {
    const auto placed = PlaceModule(*plan, id, options.rank, out);
    if (!placed) return std::nullopt;
    BenchShape shape;
    if (!ShapeOf(*placed, &shape)) {
      ++blocks;
      continue;
    }
    const auto [at, is_new] =
        known.emplace(fmt::format("{}:{}", shape.in, SegmentsText(shape)), list.shapes.size());
    if (is_new) {
      shape.name = Printable(placed->name);
      list.shapes.push_back(std::move(shape));
      list.modules.push_back(0);
    }
    ++list.modules[at->second];
  }
  const std::string left_out = LeftOut(modules.stacked, modules.reported, blocks);
  if (list.shapes.empty()) {
    out->Add(Code::kUsage, "the plan has no linear to time", {nullptr, options.plan, 0, 0, 0, ""})
        .Fact("left out",
              fmt::format("{} of stacked experts, {} in schemes that are only reported, "
                          "{} in blocks that are not 128 x 128",
                          modules.stacked, modules.reported, blocks))
        .Help("give the shapes with `--shape`");
    return std::nullopt;
  }
  list.remarks = fmt::format("# shapes of {}, tp {}, rank {}, plan {}\n", Printable(options.plan),
                             options.tp, options.rank, plan->plan_sha) +
                 left_out;
  return list;
}

}  // namespace ferrule::cli
