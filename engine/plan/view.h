// SPDX-License-Identifier: Apache-2.0
// One module of a plan in the words of a report: names instead of ids. Used by all reports and by
// the public interface.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/plan/plan.h"

namespace ferrule {

struct ModuleView {
  std::string name;                   // concrete path, or with placeholders for a group
  std::string_view kind;              // rows | unified | fused
  std::vector<std::string> parts;     // of a fused module, in order
  std::string claim, stored, scheme;  // scheme names; empty: none
  std::string dtype;                  // safetensors name of the weight's dtype; empty: unknown
  int64_t block_n = 0, block_k = 0;
  std::vector<int64_t> shape;  // [rows, in], stacked: [experts, rows, in]
  const Cut* cut = nullptr;
  std::string_view together;  // of a fused module: agree | apart | narrower | disagree
  std::string same;           // reads this other tensor

  // Why.
  std::string rule_file;
  int rule_line = 0;
  std::string_view dialect;
  std::string reason;
  std::string_view match;
  std::string_view list;  // modules_to_not_convert
  std::string entry;
  int entry_index = -1;
  std::string via;  // the fused module that is listed
  std::string tensor, file;
};

// `group` not null: the name has placeholders.
ModuleView ViewOf(const Plan& plan, int32_t module, const Group* group);

// Ids of the linears that the model has and of the fused names over them, in the order of the
// rules; what is optional and not stored is left out.
std::vector<int32_t> PresentModules(const Plan& plan);

// How the rows of a unified tensor are ordered: interleaved, grouped, concatenated; empty for
// others.
std::string_view LayoutOf(const Unit& unit);

}  // namespace ferrule
