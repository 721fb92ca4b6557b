// SPDX-License-Identifier: Apache-2.0
// Rows of `ferrule decide --as` that ask about a whole description of a quantization: which of its
// functions the engine asks follows from the description alone.
#pragma once

#include <string>

#include "engine/lists/quant_source.h"
#include "engine/runtimes/emulation.h"

namespace ferrule::cli {

// `description` is the object, or its name in the first line; `file` where it stands when that is
// not config.json. Without `prefix`: whether the engine takes it at all, `ok` or its refusal.
// Empty with a reason when the row is no question.
std::optional<RuntimeAnswer> AskDescription(const JsonValue& row, const JsonValue& known,
                                            const RuntimeNames& names, const Dialects& dialects,
                                            const Runtime& runtime, PythonRegexes* regexes,
                                            std::string* why);

}  // namespace ferrule::cli
