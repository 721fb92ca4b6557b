// SPDX-License-Identifier: Apache-2.0
// Headers and config.json of a checkpoint → the draft of a rule file for its model_type.
//
// Names, shapes and conditions come from the headers; what several projections in one tensor are,
// which names are fused and how ranks cut come from the rule files of other families where they
// fit. What could not be told is marked in the draft. A draft is a start for somebody who knows the
// model: no shape proves the order of rows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/plan/book.h"

namespace ferrule {

struct RuleDraft {
  std::string yaml;
  int64_t lines = 0;   // modules and tensors described
  int64_t unsure = 0;  // lines that could not be told
  int64_t known = 0;   // lines that another rule file has too
  // Paths with placeholders of linears that the config would quantize and that are stored
  // unquantized throughout: the draft says `quantize: never` or `named` there.
  std::vector<std::string> unlisted;
};

// `book` may describe this model_type too: that file is not looked at. Nothing with findings when
// there are no headers, no model_type, or the quantization cannot be read.
std::optional<RuleDraft> InferRules(std::shared_ptr<const Checkpoint> checkpoint, const Book& book,
                                    Diagnostics* out);

}  // namespace ferrule
