// SPDX-License-Identifier: Apache-2.0
// Two descriptions of one checkpoint: do they say the same?
#pragma once

#include "engine/quant_config.h"

namespace ferrule {

// A finding for each way in which the second description (`other`) contradicts the first.
void CompareDescriptions(const Description& first, const QuantConfig& a, const Description& other,
                         const QuantConfig& b, Diagnostics* out);

}  // namespace ferrule
