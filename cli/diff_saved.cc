// SPDX-License-Identifier: Apache-2.0
#include "cli/diff_saved.h"

#include <fmt/format.h>

#include <filesystem>

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

std::string Sizes(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// `a/b`, `a/b/` and `a/./b` are one name.
fs::path Plain(const std::string& directory) {
  std::error_code error;
  const fs::path path = fs::weakly_canonical(fs::absolute(directory, error), error);
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::vector<int> SizesToCompare(const RuleTree& before, const RuleTree& after,
                                const DiffOptions& options, Diagnostics* out) {
  const RuleTree* saved = before.saved_plan() != nullptr  ? &before
                          : after.saved_plan() != nullptr ? &after
                                                          : nullptr;
  if (saved == nullptr) return options.tp.empty() ? std::vector<int>{1} : options.tp;
  const int64_t tp = saved->saved_plan()->tp;
  const auto wrong = [&](std::string message, std::string help) {
    out->Add(Code::kUsage, std::move(message)).Help(std::move(help));
    return std::vector<int>();
  };
  if (before.saved_plan() != nullptr && after.saved_plan() != nullptr) {
    if (!options.checkpoints.empty())
      return wrong(fmt::format("two saved plans are compared by themselves, and {} is named too",
                               Quoted(options.checkpoints[0])),
                   "leave out the checkpoints, or name the rules in place of one plan");
    if (after.saved_plan()->tp != tp)
      return wrong(fmt::format("{} is a plan for tp {}, {} for tp {}", Quoted(before.word()), tp,
                               Quoted(after.word()), after.saved_plan()->tp),
                   "make both for one size: ferrule plan DIR --tp N -f json");
  }
  for (const int size : options.tp)
    if (size != tp)
      return wrong(
          fmt::format("{} is a plan for tp {}, not for tp {}", Quoted(saved->word()), tp, size),
          fmt::format("leave out `--tp`, or make the plan again with `--tp {}`", size));
  return {static_cast<int>(tp)};
}

std::string OtherCheckpoint(const PlanState& before, const PlanState& after) {
  if (!before.planned || !after.planned) return {};
  if (before.model_type != after.model_type)
    return fmt::format("one plan is of the model_type {}, the other of {}",
                       Quoted(before.model_type), Quoted(after.model_type));
  if (!before.errors.empty() || !after.errors.empty()) return {};
  for (const auto& [name, entry] : before.modules) {
    const auto other = after.modules.find(name);
    if (other == after.modules.end()) continue;
    const ModuleState& a = before.states[entry.state];
    const ModuleState& b = after.states[other->second.state];
    if (a.stored.empty() || b.stored.empty() || a.kind == "fused" || b.kind == "fused") continue;
    if (a.stored != b.stored || a.shape != b.shape)
      return fmt::format("{} is stored as {} {} in one, as {} {} in the other", Quoted(name),
                         a.stored, Sizes(a.shape), b.stored, Sizes(b.shape));
  }
  return {};
}

std::string OtherName(const RuleTree& tree, const std::string& directory) {
  const PlanState* saved = tree.saved_plan();
  if (saved == nullptr || saved->model.empty() || Plain(saved->model) == Plain(directory))
    return {};
  return fmt::format("{} is a plan of {}, compared with {}", Quoted(tree.word()),
                     Quoted(saved->model), Quoted(directory));
}

}  // namespace ferrule::cli
