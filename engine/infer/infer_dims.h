// SPDX-License-Identifier: Apache-2.0
// A number → an expression over config.json that gives it; a set of layers → a condition.
//
// Both are guesses by value, simple ones first. What no simple expression gives stays a number: it
// is right for this checkpoint, and somebody has to say why.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint/model_config.h"

namespace ferrule {

// The value of an expression; nothing when it cannot be read, answered, or is no whole number.
std::optional<int64_t> ValueOf(const std::string& expression, const ConfigScope& config);

class DimGuess {
 public:
  // `section` is the part of config.json where names are looked up first; missing: none.
  DimGuess(const JsonValue& config, const JsonValue& section);

  // `path` of the module tells which part of the config is meant (vision_config for a tower).
  std::string Expression(int64_t value, std::string_view path) const;
  // Only a single name with this value; empty when there is none.
  std::string Name(int64_t value, std::string_view path) const;

  // A condition on `index` that holds for exactly the numbers `wanted` among `all`.
  std::string Condition(const std::string& index, const std::set<uint32_t>& wanted,
                        const std::set<uint32_t>& all) const;

 private:
  struct Number {
    std::string name;
    int64_t value;
    bool vision;
  };
  struct Sequence {  // a list, or a text of letters
    std::string name;
    std::vector<std::string> items;  // as an expression writes them
  };
  void Collect(const JsonValue& object, const std::string& prefix);
  std::vector<const Number*> For(std::string_view path) const;

  std::vector<Number> numbers_;
  std::vector<Sequence> sequences_;
};

}  // namespace ferrule
