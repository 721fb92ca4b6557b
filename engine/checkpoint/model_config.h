// SPDX-License-Identifier: Apache-2.0
// config.json as a place where expressions get their values.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/expr.h"
#include "engine/text/json.h"

namespace ferrule {

// Names are looked up in `section` first, then in the whole document. Dots descend into objects.
// null and absent are the same. Booleans and whole numbers keep their kind; other numbers are
// decimals; lists, objects and null are unanswerable or an error of the expression that uses them.
class ConfigScope : public Scope {
 public:
  ConfigScope() = default;
  ConfigScope(JsonValue root, JsonValue section)
      : root_(std::move(root)), section_(std::move(section)) {}

  Answer Lookup(std::string_view name) const override;
  Answer Index(std::string_view name, int64_t index, std::string_view field) const override;
  Answer Size(std::string_view name) const override;
  Answer Contains(std::string_view name, const ExprValue& value) const override;
  bool Has(std::string_view name) const override;

  // The value of a dotted name, missing when there is none or it is null.
  JsonValue Value(std::string_view name) const;

 private:
  JsonValue root_, section_;
};

}  // namespace ferrule
