// SPDX-License-Identifier: Apache-2.0
// The description of a checkpoint's quantization → what an engine's functions are asked with.
#pragma once

#include <optional>
#include <string>

#include "engine/lists/quant_source.h"
#include "engine/plan/plan.h"
#include "engine/runtimes/emulation.h"

namespace ferrule {

// The description that decides; without a value when nothing is quantized.
Description DescriptionOf(const Plan& plan);

// The first rule for the dialect whose condition holds; null when the runtime says nothing.
const MethodRule* MethodOf(const Runtime& runtime, const Description& description);

// Every input that is the same for all modules; the lists renamed as the class asks for.
RuntimeQuestion BaseQuestion(const Description& description, const Runtime& runtime,
                             const MethodRule& method, const EngineModel& model,
                             PythonRegexes* regexes);

// The word of a function's answer as plans tell it: skip, quant, none, error.
std::string AsResult(const std::string& word);

// What the engine says when it refuses the description as a whole; empty when it takes it.
std::string RefusalOf(const Description& description, const Runtime& runtime,
                      const MethodRule& method, const EngineModel& model, PythonRegexes* regexes);

}  // namespace ferrule
