// SPDX-License-Identifier: Apache-2.0
// What a plan says of every module, detached from the plan: from a plan just made, or from the JSON
// of an earlier one (`ferrule plan -f json`, grouped or expanded). The input of plan_diff.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/plan/plan.h"
#include "engine/text/diagnostics.h"
#include "engine/text/json.h"

namespace ferrule {

// Equal for all modules of one group. Scheme names as in the JSON; empty: null there.
struct ModuleState {
  std::string kind, claim, stored, scheme;
  std::vector<int64_t> shape;
  std::vector<std::string> parts;  // last segments
  int64_t block_n = 0;
  // Of each rank the rows it holds, as begin, end; empty when it cannot be cut.
  std::vector<std::vector<int64_t>> rank_rows;
  std::vector<std::pair<int64_t, int64_t>> rank_columns;
  std::string refused;  // by an engine: what it says; empty: it goes on
  friend bool operator==(const ModuleState&, const ModuleState&) = default;
};

struct ErrorLine {  // a finding at error level
  std::string code, slug, message;
  friend auto operator<=>(const ErrorLine&, const ErrorLine&) = default;
};

struct PlanState {
  bool planned = false;  // false: the findings say why there is no plan
  std::string model;     // of a saved plan: its checkpoint, as `plan` was told
  std::string model_type;
  int64_t tp = 1;
  std::vector<ModuleState> states;
  // Full path → index in `states`, and the name of its group with placeholders.
  struct Entry {
    size_t state = 0, group = 0;
  };
  std::map<std::string, Entry, std::less<>> modules;
  std::vector<std::string> groups;
  std::vector<ErrorLine> errors;
};

// `plan` may be null.
PlanState StateOf(const Plan* plan, const Diagnostics& findings);

// `json` is the document of `ferrule plan -f json`. Empty with a finding when it is not.
std::optional<PlanState> ReadPlanState(const JsonValue& json, Diagnostics* out);

}  // namespace ferrule
