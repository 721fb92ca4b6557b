// SPDX-License-Identifier: Apache-2.0
// Names with numbers taken out: however large a model, it has fewer than a few hundred templates.
//
//   "model.layers.3.mlp.experts.17.gate_proj"  →  "model.layers.#.mlp.experts.#.gate_proj" + {3,
//   17}
//
// A segment is a number when it is 0, or a digit 1-9 and at most eight more digits; `007` and
// `4294967296` stay text, so that two names never fall together.
//
// Names come from strangers: where they collide beyond reason a sorted table takes the place of the
// hashed one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule {

// No tensor has a name beyond these; safetensors.h refuses it.
inline constexpr size_t kMaxName = 1024;
inline constexpr size_t kMaxSegments = 32;

struct NormalName {
  char text[kMaxName + kMaxSegments + 16];  // CopyShort writes beyond
  uint32_t size = 0;
  uint32_t count = 0;
  int32_t numbers[kMaxSegments];
  std::string_view view() const { return {text, size}; }
};

// False when the name is longer than kMaxName or has more than kMaxSegments segments.
bool Normalise(std::string_view name, NormalName* out);
// The opposite: gives the name that was taken apart.
std::string Concrete(std::string_view normal, std::span<const int32_t> numbers);

// Names → values (non-negative), looked up by template and numbers. Build: Add every name, then
// Seal. After Seal immutable and safe to read from many threads.
class PathTable {
 public:
  struct Duplicate {
    int32_t first, second;  // the values of the two equal names
  };

  // Template id of `name`; -1 when the name is over the limits.
  int32_t Add(std::string_view name, int32_t value);
  // The same with the name already taken apart.
  int32_t Add(std::string_view normal, std::span<const int32_t> numbers, int32_t value);
  // The same for `count` names that differ in the number at `position`, which counts up from
  // numbers[position] as the values do from `value`.
  int32_t AddRun(std::string_view normal, std::span<const int32_t> numbers, size_t position,
                 int32_t count, int32_t value);
  // Builds the look-up. Equal names: the first stays, all others are returned.
  std::vector<Duplicate> Seal();
  // After Seal: each value v becomes to[v].
  void Renumber(std::span<const int32_t> to);

  // Template id of a normalised name, -1 when there is none.
  int32_t Find(std::string_view normal) const;
  // Value of the name with this template and these numbers, -1 when there is none.
  int32_t At(int32_t id, std::span<const int32_t> numbers) const;
  int32_t At(std::string_view name) const;

  // At(id, numbers) while the number at `position` counts up: run(i) adds i to it. Refers to the
  // table and to `numbers`. Without a position only run(0) is asked for.
  class Run {
   public:
    int32_t operator()(int32_t i) const {
      if (cells_ == nullptr) return table_ == nullptr ? -1 : Slow(i);
      const uint64_t offset = static_cast<uint64_t>(first_ + i);
      return offset < extent_ ? cells_[offset * stride_] : -1;
    }

   private:
    friend class PathTable;
    int32_t Slow(int32_t i) const;
    const int32_t* cells_ = nullptr;  // of a dense box
    int64_t first_ = 0;
    uint64_t extent_ = 1, stride_ = 0;
    const PathTable* table_ = nullptr;  // of a hash table
    int32_t id_ = -1;
    int position_ = -1;
    std::span<const int32_t> numbers_;
  };
  Run Along(int32_t id, std::span<const int32_t> numbers, int position) const;

  size_t templates() const { return entries_.size(); }
  std::string_view Text(int32_t id) const { return entries_[static_cast<size_t>(id)].text; }
  size_t Count(int32_t id) const { return entries_[static_cast<size_t>(id)].values.size(); }
  // The value and numbers of the i-th name of a template, in the order of Add.
  int32_t Value(int32_t id, size_t i) const { return entries_[static_cast<size_t>(id)].values[i]; }
  std::span<const int32_t> Numbers(int32_t id, size_t i) const;

 private:
  struct Entry {
    std::string text;
    uint64_t hash = 0;
    uint32_t dims = 0;
    int32_t follower = 0;          // the template that was added after this one the last time
    std::vector<int32_t> numbers;  // dims per name
    std::vector<int32_t> values;
    // After Seal: a dense box of values over the ranges of the numbers, or, when the box would be
    // mostly empty, a hash table of positions in `values`.
    std::vector<int32_t> low, extent, cells;
    bool dense = true;
    bool sorted = false;  // `cells` are positions in the order of the numbers: too many collided
  };
  Entry* Intern(std::string_view normal);
  void Grow();
  void Place(int32_t id);
  static int32_t ValueAt(const Entry& entry, size_t cell);
  int32_t Probe(const Entry& entry, std::span<const int32_t> numbers,
                size_t* steps = nullptr) const;
  int32_t Search(const Entry& entry, std::span<const int32_t> numbers) const;
  static void Sort(Entry* entry, std::vector<Duplicate>* duplicates);

  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;                           // open addressing over entries_
  std::map<std::string, int32_t, std::less<>> by_text_;  // in place of slots_ when too many collide
  int32_t last_ = -1;                                    // the template that was added to last
};

}  // namespace ferrule
