// SPDX-License-Identifier: Apache-2.0
// Integer expressions over names of config.json.
//
//   or → and → not → == != < <= > >= in → + - → * / % → unary -, ( ), number, 'text',
//   name (with dots: vision_config.depth), name(index), name(index).name, has(name), size(name);
//   `in` has the name of a list at its right side
//
// No brackets and no braces, so that an expression stands inside YAML's flow style without quotes.
// `/` must divide exactly. A name that is absent or null makes the expression unanswerable, which
// is no error: a list of expressions means the first that can be answered. An index out of range,
// an inexact division, an overflow and a comparison of different kinds are errors. A number with a
// point, such as 2.625, may only be multiplied by an integer that makes it whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule {

struct ExprValue {
  enum class Kind : uint8_t { kInt, kBool, kText, kList, kDecimal };
  Kind kind = Kind::kInt;
  int64_t number = 0;     // kInt; kBool as 0 or 1
  std::string_view text;  // kText; lives as long as the scope that gave it
  double decimal = 0;     // kDecimal
};

// A value where an integer is needed, for messages: "`true`", "the text `a`", "`2.5`".
std::string ValueText(const ExprValue& value);

struct Answer {
  enum class Outcome : uint8_t { kValue, kUnanswerable, kError };
  Outcome outcome = Outcome::kValue;
  ExprValue value;
  std::string why;  // of an error; of an unanswerable one the name that is missing

  static Answer Int(int64_t n) { return {Outcome::kValue, {ExprValue::Kind::kInt, n, {}, 0}, {}}; }
  static Answer Bool(bool b) { return {Outcome::kValue, {ExprValue::Kind::kBool, b, {}, 0}, {}}; }
  static Answer Text(std::string_view t) {
    return {Outcome::kValue, {ExprValue::Kind::kText, 0, t, 0}, {}};
  }
  static Answer Decimal(double d) {
    return {Outcome::kValue, {ExprValue::Kind::kDecimal, 0, {}, d}, {}};
  }
  static Answer Missing(std::string_view name) {
    return {Outcome::kUnanswerable, {}, std::string(name)};
  }
  static Answer Fail(std::string why) { return {Outcome::kError, {}, std::move(why)}; }
  bool ok() const { return outcome == Outcome::kValue; }
};

// Where names get their values.
class Scope {
 public:
  virtual ~Scope() = default;
  virtual Answer Lookup(std::string_view name) const = 0;
  // Item of a list, or letter of a text; with `field`, a dotted name below an item that is an
  // object.
  virtual Answer Index(std::string_view name, int64_t index, std::string_view field) const = 0;
  // Number of items or letters.
  virtual Answer Size(std::string_view name) const = 0;
  // Whether the list of this name has an item that equals `value`.
  virtual Answer Contains(std::string_view name, const ExprValue& value) const = 0;
  virtual bool Has(std::string_view name) const = 0;
};

class Expr {
 public:
  // On failure `error` says why and `column` (from 0, in bytes) where.
  static std::optional<Expr> Parse(std::string_view text, std::string* error, int* column);

  Answer Evaluate(const Scope& scope) const { return Evaluate(scope, root_); }
  const std::string& text() const { return text_; }
  size_t size() const { return nodes_.size(); }  // terms and operators
  // Every name read, `has(name)` included; of `name(index).name` the first.
  std::vector<std::string> Names() const;
  bool Uses(std::string_view name) const;
  // The names whose values it takes, and not only their items, size or presence.
  std::vector<std::string> Values() const;
  // Whether `has(name)` stands in it, so that it can be answered without `name`.
  bool Guards(std::string_view name) const;

 private:
  friend class ExprParser;
  enum class Op : uint8_t {
    kNumber,
    kText,
    kName,
    kIndex,
    kHas,
    kSize,
    kNegate,
    kNot,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kRemainder,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kIn,
    kAnd,
    kOr,
  };
  struct Node {
    Op op;
    int left = -1, right = -1;
    int64_t number = 0;
    std::string name, field;  // `field` of kIndex
  };
  static bool ReadsName(Op op) {
    return op == Op::kName || op == Op::kIndex || op == Op::kHas || op == Op::kSize ||
           op == Op::kIn;
  }
  Answer Times(const ExprValue& a, const ExprValue& b) const;
  Answer Evaluate(const Scope& scope, int at) const;
  Answer Binary(const Scope& scope, const Node& node) const;

  std::string text_;
  std::vector<Node> nodes_;
  int root_ = -1;
};

}  // namespace ferrule
