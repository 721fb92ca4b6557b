// SPDX-License-Identifier: Apache-2.0
// Two plans of one checkpoint → what changes between them, and which changes are unsafe.
//
// A change is unsafe when what the new side decides cannot be right: it contradicts the stored
// tensor, or its shards do not fit whole blocks, or the module cannot be cut any more, or there is
// an error that the old side does not have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/report/plan_state.h"

namespace ferrule {

// The scheme in which a module runs or, when that is undecided, is claimed to run.
const std::string& Runs(const ModuleState& state);

enum class ChangeKind : uint8_t {
  kScheme,  // it runs, or is claimed to run, in another scheme
  kKind,    // rows, unified, fused; its parts
  kShape,
  kShards,   // each rank holds other rows or columns
  kRefusal,  // an engine refuses it, or no longer
  kNew,      // only the new side has this module
  kGone,
};
std::string_view ChangeName(ChangeKind kind);

struct Change {
  ChangeKind kind = ChangeKind::kScheme;
  std::string name;     // of the group, with placeholders
  std::string example;  // a full path
  int64_t count = 0;
  // Indices in the states of either side; -1: that side lacks the module.
  int64_t old_state = -1, new_state = -1;
  std::string unsafe;  // why; empty: not known to be
};

struct PlanDiff {
  std::vector<Change> changes;         // unsafe ones first
  std::vector<ErrorLine> new_errors;   // that the old side does not have
  std::vector<ErrorLine> gone_errors;  // that the new side no longer has
  int64_t changed = 0;                 // modules
  int64_t unsafe = 0;                  // modules whose change is unsafe
  bool is_unsafe() const { return unsafe > 0 || !new_errors.empty(); }
  bool empty() const { return changes.empty() && new_errors.empty() && gone_errors.empty(); }
};

PlanDiff Compare(const PlanState& before, const PlanState& after);

}  // namespace ferrule
