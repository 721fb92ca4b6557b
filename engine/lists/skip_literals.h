// SPDX-License-Identifier: Apache-2.0
// Plain entries of a list: which of them name a path, by hashes of runs of its segments.
//
// The hash of a run h0 … hn of segments is Σ hi · base^(n - i), so that ancestors and last segments
// cost one multiplication each, and the cost of a look-up does not grow with the list. The same
// hashes of the entries with their numbers taken out answer for all layers and experts at once
// that no entry names a module of theirs.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/path_table.h"
#include "engine/lists/dialect.h"
#include "engine/text/words.h"

namespace ferrule {

// A path as hashes of the runs of segments with which it begins: `prefix[i]` is that of 0 … i.
struct HashedSegments {
  static constexpr uint64_t kBase = 0x100000001B3u;  // FNV's prime: odd: powers never vanish
  static constexpr std::array<uint64_t, kMaxSegments + 1> kPowers = [] {
    std::array<uint64_t, kMaxSegments + 1> powers{1};
    for (size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * kBase;
    return powers;
  }();

  size_t count = 0;
  size_t begin[kMaxSegments];
  uint64_t prefix[kMaxSegments];

  // False when there are more than kMaxSegments.
  bool Split(std::string_view path) {
    size_t from = 0;
    uint64_t hash = 0;
    const auto segment = [&](size_t end) __attribute__((always_inline)) {
      if (count == kMaxSegments) return false;
      begin[count] = from;
      prefix[count++] = hash = hash * kBase + HashPart(path, from, end - from);
      from = end + 1;
      return true;
    };
    return EachDot(path, segment) && segment(path.size());
  }

  uint64_t all() const { return prefix[count - 1]; }
  // Of the segments first … end - 1, first > 0: that of 0 … end - 1 without 0 … first - 1.
  uint64_t run(size_t first, size_t end) const {
    return prefix[end - 1] - prefix[first - 1] * kPowers[end - first];
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
    const auto run = [&](uint64_t hash, size_t first, size_t end, Primitive how)
        __attribute__((always_inline)) {
      return InFilter(hash) && Chain(names, path, split, {hash, first, end, how}, visit);
    };
    return Runs(split, run);
  }

 private:
  static constexpr size_t kFilterBits = 32;  // for each entry, so that few others pass

  static size_t SlotOf(uint64_t hash) {
    return static_cast<size_t>((hash * 0x9E3779B97F4A7C15u) >> 20);
  }
  bool InFilter(uint64_t hash) const {
    const size_t bit = SlotOf(hash) & filter_mask_;
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

  struct Run {
    uint64_t hash;
    size_t first, end;
    Primitive how;
  };
  // Seldom needed, so not worth room where every path goes by.
  template <typename Visit>
  [[gnu::noinline]] bool Chain(const std::vector<std::string>& names, std::string_view path,
                               const HashedSegments& split, const Run& run,
                               const Visit& visit) const {
    const size_t begin = split.begin[run.first];
    const size_t stop = run.end == split.count ? path.size() : split.begin[run.end] - 1;
    for (int at = Find(names, run.hash, path.substr(begin, stop - begin)); at >= 0;
         at = next_[static_cast<size_t>(at)])
      if (visit(at, run.how)) return true;
    return false;
  }

  // Calls visit(hash, first, end, how) for the runs of segments first … end - 1 that an entry may
  // equal, best first; stops when it returns true.
  template <typename Visit>
  bool Runs(const HashedSegments& split, const Visit& visit) const {
    const size_t count = split.count;
    // Lengths of entries that are shorter than the path, long ones first.
    const auto shorter = [&](const auto& run) __attribute__((always_inline)) {
      for (uint64_t left = lengths_ & ((uint64_t{1} << count) - 1); left != 0;) {
        const size_t length = static_cast<size_t>(std::bit_width(left)) - 1;
        left ^= uint64_t{1} << length;
        if (run(length)) return true;
      }
      return false;
    };
    const auto ancestors = [&](size_t length) {
      return visit(split.prefix[length - 1], 0, length, Primitive::kAncestor);
    };
    const auto ends = [&](size_t length) {
      return visit(split.run(count - length, count), count - length, count,
                   Primitive::kLastSegments);
    };
    if (exact && (lengths_ >> count & 1) != 0 && visit(split.all(), 0, count, Primitive::kExact))
      return true;
    if (ancestor && shorter(ancestors)) return true;
    if (!last) return false;
    if (shorter(ends)) return true;
    for (size_t i = 1; segments && i < count; ++i)
      for (size_t end = i + 1; end < count; ++end)
        if ((lengths_ >> (end - i) & 1) != 0 &&
            visit(split.run(i, end), i, end, Primitive::kSegments))
          return true;
    return false;
  }

  // By hash, open addressing; equal names are chained through `next_`, and the first of them knows
  // the last and how many there are.
  std::vector<int> slots_, next_, last_of_, equal_;
  std::vector<uint64_t> hashes_;
  std::vector<uint64_t> filter_;
  size_t filter_mask_ = 0;  // bits - 1
  size_t inserted_ = 0;
  uint64_t lengths_ = 0;             // a bit for each number of segments that some entry has
  std::vector<uint64_t> templates_;  // open addressing; 0 is free
  bool wide_ = false;                // a name without a template was inserted
};

}  // namespace ferrule
