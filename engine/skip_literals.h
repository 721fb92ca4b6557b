// SPDX-License-Identifier: Apache-2.0
// Plain entries of a list: which of them name a path, by hashes of runs of its segments.
//
// The hash of a run h0 … hn of segments is Σ hi · base^(n - i), so that ancestors and last segments
// cost one multiplication each, and the cost of a look-up does not grow with the list. The same
// hashes of the entries with their numbers taken out answer for all layers and experts at once
// that no entry names a module of theirs.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dialect.h"
#include "engine/path_table.h"
#include "engine/words.h"

namespace ferrule {

// A path as hashes of its segments.
struct HashedSegments {
  size_t count = 0;
  size_t begin[kMaxSegments];
  uint64_t hash[kMaxSegments];

  // False when there are more than kMaxSegments.
  bool Split(std::string_view path) {
    for (size_t at = 0;;) {
      if (count == kMaxSegments) return false;
      const void* dot = std::memchr(path.data() + at, '.', path.size() - at);
      const size_t end = dot != nullptr
                             ? static_cast<size_t>(static_cast<const char*>(dot) - path.data())
                             : path.size();
      begin[count] = at;
      hash[count++] = HashBytes(path.substr(at, end - at));
      if (dot == nullptr) return true;
      at = end + 1;
    }
  }
};

class SkipLiterals {
 public:
  // An entry that is written more often is a mistake, or meant to cost time.
  static constexpr int kMaxEqual = 256;
  // Steps from slot to slot for one entry: by chance about never, by names made for it.
  static constexpr size_t kMaxProbes = 128;

  enum class Added : uint8_t { kYes, kTooOften, kCollides };

  // What of a path an entry may equal.
  bool exact = false, ancestor = false, last = false, segments = false;

  // `names` are those of the list, by entry; only those that are inserted are looked at.
  void Prepare(size_t entries);
  Added Insert(const std::vector<std::string>& names, int at);

  // False: no inserted entry names any path with this template (PathTable's form). True: perhaps.
  bool MayName(std::string_view normal) const;

  // Calls visit(entry, how): exact, ancestors from long to short, last segments from long to short,
  // other runs of segments. Stops when visit returns true.
  template <typename Visit>
  bool Each(const std::vector<std::string>& names, std::string_view path,
            const Visit& visit) const {
    if (inserted_ == 0) return false;
    HashedSegments split;
    if (!split.Split(path)) return false;
    return Runs(split, [&](uint64_t hash, size_t first, size_t end, Primitive how) {
      if (!InFilter(hash)) return false;
      const size_t begin = split.begin[first];
      const size_t stop = end == split.count ? path.size() : split.begin[end] - 1;
      for (int at = Find(names, hash, path.substr(begin, stop - begin)); at >= 0;
           at = next_[static_cast<size_t>(at)])
        if (visit(at, how)) return true;
      return false;
    });
  }

 private:
  static constexpr uint64_t kBase = 0x100000001B3u;  // FNV's prime: odd: powers never vanish
  static constexpr size_t kFilterBits = 1 << 16;

  static size_t SlotOf(uint64_t hash) {
    return static_cast<size_t>((hash * 0x9E3779B97F4A7C15u) >> 20);
  }
  static uint64_t HashOf(const HashedSegments& split);
  bool InFilter(uint64_t hash) const {
    const size_t bit = SlotOf(hash) % kFilterBits;
    return (filter_[bit / 64] >> (bit % 64) & 1) != 0;
  }
  int Find(const std::vector<std::string>& names, uint64_t hash, std::string_view text) const {
    const size_t mask = slots_.size() - 1;
    for (size_t slot = SlotOf(hash) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      const size_t at = static_cast<size_t>(slots_[slot]);
      if (hashes_[at] == hash && names[at] == text) return slots_[slot];
    }
    return -1;
  }

  // Calls visit(hash, first, end, how) for the runs of segments first … end - 1 that an entry may
  // equal, best first; stops when it returns true.
  template <typename Visit>
  bool Runs(const HashedSegments& split, const Visit& visit) const {
    const size_t count = split.count;
    uint64_t prefix[kMaxSegments] = {};  // of the segments 0 … i
    uint64_t hash = 0;
    for (size_t i = 0; i < count; ++i) prefix[i] = hash = hash * kBase + split.hash[i];
    if (exact && visit(hash, 0, count, Primitive::kExact)) return true;
    if (ancestor)
      for (size_t end = count - 1; end > 0; --end)
        if (visit(prefix[end - 1], 0, end, Primitive::kAncestor)) return true;
    if (!last) return false;
    uint64_t power[kMaxSegments];
    power[0] = 1;
    for (size_t i = 1; i < count; ++i) power[i] = power[i - 1] * kBase;
    // The hash of the segments first … end - 1 is that of 0 … end - 1 without 0 … first - 1.
    const auto run = [&](size_t first, size_t end) {
      return prefix[end - 1] - prefix[first - 1] * power[end - first];
    };
    for (size_t i = 1; i < count; ++i)
      if (visit(run(i, count), i, count, Primitive::kLastSegments)) return true;
    for (size_t i = 1; segments && i < count; ++i)
      for (size_t end = i + 1; end < count; ++end)
        if (visit(run(i, end), i, end, Primitive::kSegments)) return true;
    return false;
  }

  // By hash, open addressing; equal names are chained through `next_`, and the first of them knows
  // the last and how many there are.
  std::vector<int> slots_, next_, last_of_, equal_;
  std::vector<uint64_t> hashes_;
  std::array<uint64_t, kFilterBits / 64> filter_{};
  size_t inserted_ = 0;
  std::vector<uint64_t> templates_;  // open addressing; 0 is free
  bool wide_ = false;                // a name without a template was inserted
};

}  // namespace ferrule
