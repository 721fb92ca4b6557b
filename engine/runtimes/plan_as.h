// SPDX-License-Identifier: Apache-2.0
// A plan as a version of a serving engine would make it: every module that the engine builds, under
// the engine's own name, with the engine's answer; where it decides otherwise than the checkpoint
// is stored, and where it stops before it reads a weight.
//
//   ferrule plan DIR --as sglang@4323fce82 --tp 4
//
//   Diagnostics findings;
//   if (const auto as = ComparePlan(plan, runtime, &findings))
//     for (const AsModule& module : as->modules) module.result;      // skip, quant, none, error
//
// The runtime file says how each model class builds and names its modules (engine_modules.h).
// Models and methods that it does not describe are refused, never guessed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/plan/plan.h"
#include "engine/runtimes/engine_model.h"
#include "engine/runtimes/plan_question.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/json_writer.h"

namespace ferrule {

enum class AsVerdict : uint8_t {
  kAlike,      // the engine runs it as it is stored
  kOtherwise,  // it does not
  kRefuses,    // it stops: an error of its function, or its block check
  kUnknown,    // nothing is stored, or its parts are stored in ways that differ
};
std::string_view AsVerdictName(AsVerdict verdict);

struct AsModule {
  std::string name;     // in the engine
  std::string pattern;  // the same with placeholders: model.layers.<layer>.mlp.gate
  std::vector<std::pair<std::string, int32_t>> numbers;  // placeholder → what stands for it
  LayerKind layer = LayerKind::kLinear;
  bool draft = false;            // of the draft model
  bool plain = false;            // built without the quantization config
  std::vector<int32_t> modules;  // of Decisions::modules, in order; of experts those of expert 0
  std::string result;            // skip | quant | none | error | unsupported
  std::string word;              // the function's own: quant:override, target:Linear …
  std::string error;             // class of an error; of `unsupported` the construct
  std::string refusal;           // of the block check: the engine's message
  bool widened = false;          // stored quantized, dequantized by the loader: `skip` is right
  int8_t stored = kNoScheme;     // the scheme of all of `modules`; kNoScheme when they differ
  AsVerdict verdict = AsVerdict::kUnknown;
};

struct PlanAs {
  std::string engine, version;
  std::string classes;  // the version whose model classes stand in for its own; empty: its own
  std::string refusal;  // what the engine says instead of building the model; then no modules
  std::vector<AsModule> modules;
  int64_t asked = 0, alike = 0, otherwise = 0, refused = 0;  // modules with something stored
};

// Findings FR801 … FR803 in `out`. Empty when the model or its method is not described.
std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, Diagnostics* out);
// The same for several engines or sizes. `cache`: of this plan's description. `decided`: by this
// engine of the same plan at another size, which decides alike; null: it is asked.
std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, QuestionCache* cache,
                                  const PlanAs* decided, Diagnostics* out);

// The entry for the plan's architecture; null when the runtime does not describe it.
const EngineModel* ModelOf(const Runtime& runtime, const Plan& plan);

// {"engine": …, "version": …, "modules": […]}: modules of one pattern that are alike stand
// together unless `expand`.
void WritePlanAs(const Plan& plan, const PlanAs& as, bool expand, JsonWriter* out);

}  // namespace ferrule
