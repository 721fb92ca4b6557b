// SPDX-License-Identifier: Apache-2.0
// A plan as a version of a serving engine would make it: where it decides otherwise than the
// checkpoint is stored, and where it stops before it reads a weight.
//
//   ferrule plan DIR --as sglang@4323fce82 --tp 4
//
// Every module that the engine builds is asked through the runtime file: fused modules whose name
// the engine's class map or tables have, other linears by their own names, experts of a layer as
// one. What no release quantizes (`quantize: never`) is not asked. Models whose names in the engine
// are not described are refused, never guessed.
#pragma once

#include "engine/plan.h"
#include "engine/runtime.h"

namespace ferrule {

struct PlanAs {
  int64_t asked = 0, alike = 0, otherwise = 0, refused = 0;  // modules
};

// Findings FR801 … FR803 in `out`. Empty when the model or its method is not described.
std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, Diagnostics* out);

}  // namespace ferrule
