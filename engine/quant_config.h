// SPDX-License-Identifier: Apache-2.0
// quantization_config read under its dialect: which schemes there are and what the list says.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/dialect.h"
#include "engine/json.h"
#include "engine/skip_list.h"

namespace ferrule {

// One way in which linears of this checkpoint are stored and run. Scheme 0 of a QuantConfig is
// always BF16 (which stands for F16 and F32 too).
struct Scheme {
  std::string name = "bf16";
  const SchemeRule* rule = nullptr;  // null: BF16
  int64_t block_n = 0, block_k = 0;  // of fp8_block
  bool power_of_two = false;
  std::optional<SkipList> targets;  // of a group: what it applies to
  Location at;                      // of the group or the method

  bool executed() const;  // by ferrule's own linears
};

struct QuantConfig {
  std::shared_ptr<const Dialect> dialect;  // null: no quantization_config
  std::vector<Scheme> schemes;             // [0] is BF16
  SkipList list;
  std::string list_key;  // modules_to_not_convert; empty when there is no list
  Location at;
};

using Dialects = std::vector<std::shared_ptr<const Dialect>>;

// `config` missing: nothing is quantized. Empty with findings when the method is unknown or a value
// is not understood; never read as BF16.
std::optional<QuantConfig> ReadQuantConfig(const JsonValue& config, const Dialects& dialects,
                                           const Renames& renames, Diagnostics* out);

}  // namespace ferrule
