// SPDX-License-Identifier: Apache-2.0
// What a compiled list holds. Made by skip_compile.cc, asked by skip_list.cc.
#pragma once

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/lists/name_match.h"
#include "engine/lists/skip_heads.h"
#include "engine/lists/skip_list.h"
#include "engine/lists/skip_literals.h"

namespace ferrule {

struct SkipList::State {
  std::vector<ListEntry> entries;
  std::vector<std::string> names;
  std::vector<bool> pattern, glob;
  bool by_class = false;
  Primitive regex = Primitive::kRegexMatch;
  SkipLiterals literals;  // plain entries
  SkipHeads heads;        // globs whose only special character is a star at the end
  std::vector<std::pair<Primitive, int>> one_by_one;  // other globs, suffixes, substrings
  std::unique_ptr<RE2::Set> set;
  std::vector<int> set_entry;                  // set id → entry
  std::vector<std::unique_ptr<RE2>> patterns;  // in the order of set_entry; when the set gives up
  std::vector<std::unique_ptr<RE2>> strict;    // the same with dots that are dots; null: no change
  std::vector<int> linear;                     // entries that are the class name of a linear

  RE2::Anchor Anchor() const {
    return regex == Primitive::kRegexMatch    ? RE2::ANCHOR_START
           : regex == Primitive::kRegexSearch ? RE2::UNANCHORED
                                              : RE2::ANCHOR_BOTH;
  }

  template <typename Visit>
  bool Globs(std::string_view path, const Visit& visit) const {
    if (heads.Each(path, [&](int entry) { return visit(entry, Primitive::kGlob); })) return true;
    for (const auto& [how, entry] : one_by_one)
      if (OneByOne(how, names[static_cast<size_t>(entry)], path) && visit(entry, how)) return true;
    return false;
  }

  bool OneByOne(Primitive how, std::string_view name, std::string_view path) const {
    if (how == Primitive::kSubstring) return path.find(name) != std::string_view::npos;
    if (how == Primitive::kSuffix) return path.ends_with(name);
    if (Glob(name, path)) return true;
    if (!literals.ancestor) return false;
    for (size_t dot = path.rfind('.'); dot != std::string_view::npos && dot > 0;
         dot = path.rfind('.', dot - 1))
      if (Glob(name, path.substr(0, dot))) return true;
    return false;
  }

  template <typename Visit>
  void Patterns(std::string_view path, const Visit& visit) const {
    if (set) {
      std::vector<int> ids;
      RE2::Set::ErrorInfo error;
      const re2::StringPiece text(path.data(), path.size());
      // Out of memory looks like "no match" unless asked for: then ask the patterns one by one.
      const bool matched = set->Match(text, &ids, &error);
      if (!matched && error.kind != RE2::Set::kNoError) {
        for (size_t i = 0; i < patterns.size(); ++i)
          if (patterns[i]->Match(text, 0, text.size(), Anchor(), nullptr, 0))
            ids.push_back(static_cast<int>(i));
      }
      std::sort(ids.begin(), ids.end());
      for (const int id : ids)
        if (visit(set_entry[static_cast<size_t>(id)], regex)) return;
    }
    for (const int at : linear)
      if (visit(at, Primitive::kClassName)) return;
  }
};

}  // namespace ferrule
