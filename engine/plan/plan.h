// SPDX-License-Identifier: Apache-2.0
// Rules + checkpoint + tensor-parallel size → a checked plan: what every module is and what each
// rank holds.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/plan/book.h"
#include "engine/plan/decision.h"
#include "engine/rules/partition.h"

namespace ferrule {

struct PlanOptions {
  int tp = 1;
};

// Modules of one kind that are decided alike: one line of a report.
struct Group {
  int32_t unit = 0;    // of the first module
  int32_t module = 0;  // the first module
  int64_t count = 0;
  // Placeholder → its values, as the cross product of which the group is made.
  std::vector<std::pair<std::string, std::vector<int32_t>>> indices;
};

struct Plan {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::string model_type;
  int tp = 1;
  Decisions decisions;
  std::vector<Cut> cuts;        // distinct ones
  std::vector<int32_t> cut_of;  // unit → index in cuts, -1: no linear or fused
  std::vector<Group> groups;
  std::string rules_sha, plan_sha;

  // Null for units that are neither linear nor fused.
  const Cut* CutOf(const Unit& unit) const;
  // Module id of a concrete path, a declared second name of its root included; -1: unknown.
  int32_t Find(std::string_view path) const;
  const std::string& SchemeName(int8_t scheme) const;  // "bf16"; "" for none
};

// Always adds what it found to `out`. Empty when there is no plan at all: no rules for the
// model_type, an unknown method, sizes that cannot be evaluated. A plan with errors among the
// findings may be shown, not run.
std::optional<Plan> MakePlan(const Book& book, std::shared_ptr<const Checkpoint> checkpoint,
                             const PlanOptions& options, Diagnostics* out);

// The same under a given rule file, which need not be sound: for `check`.
std::optional<Plan> MakePlanUnder(std::shared_ptr<const RuleFile> rules, const Book& book,
                                  std::shared_ptr<const Checkpoint> checkpoint,
                                  const PlanOptions& options, Diagnostics* out);

// The id of a linear or of a fused name over linears. -1 with a finding that says what was probably
// meant.
int32_t FindLinear(const Plan& plan, std::string_view name, Diagnostics* out);

// The same plan at another size: what is decided does not hang on it. False, with the plan as it
// was, when there is none.
bool CutAgain(int tp, Plan* plan, Diagnostics* out);

// Joins modules that are decided alike. Called by MakePlan.
std::vector<Group> GroupModules(const Plan& plan);

}  // namespace ferrule
