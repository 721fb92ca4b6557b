// SPDX-License-Identifier: Apache-2.0
// Integer expressions over names of config.json.
//
//   or → and → not → == != < <= > >= → + - → * / % → unary -, ( ), number, 'text',
//   name (with dots: vision_config.depth), name(index), has(name)
//
// No brackets and no braces, so that an expression stands inside YAML's flow style without quotes.
// `/` must divide exactly. A name that is absent or null makes the expression unanswerable, which
// is no error: a list of expressions means the first that can be answered. An index out of range,
// an inexact division, an overflow and a comparison of different kinds are errors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule {

struct ExprValue {
  enum class Kind : uint8_t { kInt, kBool, kText, kList };
  Kind kind = Kind::kInt;
  int64_t number = 0;     // kInt; kBool as 0 or 1
  std::string_view text;  // kText; lives as long as the scope that gave it
};

struct Answer {
  enum class Outcome : uint8_t { kValue, kUnanswerable, kError };
  Outcome outcome = Outcome::kValue;
  ExprValue value;
  std::string why;  // of an error; of an unanswerable one the name that is missing

  static Answer Int(int64_t n) { return {Outcome::kValue, {ExprValue::Kind::kInt, n, {}}, {}}; }
  static Answer Bool(bool b) { return {Outcome::kValue, {ExprValue::Kind::kBool, b, {}}, {}}; }
  static Answer Text(std::string_view t) {
    return {Outcome::kValue, {ExprValue::Kind::kText, 0, t}, {}};
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
  // Item of a list, or letter of a text.
  virtual Answer Index(std::string_view name, int64_t index) const = 0;
  virtual bool Has(std::string_view name) const = 0;
};

class Expr {
 public:
  // On failure `error` says why and `column` (from 0, in bytes) where.
  static std::optional<Expr> Parse(std::string_view text, std::string* error, int* column);

  Answer Evaluate(const Scope& scope) const { return Evaluate(scope, root_); }
  const std::string& text() const { return text_; }
  size_t size() const { return nodes_.size(); }  // terms and operators
  // Every name read, `has(name)` included.
  std::vector<std::string> Names() const;
  bool Uses(std::string_view name) const;
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
    kAnd,
    kOr,
  };
  struct Node {
    Op op;
    int left = -1, right = -1;
    int64_t number = 0;
    std::string name;
  };
  Answer Evaluate(const Scope& scope, int at) const;
  Answer Binary(const Scope& scope, const Node& node) const;

  std::string text_;
  std::vector<Node> nodes_;
  int root_ = -1;
};

}  // namespace ferrule
