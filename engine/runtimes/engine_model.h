// SPDX-License-Identifier: Apache-2.0
// How a serving engine builds the modules of one model class: sections `methods`, `modules` and
// `models` of a runtime file.
//
//   models: {Qwen3NextForCausalLM: {map: fallback, omits: [shared_expert], draft:
//   Qwen3NextForCausalLMMTP}}
//
// A path below is written in whole segments; `<layer>` stands for any number.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/rules/rule_file.h"
#include "engine/text/yaml.h"

namespace ferrule {

using FusedMap = std::vector<std::pair<std::string, std::vector<std::string>>>;

// The kinds of modules that engines tell apart.
enum class LayerKind : uint8_t { kLinear, kExperts, kHead, kEmbedding };
std::string_view LayerName(LayerKind kind);

// A run of whole segments of a module's path, and what stands there instead. The first run counts.
struct PathRule {
  std::vector<std::string> from, to;
};

// Modules, where the condition holds over config.json and the description of its quantization.
struct ModuleRule {
  std::vector<std::vector<std::string>> paths;  // a run of whole segments, anywhere
  std::vector<std::string> under;               // dialects; empty: any
  std::optional<Dim> when;
  std::string function;  // only where this function, asked once without a module, says yes
};

// A module that the class builds whatever is stored: `lm_head`, `blocks.0-33.attn.proj`.
struct AddRule {
  std::string path;  // a range of numbers is `#`
  int32_t first = 0, count = 1;
  LayerKind layer = LayerKind::kLinear;
  std::optional<Dim> when;
};

// What the engine says when it does not even build the model.
struct EngineRefusal {
  std::string error;  // empty: it builds it
  std::optional<Dim> when;
  std::string null;  // only where config.json has this key with null
};

struct EngineModel {
  std::string architecture;
  YamlPlace place;
  FusedMap map;                          // `packed_modules_mapping` as it reaches the functions
  bool hands_map = false;                // also to methods that get none
  bool linear_experts = false;           // each linear of an expert is a module of its own
  FusedMap fuses;                        // modules that are built of several stored ones
  FusedMap splits;                       // stored modules that are built as several
  std::vector<std::string> apart;        // fused modules of all classes but this one
  std::vector<PathRule> names;           // stored path → the name that is asked, in order
  std::vector<PathRule> paths;           // the same for modules built without a config
  std::vector<ModuleRule> omits, plain;  // not built; built without the quantization config
  std::vector<std::pair<std::string, LayerKind>> weights;  // last segments of `weight:`
  std::vector<AddRule> adds;                               // built though nothing of it is stored
  EngineRefusal refuses;
  std::string becomes;                     // the class that is built instead …
  std::optional<Dim> becomes_when;         // … where this holds …
  std::vector<std::string> becomes_under;  // … and under these dialects; empty: any
  std::string draft;                       // the class of its draft layers …
  std::optional<Dim> draft_when;           // … where this holds; else that class is not described
  std::string first_expert;  // what a method that asks by the first expert asks; else as stored
  std::vector<std::string> lists;      // the input `class`: what the class never quantizes
  std::vector<std::string> unchecked;  // last segments: the code asks for no block check
  std::vector<std::string> unnamed;    // last segments: built without a name, and asked by none
  // Rename tables that the class hands to the functions: prefix, substr, suffix.
  // Without a second text the name is dropped. `hands_renames`: the class hands tables over, which
  // may all be empty; the functions change lists nevertheless.
  using Rename = std::pair<std::string, std::optional<std::string>>;
  std::vector<std::pair<std::string, std::vector<Rename>>> renames;
  bool hands_renames = false;
};

// A dialect, and what the engine asks for it.
struct MethodRule {
  std::string method;
  std::string function;  // empty: the engine loads such a checkpoint as if it were BF16
  // List → what renames its entries, where the class renames; a lone function is for all lists.
  std::vector<std::pair<std::string, std::string>> list_functions;
  std::string refuses;          // instead of `function`: the engine's message
  std::string check;            // asked once, without a name: its error refuses the whole
  std::string map;              // a table that the engine adds to the class's fused map
  bool first_expert = false;    // experts are asked by the name of the first one's first linear
  bool widens_experts = false;  // what is stored of them is dequantized when it is loaded
  std::optional<Dim> when;      // over the description and the file that it stands in
  std::string only_if;          // only where this function, asked once without a module, says yes
  YamlPlace place;
};

// `tables`: fused maps of the file, which an entry may name.
bool ReadEngineModel(const YamlReader& reader, const YamlNode& node, std::string_view what,
                     const std::vector<std::pair<std::string, FusedMap>>& tables, EngineModel* out);

}  // namespace ferrule
