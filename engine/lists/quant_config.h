// SPDX-License-Identifier: Apache-2.0
// A description of the quantization read under its dialect: which schemes there are, and which
// names each applies to.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/lists/dialect.h"
#include "engine/lists/quant_source.h"
#include "engine/lists/skip_list.h"
#include "engine/text/json.h"

namespace ferrule {

// One way in which linears of this checkpoint are stored and run. Scheme 0 of a QuantConfig is
// always BF16 (which stands for F16 and F32 too).
struct Scheme {
  std::string name = "bf16";
  const SchemeRule* rule = nullptr;  // null: BF16
  int64_t block_n = 0, block_k = 0;  // of fp8_block
  int64_t group = 0;                 // columns with one scale; 0 or -1: all of a row
  int64_t bits = 0;                  // of a weight, where the dialect says
  bool power_of_two = false;
  std::optional<SkipList> targets;  // of a group: what it applies to
  Location at;                      // of the group or the method

  bool executed() const;  // by ferrule's own linears
};

// Names with a scheme each: quantized_layers, dynamic, extra_config.
struct LayerTable {
  const LayersRule* rule = nullptr;
  std::string key;                 // as in the file; the file's name when it is the whole of it
  SkipList names;                  // without the marks in front of the keys
  std::vector<std::string> texts;  // the keys as written
  std::vector<int8_t> schemes;     // of each
};

struct AllowList {
  std::string key;
  SkipList names;
};

// Where an entry stands: the list, the allow-list, or a table of layers by its number.
inline constexpr int8_t kInList = -1, kInOnly = -2;

struct QuantConfig {
  std::shared_ptr<const Dialect> dialect;  // null: no quantization_config
  std::vector<Scheme> schemes;             // [0] is BF16
  SkipList list;
  std::string list_key;  // modules_to_not_convert; empty when there is no list
  std::optional<AllowList> only;
  std::vector<LayerTable> layers;
  int8_t base = 0;  // what nobody names runs as
  Location at;

  const SkipList& ListIn(int8_t where) const;
  const std::string& KeyOf(int8_t where) const;
  // The entry as written.
  const std::string& TextOf(int8_t where, int32_t entry) const;
};

// `config` missing: nothing is quantized. Empty with findings when the method is unknown or a value
// is not understood; never read as BF16.
std::optional<QuantConfig> ReadQuantConfig(const JsonValue& config, const Dialects& dialects,
                                           const Renames& renames, Diagnostics* out);

// The same over all files that may say something. Descriptions that disagree are an error.
std::optional<QuantConfig> ReadQuantSources(const QuantSources& sources, const Dialects& dialects,
                                            const Renames& renames, Diagnostics* out);

}  // namespace ferrule
