// SPDX-License-Identifier: Apache-2.0
#include "kernels/plan_agreement.h"

#include <algorithm>

namespace ferrule {
namespace {

// The first 12 digits, as `ferrule plan` prints them.
std::string Short(const std::string& sha) {
  return sha.empty() ? "none" : sha.substr(0, std::min<size_t>(sha.size(), 12));
}

}  // namespace

std::string PlansDiffer(const std::vector<std::string>& plans) {
  size_t count = 0, first = 0;
  for (size_t rank = 0; rank < plans.size(); ++rank) {
    if (!plans[0].empty() && plans[rank] == plans[0]) continue;
    if (count++ == 0) first = rank;
  }
  if (count == 0) return "";
  const std::string tp = std::to_string(plans.size());
  // Hashes that begin alike are shown whole.
  const bool alike = Short(plans[0]) == Short(plans[first]);
  const auto show = [alike](const std::string& sha) {
    return alike && !sha.empty() ? sha : Short(sha);
  };
  std::string text = "rank " + std::to_string(first) + " of " + tp + " runs plan " +
                     show(plans[first]) + ", rank 0 plan " + show(plans[0]);
  if (count > 1) text += " (" + std::to_string(count) + " ranks differ)";
  return text +
         ": they read other rules, another checkpoint or plan for another tp, and their sums would "
         "be wrong without a sign; give all ranks the same rules and files, and compare `ferrule "
         "plan` on their machines";
}

}  // namespace ferrule
