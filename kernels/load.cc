// SPDX-License-Identifier: Apache-2.0
// The public half of loading: a module by name, errors as text.
#include "kernels/load.h"

#include <fmt/format.h>

#include "engine/ferrule.h"
#include "kernels/loader.h"

namespace ferrule {

int32_t FindLinear(const ModelPlan& plan, std::string_view name, int rank, Diagnostics* out) {
  const Plan& inside = plan.internal();
  const int32_t module = inside.Find(name);
  if (plan.has_errors()) {
    out->Add(Code::kUnsoundRules, "a plan with errors is not loaded");
  } else if (rank < 0 || rank >= inside.tp) {
    out->Add(Code::kBadTp, fmt::format("rank {} of {}", rank, inside.tp));
  } else if (!inside.checkpoint->has_weights) {
    out->Add(Code::kMissingFile,
             fmt::format("{} holds no weights", Quoted(inside.checkpoint->directory)));
  } else if (module >= 0 && inside.CutOf(inside.decisions.UnitOf(module)) == nullptr) {
    out->Add(Code::kUnknownModule, fmt::format("{} is no linear", Quoted(name)));
  } else if (module < 0) {
    Finding& finding =
        out->Add(Code::kUnknownModule, fmt::format("the model has no linear {}", Quoted(name)));
    const std::string nearest = NearestPath(inside.decisions, name);
    if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
  } else {
    return module;
  }
  return -1;
}

std::unique_ptr<LoadedLinear> LoadLinear(const ModelPlan& plan, std::string_view name, int rank,
                                         std::string* error) {
  Diagnostics out;
  const int32_t module = FindLinear(plan, name, rank, &out);
  std::unique_ptr<LoadedLinear> linear;
  if (module >= 0) linear = LoadModule(plan.internal(), module, rank, &out);
  if (!linear && error != nullptr) *error = ToHuman(out, false);
  return linear;
}

}  // namespace ferrule
