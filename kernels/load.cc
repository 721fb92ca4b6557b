// SPDX-License-Identifier: Apache-2.0
// The public half of loading: a module by name, errors as text.
#include "kernels/load.h"

#include <fmt/format.h>

#include "engine/ferrule.h"
#include "kernels/loader.h"

namespace ferrule {

int32_t FindLoadable(const ModelPlan& plan, std::string_view name, int rank, Diagnostics* out) {
  const Plan& inside = plan.internal();
  if (plan.has_errors()) {
    out->Add(Code::kUnsoundRules, "a plan with errors is not loaded");
  } else if (rank < 0 || rank >= inside.tp) {
    out->Add(Code::kBadTp, fmt::format("rank {} of {}", rank, inside.tp));
  } else if (!inside.checkpoint->has_weights) {
    out->Add(Code::kMissingFile,
             fmt::format("{} holds no weights", Quoted(inside.checkpoint->directory)))
        .Help("name the checkpoint itself: a header fixture is planned, not loaded");
  } else {
    return FindLinear(inside, name, out);
  }
  return -1;
}

std::unique_ptr<LoadedLinear> LoadLinear(const ModelPlan& plan, std::string_view name, int rank,
                                         std::string* error) {
  Diagnostics out;
  const int32_t module = FindLoadable(plan, name, rank, &out);
  std::unique_ptr<LoadedLinear> linear;
  if (module >= 0) linear = LoadModule(plan.internal(), module, rank, &out);
  if (!linear && error != nullptr) *error = ToHuman(out, false);
  return linear;
}

}  // namespace ferrule
