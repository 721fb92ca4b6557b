// SPDX-License-Identifier: Apache-2.0
// What a user can do about a finding whose place in the code knows nothing better.
#pragma once

#include <string_view>

#include "engine/text/diagnostics.h"

namespace ferrule {

// Empty where the message itself says what is expected, and for warnings and notes.
std::string_view RemedyOf(Code code);

}  // namespace ferrule
