// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ferrule {

inline constexpr const char* kVersion = FERRULE_VERSION;

}  // namespace ferrule
