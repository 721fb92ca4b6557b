// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/skip_heads.h"

namespace ferrule {

int SkipHeads::Sort() {
  // Equal heads are each other's shorter ones, the first of the list on top.
  std::sort(heads_.begin(), heads_.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second > b.second;
  });
  std::vector<int> open;
  for (size_t i = 0; i < heads_.size(); ++i) {
    while (!open.empty() &&
           !heads_[i].first.starts_with(heads_[static_cast<size_t>(open.back())].first))
      open.pop_back();
    shorter_.push_back(open.empty() ? -1 : open.back());
    open.push_back(static_cast<int>(i));
    if (open.size() > kMaxNested) return heads_[i].second;
  }
  return -1;
}

}  // namespace ferrule
