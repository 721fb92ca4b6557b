// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/skip_literals.h"

#include <algorithm>
#include <bit>

namespace ferrule {

void SkipLiterals::Prepare(size_t entries) {
  size_t slots = 64;
  while (slots < entries * 2) slots *= 2;
  slots_.assign(slots, -1);
  templates_.assign(slots, 0);
  filter_mask_ = std::bit_ceil(std::max<size_t>(entries * kFilterBits, 4096)) - 1;
  filter_.assign((filter_mask_ + 1) / 64, 0);
  next_.assign(entries, -1);
  last_of_.assign(entries, -1);
  equal_.assign(entries, 1);
  hashes_.assign(entries, 0);
}

SkipLiterals::Added SkipLiterals::Insert(const std::vector<std::string>& names, int at) {
  const size_t entry = static_cast<size_t>(at);
  HashedSegments split;
  if (!split.Split(names[entry])) return Added::kYes;  // no module has so many
  const uint64_t hash = split.all();
  const size_t mask = slots_.size() - 1;
  size_t slot = SlotOf(hash) & mask;
  for (size_t probes = 1; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (++probes > kMaxProbes) return Added::kCollides;
    const size_t first = static_cast<size_t>(slots_[slot]);
    if (hashes_[first] != hash || names[first] != names[entry]) continue;
    if (++equal_[first] > kMaxEqual) return Added::kTooOften;
    next_[static_cast<size_t>(last_of_[first])] = at;
    last_of_[first] = at;
    return Added::kYes;
  }
  slots_[slot] = at;
  hashes_[entry] = hash;
  last_of_[entry] = at;
  ++inserted_;
  lengths_ |= uint64_t{1} << split.count;
  const size_t bit = SlotOf(hash) & filter_mask_;
  filter_[bit / 64] |= uint64_t{1} << (bit % 64);
  NormalName normal;
  HashedSegments form;
  if (!Normalise(names[entry], &normal) || !form.Split(normal.view())) {
    wide_ = true;
    return Added::kYes;
  }
  const uint64_t key = form.all() | 1;
  size_t place = SlotOf(key) & mask, probes = 0;
  while (templates_[place] != 0 && templates_[place] != key) {
    if (++probes > kMaxProbes) return Added::kCollides;
    place = (place + 1) & mask;
  }
  templates_[place] = key;
  return Added::kYes;
}

bool SkipLiterals::MayName(std::string_view normal) const {
  if (inserted_ == 0) return false;
  HashedSegments split;
  if (wide_ || !split.Split(normal)) return true;
  const size_t mask = templates_.size() - 1;
  return Runs(split, [&](uint64_t hash, size_t, size_t, Primitive) {
    const uint64_t key = hash | 1;
    for (size_t place = SlotOf(key) & mask; templates_[place] != 0; place = (place + 1) & mask)
      if (templates_[place] == key) return true;
    return false;
  });
}

}  // namespace ferrule
