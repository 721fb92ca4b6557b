// SPDX-License-Identifier: Apache-2.0
// The module tree of a rule file, one mapping after the other. Used by rule_file.cc.
#pragma once

#include <string_view>

#include "engine/rules/rule_file.h"

namespace ferrule {

// A scalar expression or a list of them.
bool ParseDim(const YamlReader& reader, const YamlNode& node, std::string_view what, Dim* dim);

// A finding when a key that names something is no word. `what`: "the slice".
bool ParseWordKey(const YamlReader& reader, const YamlEntry& entry, std::string_view what);

// The value of a key of the tree: a subtree, a use of a shape, or a leaf. `what` names the key.
bool ParseRuleNode(const YamlReader& reader, const YamlNode& node, std::string_view what,
                   RuleNode* out);

}  // namespace ferrule
