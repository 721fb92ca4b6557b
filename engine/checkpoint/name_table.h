// SPDX-License-Identifier: Apache-2.0
// Which tensor has this name, and whether two have the same.
//
// Open addressing over indices and 32-bit fingerprints; a hit is confirmed by comparing bytes.
// Names come from strangers: where they collide beyond reason the table becomes a sorted array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace ferrule {

class NameTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Duplicate {
    uint32_t first, second;  // indices of tensors of one name, first < second
  };

  // Replaces the contents; of equal names the first is kept, the others are returned in order.
  std::vector<Duplicate> Build(std::span<const Tensor> tensors);
  // `tensors` as given to Build.
  uint32_t Find(std::string_view name, std::span<const Tensor> tensors) const;
  // Find for every name; faster than one by one, because the waits for memory overlap.
  std::vector<uint32_t> FindAll(std::span<const std::string_view> names,
                                std::span<const Tensor> tensors) const;

 private:
  struct Slot {
    uint32_t fingerprint = 0;
    uint32_t index = kNone;
  };
  uint32_t Probe(uint64_t hash, std::string_view name, std::span<const Tensor> tensors) const;
  std::vector<Duplicate> Sort(std::span<const Tensor> tensors);

  LargeVector<Slot> slots_;
  std::vector<uint32_t> sorted_;  // used when slots_ is empty
};

}  // namespace ferrule
