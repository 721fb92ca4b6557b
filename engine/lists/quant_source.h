// SPDX-License-Identifier: Apache-2.0
// Where a checkpoint describes its quantization, and which dialect reads each description.
//
//   config.json, hf_quant_config.json, quant_model_description.json → descriptions in the order in
//   which they count, each with the dialect that claims it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/lists/dialect.h"
#include "engine/text/json.h"

namespace ferrule {

using Dialects = std::vector<std::shared_ptr<const Dialect>>;

// Files of a checkpoint that may hold a description; missing ones are missing values.
struct QuantSources {
  JsonValue config;               // config.json
  JsonValue section;              // where the rule file looks up sizes: text_config
  JsonValue quantization_config;  // instead of the key of that name in config.json
  JsonValue hf_quant_config;
  JsonValue quant_model_description;
};

// Those of a checkpoint; `section`: where the rule file looks up sizes.
inline QuantSources SourcesOf(const Checkpoint& checkpoint, const JsonValue& section) {
  return {checkpoint.config, section, checkpoint.quantization_config, checkpoint.hf_quant_config,
          checkpoint.quant_model_description};
}

struct Description {
  std::shared_ptr<const Dialect> dialect;
  JsonValue value;  // the object itself
  JsonValue file;   // in which it stands
  PlaceRule place;
  bool has_hf_quant_config = false;  // the checkpoint has that file
};

// All descriptions, the one that counts first; none when nothing is quantized. Empty with a finding
// when there is one that no dialect claims: it is never read as BF16.
std::optional<std::vector<Description>> FindDescriptions(const QuantSources& sources,
                                                         const Dialects& dialects,
                                                         Diagnostics* out);

// The dialect of this name, else the one that claims this method; `-` and `_` are the same. Null
// when there is none.
std::shared_ptr<const Dialect> FindDialect(std::string_view name, const Dialects& dialects);

}  // namespace ferrule
