// SPDX-License-Identifier: Apache-2.0
// Hashes first, then the table: interleaving both was measured at half the speed.
#include "engine/checkpoint/name_table.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "engine/text/words.h"

namespace ferrule {
namespace {

// Probes after which names are taken to collide on purpose. A table at most half full needs more
// than 100 by chance about never.
constexpr size_t kMaxProbes = 128;
constexpr size_t kBatch = 32;

uint32_t Fingerprint(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

}  // namespace

std::vector<NameTable::Duplicate> NameTable::Build(std::span<const Tensor> tensors) {
  sorted_.clear();
  slots_.assign(std::bit_ceil(std::max<size_t>(tensors.size() * 2, 2)), Slot());
  const size_t mask = slots_.size() - 1;
  std::vector<Duplicate> duplicates;
  uint64_t hashes[kBatch];
  for (size_t first = 0; first < tensors.size(); first += kBatch) {
    const size_t count = std::min(kBatch, tensors.size() - first);
    for (size_t i = 0; i < count; ++i) {
      hashes[i] = HashName(tensors[first + i].name);
      __builtin_prefetch(&slots_[hashes[i] & mask], 1);
    }
    for (size_t i = 0; i < count; ++i) {
      const uint32_t index = static_cast<uint32_t>(first + i);
      const uint32_t fingerprint = Fingerprint(hashes[i]);
      size_t probes = 0;
      for (size_t at = hashes[i] & mask;; at = (at + 1) & mask) {
        if (++probes > kMaxProbes) return Sort(tensors);
        Slot& slot = slots_[at];
        if (slot.index == kNone) {
          slot = {fingerprint, index};
          break;
        }
        if (slot.fingerprint != fingerprint || tensors[slot.index].name != tensors[index].name)
          continue;
        duplicates.push_back({slot.index, index});
        break;
      }
    }
  }
  return duplicates;
}

std::vector<NameTable::Duplicate> NameTable::Sort(std::span<const Tensor> tensors) {
  slots_ = {};
  sorted_.resize(tensors.size());
  std::iota(sorted_.begin(), sorted_.end(), 0u);
  std::sort(sorted_.begin(), sorted_.end(), [&](uint32_t a, uint32_t b) {
    const int order = tensors[a].name.compare(tensors[b].name);
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<Duplicate> duplicates;
  const auto kept = std::unique(sorted_.begin(), sorted_.end(), [&](uint32_t a, uint32_t b) {
    if (tensors[a].name != tensors[b].name) return false;
    duplicates.push_back({a, b});
    return true;
  });
  sorted_.erase(kept, sorted_.end());
  std::sort(duplicates.begin(), duplicates.end(),
            [](const Duplicate& a, const Duplicate& b) { return a.second < b.second; });
  return duplicates;
}

uint32_t NameTable::Probe(uint64_t hash, std::string_view name,
                          std::span<const Tensor> tensors) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].index != kNone; at = (at + 1) & mask)
    if (slots_[at].fingerprint == Fingerprint(hash) && tensors[slots_[at].index].name == name)
      return slots_[at].index;
  return kNone;
}

uint32_t NameTable::Find(std::string_view name, std::span<const Tensor> tensors) const {
  if (!slots_.empty()) return Probe(HashName(name), name, tensors);
  const auto found =
      std::lower_bound(sorted_.begin(), sorted_.end(), name,
                       [&](uint32_t index, std::string_view n) { return tensors[index].name < n; });
  return found != sorted_.end() && tensors[*found].name == name ? *found : kNone;
}

std::vector<uint32_t> NameTable::FindAll(std::span<const std::string_view> names,
                                         std::span<const Tensor> tensors) const {
  std::vector<uint32_t> found(names.size());
  if (slots_.empty()) {
    for (size_t i = 0; i < names.size(); ++i) found[i] = Find(names[i], tensors);
    return found;
  }
  const size_t mask = slots_.size() - 1;
  uint64_t hashes[kBatch];
  for (size_t first = 0; first < names.size(); first += kBatch) {
    const size_t count = std::min(kBatch, names.size() - first);
    for (size_t i = 0; i < count; ++i) {
      hashes[i] = HashName(names[first + i]);
      __builtin_prefetch(&slots_[hashes[i] & mask]);
    }
    for (size_t i = 0; i < count; ++i) {
      const uint32_t likely = slots_[hashes[i] & mask].index;
      if (likely != kNone) __builtin_prefetch(&tensors[likely]);
    }
    for (size_t i = 0; i < count; ++i)
      found[first + i] = Probe(hashes[i], names[first + i], tensors);
  }
  return found;
}

}  // namespace ferrule
