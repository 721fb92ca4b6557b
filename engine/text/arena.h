// SPDX-License-Identifier: Apache-2.0
// Memory for very many short texts: taken in large chunks, given back all at once. What it hands
// out stays where it is when the arena is moved.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/large_memory.h"

namespace ferrule {

class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    chunks_ = std::move(other.chunks_);
    next_ = std::exchange(other.next_, nullptr);
    left_ = std::exchange(other.left_, 0);
    return *this;
  }

  // `size` bytes, not initialised and not aligned.
  char* Allocate(size_t size) {
    if (size > left_) AddChunk(size);
    left_ -= size;
    return std::exchange(next_, next_ + size);
  }

  std::string_view Copy(std::string_view text) {
    if (text.empty()) return {};
    char* const to = Allocate(text.size());
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

 private:
  void AddChunk(size_t size) {
    left_ =
        std::max(size, std::min(kLargePage, size_t{4096} << std::min<size_t>(chunks_.size(), 9)));
    chunks_.emplace_back(LargeMemory<char>().allocate(left_), Release{left_});
    next_ = chunks_.back().get();
  }

  struct Release {
    size_t size = 0;
    void operator()(char* chunk) const { LargeMemory<char>().deallocate(chunk, size); }
  };
  std::vector<std::unique_ptr<char, Release>> chunks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace ferrule
