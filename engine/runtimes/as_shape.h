// SPDX-License-Identifier: Apache-2.0
// The block check of an engine on a module of a plan.
#pragma once

#include <string>

#include "engine/runtimes/engine_modules.h"

namespace ferrule {

// The engine's own message when a size of one rank is not whole blocks; empty when it goes on, and
// when there is nothing to check.
std::string BlockRefusal(const Plan& plan, const Runtime& runtime, const EngineModel& model,
                         const EngineModule& module, std::string_view name);

}  // namespace ferrule
