// SPDX-License-Identifier: Apache-2.0
// Plan + how an engine builds a model class → the modules that the engine builds, under the names
// that it gives them. Nothing is asked here; plan_as.cc asks.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/plan/plan.h"
#include "engine/runtimes/runtime.h"

namespace ferrule {

// One name, or one for each value of `range`.
struct EngineModule {
  std::string path;                // with `#` for each number
  std::vector<int32_t> numbers;    // that of the range holds its first value
  std::vector<std::string> index;  // names of the placeholders, "" for a literal number
  int range = -1;                  // position in `numbers`, -1: a single module
  int32_t count = 1;
  LayerKind layer = LayerKind::kLinear;
  bool plain = false;  // built without the quantization config
  // What is stored in it, in order; of experts every linear of the container. Empty for what
  // engines add.
  std::vector<int32_t> units;
  int32_t container = -1;  // of <expert>

  std::string Name(int32_t i) const;
  std::string Pattern() const;  // model.layers.<layer>.mlp.gate
};

// Modules of the main model, or of its draft layers when `draft`.
std::vector<EngineModule> EngineModules(const Plan& plan, const Runtime& runtime,
                                        const EngineModel& model, bool draft);

// Whether a condition holds; what cannot be answered does not. No condition always holds.
bool Holds(const std::optional<Dim>& when, const Scope& scope);

}  // namespace ferrule
