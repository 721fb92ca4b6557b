// SPDX-License-Identifier: Apache-2.0
// The parts of a dialect file that dialect.cc leaves to dialect_schemes.cc.
#pragma once

#include <string_view>

#include "engine/lists/dialect.h"

namespace ferrule {

// One tensor: `{name: weight_scale, dtype: F32, per: row}`.
bool ParseStorageRule(const YamlReader& reader, const YamlNode& node, std::string_view what,
                      std::string_view role, StorageRule* out);

// The list under `schemes`.
bool ParseSchemes(const YamlReader& reader, const YamlNode& node, std::vector<SchemeRule>* out);

}  // namespace ferrule
