// SPDX-License-Identifier: Apache-2.0
// A long list and the rules that match it → for a name the few entries that can say anything but
// no, so that asking does not take longer as the list grows.
//
//   const EntryIndex index(rules, texts);
//   index.Find({{"model.layers.3.mlp.gate"}}, {"Linear"})    // {17, 204}: in order; names by rule
//
// INVARIANT: every entry that a rule matches, or that may raise or be unknown, is found. Others may
// be found too: the caller asks each as it would without an index.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/runtimes/runtime.h"

namespace ferrule {

// Numbers under keys, by hash: of other keys some may come along.
class HashedPlaces {
 public:
  void Add(uint64_t key, size_t length, uint32_t place);
  void Seal();  // no more is added
  // Whether a key of this length was added.
  bool HasLength(size_t length) const { return length < lengths_.size() && lengths_[length]; }
  void Find(uint64_t key, std::vector<uint32_t>* out) const;
  size_t Count(uint64_t key) const;

 private:
  std::pair<size_t, size_t> Bucket(uint64_t key) const;

  std::vector<std::pair<uint64_t, uint32_t>> items_;
  std::vector<uint32_t> begins_;  // of each bucket in `items_`
  std::vector<bool> lengths_;
  int shift_ = 0;
};

class EntryIndex {
 public:
  // `texts`: the entries as written. Both must outlive the index.
  EntryIndex(const std::vector<MatchRule>& rules, const std::vector<std::string_view>& texts);

  // `asked`: for each rule the names that it asks; `classes`: that the rule `class` compares.
  // Nothing: any entry may match.
  std::optional<std::vector<uint32_t>> Find(const std::vector<std::vector<std::string>>& asked,
                                            const std::vector<std::string_view>& classes) const;

 private:
  struct RuleIndex {
    HashedPlaces places;
    // Of patterns of letters, digits, `_`, `-` and dots, some of them repeated: what comes before
    // the first that is, sorted.
    std::vector<std::pair<std::string_view, uint32_t>> plain;
  };
  void Add(const MatchRule& rule, std::string_view text, uint32_t place, RuleIndex* out);
  static bool FindOne(const MatchRule& rule, const RuleIndex& index, std::string_view name,
                      const std::vector<std::string_view>& classes, std::vector<uint32_t>* out);

  const std::vector<MatchRule>& rules_;
  std::vector<RuleIndex> indexes_;
  std::vector<uint32_t> always_;  // to be asked about every name
};

}  // namespace ferrule
