// SPDX-License-Identifier: Apache-2.0
// Globs whose only special character is a star at their end, as what stands before it: all that
// begin a path are found by one binary search.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace ferrule {

class SkipHeads {
 public:
  // So many heads may begin each other: a path that they all begin is looked at that often.
  static constexpr size_t kMaxNested = 256;

  // `head` must outlive this.
  void Add(std::string_view head, int entry) { heads_.emplace_back(head, entry); }
  // An entry that too many others begin, -1 when there is none.
  int Sort();
  bool empty() const { return heads_.empty(); }

  // False: no head begins any text that begins with `begin`.
  bool MayBegin(std::string_view begin) const {
    const auto above = Above(begin);
    if (above != heads_.end() && above->first.starts_with(begin)) return true;
    return Each(begin, [](int) { return true; });
  }

  // Calls visit(entry) for each head that begins `path`, from long to short, of equal ones the
  // first of the list first. Stops when visit returns true.
  template <typename Visit>
  bool Each(std::string_view path, const Visit& visit) const {
    // All heads that begin `path` are on the way down from the last one that is not above it.
    for (int at = static_cast<int>(Above(path) - heads_.begin()) - 1; at >= 0;
         at = shorter_[static_cast<size_t>(at)]) {
      const auto& [head, entry] = heads_[static_cast<size_t>(at)];
      if (path.starts_with(head) && visit(entry)) return true;
    }
    return false;
  }

 private:
  using Heads = std::vector<std::pair<std::string_view, int>>;
  Heads::const_iterator Above(std::string_view text) const {
    return std::upper_bound(heads_.begin(), heads_.end(), text,
                            [](std::string_view t, const auto& head) { return t < head.first; });
  }

  Heads heads_;               // sorted
  std::vector<int> shorter_;  // the longest other head that begins this one, -1
};

}  // namespace ferrule
