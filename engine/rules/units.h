// SPDX-License-Identifier: Apache-2.0
// A rule tree evaluated for one config.json: every module and tensor of the model with its sizes.
//
// A unit is one node of the tree under one binding of its placeholders. Where nothing below a
// placeholder depends on its value (experts, blocks of a vision tower), one unit covers the whole
// range: `first` … `first + count - 1` are the ids of its modules. So a model with 150,000 tensors
// has a few thousand units.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/path_table.h"
#include "engine/rules/rule_file.h"

namespace ferrule {

inline constexpr int64_t kMaxModules = 4'000'000;
inline constexpr int64_t kMaxSize = int64_t{1} << 40;

struct Slice {
  std::string name;
  int64_t rows = 0;    // all of its rows
  int64_t groups = 0;  // head groups; 0: may be cut anywhere
  bool replicate = false;
};

struct Unit {
  const RuleNode* node = nullptr;
  NodeKind kind = NodeKind::kRows;
  std::string path;                // model.layers.#.mlp.experts.#.gate_proj
  std::vector<int32_t> numbers;    // one for each '#'; that of the range holds its first value
  std::vector<std::string> index;  // names of the placeholders, one for each '#'; "" for a literal
  int range = -1;                  // position in `numbers` of the range, -1: a single module
  int32_t count = 1;
  int32_t first = 0;       // module id
  int32_t container = -1;  // of <expert>
  Quantize quantize = Quantize::kDefault;
  std::string_view as;  // the scheme that config.json asks for outside quantization_config

  // Linears. rows × in is the whole stored matrix (of one expert when stacked).
  int64_t rows = 0, in = 0;
  int64_t per = 0;     // head groups of the whole linear, 0: none
  int64_t stack = 0;   // experts in one 3-D tensor, 0: none
  int64_t groups = 0;  // stored row groups, 0: none
  std::vector<Slice> slices;
  bool bias = false, optional = false, same = false;
  bool assumed = false;  // below an `either` that was decided without headers
  bool draft = false;    // of layers that engines build as a model of their own

  std::vector<int64_t> shape;  // of weight: and param:

  // Fused: unit ids in the order of the rule; absent ones left out, undeclared ones by name.
  std::vector<int32_t> parts;
  std::vector<std::string> undeclared;

  int32_t Number(size_t position, int32_t i) const {
    return numbers[position] + (static_cast<int>(position) == range ? i : 0);
  }
  // Numbers of the i-th module.
  std::vector<int32_t> NumbersOf(int32_t i) const;
  std::string PathOf(int32_t i) const { return Concrete(path, NumbersOf(i)); }
  // model.layers.<layer>.mlp.experts.<expert>.gate_proj
  std::string Display() const;
};

// Containers of <expert>: one runtime module each.
struct Container {
  std::string path;
  std::vector<int32_t> numbers;
};

// Stored tensor names by template, to ask what is there.
class StoredNames {
 public:
  explicit StoredNames(const PathTable* table = nullptr);
  bool known() const { return table_ != nullptr; }
  // Templates `path` + "." + one segment, as (segment, template id).
  const std::vector<std::pair<std::string_view, int32_t>>& Below(std::string_view path) const;
  // Whether `path` itself or a tensor directly below it is stored with these numbers.
  bool Has(std::string_view path, std::span<const int32_t> numbers) const;
  const PathTable& table() const { return *table_; }

 private:
  const PathTable* table_ = nullptr;
  std::map<std::string, std::vector<std::pair<std::string_view, int32_t>>, std::less<>> below_;
};

struct Units {
  std::vector<Unit> units;
  std::vector<Container> containers;
  // Roots with a second name: modules below `root` are also known below `alias`.
  std::vector<std::pair<std::string, std::string>> aliases;
  int32_t modules = 0;
};

struct UnitsOptions {
  std::string model_type;
  ConfigScope config;
  Location config_at;                   // for findings
  const StoredNames* stored = nullptr;  // null: without headers
};

// Empty when a size cannot be evaluated or an `either` is not decided; findings in `out`.
std::optional<Units> EvaluateUnits(const RuleFile& file, const UnitsOptions& options,
                                   Diagnostics* out);

}  // namespace ferrule
