// SPDX-License-Identifier: Apache-2.0
// The description of a checkpoint's quantization → what an engine's functions are asked with.
#pragma once

#include <map>
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

// Questions about one description, shared by engines and versions that read its lists alike, with
// the indexes and lists that their functions made of them, and compiled patterns.
class QuestionCache {
 public:
  // What BaseQuestion gives. It stays until the cache goes; the next call may change it.
  RuntimeQuestion& Get(const Description& description, const Runtime& runtime,
                       const MethodRule& method, const EngineModel& model);
  PythonRegexes regexes;

 private:
  struct Kept {
    RuntimeQuestion question;
    decltype(RuntimeQuestion::texts) texts;  // as it was made
  };
  std::map<std::string, Kept> kept_;  // by what it is made of beside the description
};

// The word of a function's answer as plans tell it: skip, quant, none, error.
std::string AsResult(const std::string& word);

// What the engine says when it refuses the description as a whole; empty when it takes it.
std::string RefusalOf(const Description& description, const Runtime& runtime,
                      const MethodRule& method, const EngineModel& model, PythonRegexes* regexes);
std::string RefusalOf(const Description& description, const Runtime& runtime,
                      const MethodRule& method, const EngineModel& model, QuestionCache* cache);

}  // namespace ferrule
