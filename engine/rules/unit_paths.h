// SPDX-License-Identifier: Apache-2.0
// Concrete paths of a unit, one after the other, without an allocation for each.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "engine/rules/units.h"

namespace ferrule {

inline bool IsBelow(std::string_view path, std::string_view root) {
  return path.size() > root.size() && path.substr(0, root.size()) == root &&
         path[root.size()] == '.';
}

class UnitPaths {
 public:
  // With a root: the paths with `alias` in its place. Neither has placeholders.
  UnitPaths(const Unit& unit, std::string_view root, std::string_view alias) {
    std::string path(unit.path);
    template_ = unit.path;
    if (!root.empty()) {
      path = std::string(alias) + path.substr(root.size());
      NormalName normal;
      template_ = Normalise(alias, &normal) ? std::string(normal.view()) : std::string(alias);
      template_ += unit.path.substr(root.size());
    }
    size_t next = 0;
    std::string* to = &head_;
    // An alias without '#' in either root leaves the numbers in their order.
    for (size_t i = 0; i < path.size(); ++i) {
      const bool number = path[i] == '#' && (i == 0 || path[i - 1] == '.') &&
                          (i + 1 == path.size() || path[i + 1] == '.');
      if (!number) {
        *to += path[i];
      } else if (static_cast<int>(next) == unit.range) {
        from_ = unit.numbers[next++];
        ranged_ = true;
        to = &tail_;
      } else {
        *to += std::to_string(unit.numbers[next++]);
      }
    }
    buffer_ = head_;
  }

  // PathTable's form of all of them, and how each begins.
  std::string_view form() const { return template_; }
  std::string_view begin() const { return head_; }

  std::string_view At(int32_t i) {
    if (!ranged_) return head_;
    buffer_.resize(head_.size());
    char digits[12];
    const auto end = fmt::format_to(digits, "{}", from_ + i);
    buffer_.append(digits, static_cast<size_t>(end - digits));
    buffer_ += tail_;
    return buffer_;
  }

 private:
  std::string template_, head_, tail_, buffer_;
  int32_t from_ = 0;
  bool ranged_ = false;
};

}  // namespace ferrule
