// SPDX-License-Identifier: Apache-2.0
// Which rule and dialect files one checkpoint needs, told by a glance at their text: reading YAML
// takes longer than the plan of a small model. Only files that plainly say other things are left
// out; one that is written in any other way is read.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "engine/lists/quant_source.h"

namespace ferrule {

// Whether the top level of a YAML text has this key: `dialect` or `runtime` say what the file is.
bool HasKey(std::string_view text, std::string_view key);

// False when a rule file plainly claims other model types only: one line `model_type: …` that is
// whole, a word or a list, without the name. What is broken there may be meant for any.
bool MayClaim(std::string_view text, std::string_view model_type);

class DialectScan {
 public:
  explicit DialectScan(const QuantSources& sources);

  // False when the dialect file plainly claims no description of the checkpoint.
  bool MayApply(std::string_view text);
  // Whether the texts may claim each description, and none may stand at a place that only some
  // dialects have. If not, all dialects are needed: what is unclaimed is reported with all methods.
  bool all_claimed() const;

 private:
  bool MayClaimAny(std::string_view claims);
  bool StandsElsewhere(std::string_view places) const;
  bool ElsewhereIs(std::string_view file, std::string_view key) const;

  const QuantSources& sources_;
  bool elsewhere_ = false;
  std::vector<std::pair<JsonValue, bool>> found_;  // at the places of all dialects; claimed
};

}  // namespace ferrule
