// SPDX-License-Identifier: Apache-2.0
// Two descriptions of one checkpoint: do they say the same?
#pragma once

#include "engine/lists/quant_config.h"

namespace ferrule {

// A finding for each way in which the second description (`other`) contradicts the first.
void CompareDescriptions(const Description& first, const QuantConfig& a, const Description& other,
                         const QuantConfig& b, Diagnostics* out);

// Whether two lists of one description, under two keys that mean the same, name the same; else a
// finding with an entry that only one of them has.
bool ListsAgree(const std::vector<ListEntry>& a, const std::string& a_key,
                const std::vector<ListEntry>& b, const std::string& b_key, const Location& at,
                Diagnostics* out);

}  // namespace ferrule
