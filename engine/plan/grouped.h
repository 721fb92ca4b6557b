// SPDX-License-Identifier: Apache-2.0
// One finding for all modules that share a cause: a count and one example instead of a thousand
// lines. Used by the stages that go over modules.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/text/diagnostics.h"

namespace ferrule {

class Grouped {
 public:
  struct Item {
    Finding finding;
    int64_t count = 0;
  };
  using Key = std::tuple<Code, const void*, int64_t>;

  // The finding of `key`; made by `make` when it is the first. Its count goes up by one.
  template <typename Make>
  Item& Add(Code code, const void* node, int64_t detail, const Make& make) {
    const Key key{code, node, detail};
    auto at = index_.find(key);
    if (at == index_.end()) {
      at = index_.emplace(key, items_.size()).first;
      items_.push_back({make(), 0});
    }
    Item& item = items_[at->second];
    ++item.count;
    return item;
  }

  // Moves all to `out`; "{n}" in messages and facts becomes the count.
  void Flush(Diagnostics* out);

 private:
  std::map<Key, size_t> index_;
  std::vector<Item> items_;
};

}  // namespace ferrule
