// SPDX-License-Identifier: Apache-2.0
#include "engine/text/expr.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "engine/text/source.h"

namespace ferrule {
namespace {

constexpr int kMaxDepth = 32;

bool IsLetter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

// Recursive descent; one function for each level of binding.
class ExprParser {
 public:
  explicit ExprParser(std::string_view text) : text_(text) {}

  bool Run(Expr* expr, std::string* error, int* column) {
    expr_ = expr;
    const int root = Or(0);
    Skip();
    if (root >= 0 && at_ < text_.size())
      Fail(text_[at_] == '=' ? "unexpected `=`; two values are compared with `==`"
                             : "unexpected text after the expression");
    if (!error_.empty()) {
      *error = error_;
      *column = static_cast<int>(error_at_);
      return false;
    }
    expr->text_ = std::string(text_);
    expr->root_ = root;
    return true;
  }

 private:
  using Op = Expr::Op;

  int Fail(std::string why) {
    if (error_.empty()) {
      error_ = std::move(why);
      error_at_ = at_;
    }
    return -1;
  }
  void Skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool Take(std::string_view token) {
    Skip();
    if (text_.substr(at_, token.size()) != token) return false;
    const bool word = IsLetter(token[0]);
    const size_t end = at_ + token.size();
    if (word && end < text_.size() && (IsLetter(text_[end]) || IsDigit(text_[end]))) return false;
    at_ = end;
    return true;
  }
  int Add(Op op, int left, int right, std::string name = {}, int64_t number = 0,
          std::string field = {}) {
    if (expr_->nodes_.size() >= 256) return Fail("more than 256 terms");
    expr_->nodes_.push_back({op, left, right, number, std::move(name), std::move(field)});
    return static_cast<int>(expr_->nodes_.size()) - 1;
  }

  int Or(int depth) {
    if (depth > kMaxDepth) return Fail("more than 32 levels of parentheses");
    int left = And(depth);
    while (left >= 0 && Take("or")) {
      const int right = And(depth);
      if (right < 0) return -1;
      left = Add(Op::kOr, left, right);
    }
    return left;
  }
  int And(int depth) {
    int left = Not(depth);
    while (left >= 0 && Take("and")) {
      const int right = Not(depth);
      if (right < 0) return -1;
      left = Add(Op::kAnd, left, right);
    }
    return left;
  }
  int Not(int depth) {
    if (depth > kMaxDepth) return Fail("more than 32 levels of parentheses");
    if (!Take("not")) return Compare(depth);
    const int operand = Not(depth + 1);
    return operand < 0 ? -1 : Add(Op::kNot, operand, -1);
  }
  int Compare(int depth) {
    const int left = Sum(depth);
    if (left < 0) return -1;
    static constexpr std::pair<std::string_view, Op> kOps[] = {
        {"==", Op::kEqual}, {"!=", Op::kNotEqual},     {"<=", Op::kLessEqual},
        {"<", Op::kLess},   {">=", Op::kGreaterEqual}, {">", Op::kGreater}};
    for (const auto& [token, op] : kOps) {
      if (!Take(token)) continue;
      const int right = Sum(depth);
      return right < 0 ? -1 : Add(op, left, right);
    }
    if (!Take("in")) return left;  // between operands: at the place of one it is a name
    Skip();
    const std::string list(Identifier());
    return list.empty() ? Fail("`in` takes the name of a list") : Add(Op::kIn, left, -1, list);
  }
  int Sum(int depth) {
    int left = Product(depth);
    while (left >= 0) {
      const Op op = Take("+") ? Op::kAdd : Take("-") ? Op::kSubtract : Op::kNumber;
      if (op == Op::kNumber) break;
      const int right = Product(depth);
      if (right < 0) return -1;
      left = Add(op, left, right);
    }
    return left;
  }
  int Product(int depth) {
    int left = Unary(depth);
    while (left >= 0) {
      const Op op = Take("*")   ? Op::kMultiply
                    : Take("/") ? Op::kDivide
                    : Take("%") ? Op::kRemainder
                                : Op::kNumber;
      if (op == Op::kNumber) break;
      const int right = Unary(depth);
      if (right < 0) return -1;
      left = Add(op, left, right);
    }
    return left;
  }
  int Unary(int depth) {
    if (depth > kMaxDepth) return Fail("more than 32 levels of parentheses");
    if (!Take("-")) return Primary(depth);
    const int operand = Unary(depth + 1);
    return operand < 0 ? -1 : Add(Op::kNegate, operand, -1);
  }
  int Primary(int depth) {
    Skip();
    if (at_ >= text_.size()) return Fail("the expression ends too early");
    const char c = text_[at_];
    if (c == '(') {
      ++at_;
      const int inner = Or(depth + 1);
      if (inner < 0) return -1;
      return Take(")") ? inner : Fail("`)` is missing");
    }
    if (IsDigit(c)) return Number();
    if (c == '\'') return Text();
    if (!IsLetter(c)) return Fail(fmt::format("unexpected `{}`", c));
    return Name(depth);
  }
  int Number() {
    size_t end = at_;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    if (end < text_.size() && (IsLetter(text_[end]) || text_[end] == '.'))
      return Fail("numbers are decimal integers");
    if (end - at_ > 1 && text_[at_] == '0') return Fail("a number with a leading zero");
    int64_t number = 0;
    const auto read = std::from_chars(text_.data() + at_, text_.data() + end, number);
    if (read.ec != std::errc()) return Fail("a number above 2^63 - 1");
    at_ = end;
    return Add(Op::kNumber, -1, -1, {}, number);
  }
  int Text() {
    const size_t end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos) return Fail("a quote is never closed");
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return Add(Op::kText, -1, -1, std::move(value));
  }
  std::string_view Identifier() {
    const size_t begin = at_;
    if (at_ < text_.size() && !IsLetter(text_[at_])) return {};
    while (at_ < text_.size() &&
           (IsLetter(text_[at_]) || IsDigit(text_[at_]) ||
            (text_[at_] == '.' && at_ + 1 < text_.size() && IsLetter(text_[at_ + 1]))))
      ++at_;
    return text_.substr(begin, at_ - begin);
  }
  int Name(int depth) {
    const std::string name(Identifier());
    for (const char* word : {"and", "or", "not"})
      if (name == word) return Fail(fmt::format("unexpected `{}`", word));
    if (!Take("(")) return Add(Op::kName, -1, -1, name);
    if (name == "has" || name == "size") {
      Skip();
      const std::string inner(Identifier());
      if (inner.empty() || !Take(")")) return Fail(name + "() takes one name");
      return Add(name == "has" ? Op::kHas : Op::kSize, -1, -1, inner);
    }
    const int index = Or(depth + 1);
    if (index < 0) return -1;
    if (!Take(")")) return Fail("`)` is missing");
    std::string field;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      field = std::string(Identifier());
      if (field.empty()) return Fail("a name is missing after the dot");
    }
    return Add(Op::kIndex, index, -1, name, 0, std::move(field));
  }

  std::string_view text_;
  size_t at_ = 0;
  Expr* expr_ = nullptr;
  std::string error_;
  size_t error_at_ = 0;
};

std::optional<Expr> Expr::Parse(std::string_view text, std::string* error, int* column) {
  Expr expr;
  if (!ExprParser(text).Run(&expr, error, column)) return std::nullopt;
  return expr;
}

std::vector<std::string> Expr::Names() const {
  std::vector<std::string> names;
  for (const Node& node : nodes_)
    if (ReadsName(node.op)) names.push_back(node.name);
  return names;
}

std::vector<std::string> Expr::Values() const {
  std::vector<std::string> names;
  for (const Node& node : nodes_)
    if (node.op == Op::kName) names.push_back(node.name);
  return names;
}

bool Expr::Uses(std::string_view name) const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [&](const Node& node) { return ReadsName(node.op) && node.name == name; });
}

bool Expr::Guards(std::string_view name) const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [&](const Node& node) { return node.op == Op::kHas && node.name == name; });
}

Answer Expr::Evaluate(const Scope& scope, int at) const {
  const Node& node = nodes_[static_cast<size_t>(at)];
  switch (node.op) {
    case Op::kNumber:
      return Answer::Int(node.number);
    case Op::kText:
      return Answer::Text(node.name);
    case Op::kName:
      return scope.Lookup(node.name);
    case Op::kHas:
      return Answer::Bool(scope.Has(node.name));
    case Op::kIndex: {
      const Answer index = Evaluate(scope, node.left);
      if (!index.ok()) return index;
      if (index.value.kind != ExprValue::Kind::kInt)
        return Answer::Fail(fmt::format("the index of `{}` is not an integer", node.name));
      return scope.Index(node.name, index.value.number, node.field);
    }
    case Op::kSize:
      return scope.Size(node.name);
    case Op::kIn: {
      const Answer item = Evaluate(scope, node.left);
      return item.ok() ? scope.Contains(node.name, item.value) : item;
    }
    case Op::kNot: {
      Answer operand = Evaluate(scope, node.left);
      if (!operand.ok()) return operand;
      if (operand.value.kind != ExprValue::Kind::kBool)
        return Answer::Fail(fmt::format("`not` needs true or false in `{}`", text_));
      return Answer::Bool(operand.value.number == 0);
    }
    case Op::kNegate: {
      Answer operand = Evaluate(scope, node.left);
      if (!operand.ok()) return operand;
      int64_t result = 0;
      if (operand.value.kind != ExprValue::Kind::kInt ||
          __builtin_sub_overflow(int64_t{0}, operand.value.number, &result))
        return Answer::Fail(fmt::format("`-` needs an integer in `{}`", text_));
      return Answer::Int(result);
    }
    default:
      return Binary(scope, node);
  }
}

// A decimal times an integer: the whole number that divided by the integer is that decimal again.
Answer Expr::Times(const ExprValue& a, const ExprValue& b) const {
  const bool left = a.kind == ExprValue::Kind::kDecimal;
  const ExprValue& other = left ? b : a;
  if (other.kind != ExprValue::Kind::kInt)
    return Answer::Fail(fmt::format("`{}` needs integers", text_));
  const double decimal = left ? a.decimal : b.decimal;
  const auto factor = static_cast<double>(other.number);
  const double product = std::nearbyint(decimal * factor);
  if (other.number == 0) return Answer::Int(0);
  if (std::abs(product) <= 9007199254740992.0 && product / factor == decimal)
    return Answer::Int(static_cast<int64_t>(product));
  return Answer::Fail(fmt::format("{} * {} is not whole in `{}`", decimal, other.number, text_));
}

Answer Expr::Binary(const Scope& scope, const Node& node) const {
  using Kind = ExprValue::Kind;
  const Answer left = Evaluate(scope, node.left);
  if (!left.ok()) return left;
  if (node.op == Op::kAnd || node.op == Op::kOr) {
    if (left.value.kind != Kind::kBool)
      return Answer::Fail(fmt::format("`and` and `or` need true or false in `{}`", text_));
    if ((left.value.number != 0) == (node.op == Op::kOr)) return left;
    const Answer right = Evaluate(scope, node.right);
    if (right.ok() && right.value.kind != Kind::kBool)
      return Answer::Fail(fmt::format("`and` and `or` need true or false in `{}`", text_));
    return right;
  }
  const Answer right = Evaluate(scope, node.right);
  if (!right.ok()) return right;
  const ExprValue &a = left.value, &b = right.value;
  if (node.op == Op::kEqual || node.op == Op::kNotEqual) {
    if (a.kind != b.kind || a.kind == Kind::kList || a.kind == Kind::kDecimal)
      return Answer::Fail(fmt::format("two values of different kinds compared in `{}`", text_));
    const bool equal = a.kind == Kind::kText ? a.text == b.text : a.number == b.number;
    return Answer::Bool(equal == (node.op == Op::kEqual));
  }
  if (node.op == Op::kMultiply && (a.kind == Kind::kDecimal || b.kind == Kind::kDecimal))
    return Times(a, b);
  if (a.kind != Kind::kInt || b.kind != Kind::kInt)
    return Answer::Fail(fmt::format("`{}` needs integers", text_));
  int64_t result = 0;
  bool overflow = false;
  switch (node.op) {
    case Op::kAdd:
      overflow = __builtin_add_overflow(a.number, b.number, &result);
      break;
    case Op::kSubtract:
      overflow = __builtin_sub_overflow(a.number, b.number, &result);
      break;
    case Op::kMultiply:
      overflow = __builtin_mul_overflow(a.number, b.number, &result);
      break;
    case Op::kDivide:
      if (b.number <= 0)
        return Answer::Fail(fmt::format("division by {} in `{}`", b.number, text_));
      if (a.number % b.number != 0)
        return Answer::Fail(
            fmt::format("{} / {} does not divide exactly in `{}`", a.number, b.number, text_));
      return Answer::Int(a.number / b.number);
    case Op::kRemainder:
      if (b.number <= 0 || a.number < 0)
        return Answer::Fail(fmt::format("{} % {} in `{}`", a.number, b.number, text_));
      return Answer::Int(a.number % b.number);
    case Op::kLess:
      return Answer::Bool(a.number < b.number);
    case Op::kLessEqual:
      return Answer::Bool(a.number <= b.number);
    case Op::kGreater:
      return Answer::Bool(a.number > b.number);
    default:
      return Answer::Bool(a.number >= b.number);
  }
  if (overflow) return Answer::Fail(fmt::format("an overflow in `{}`", text_));
  return Answer::Int(result);
}

std::string ValueText(const ExprValue& value) {
  switch (value.kind) {
    case ExprValue::Kind::kInt:
      return fmt::format("`{}`", value.number);
    case ExprValue::Kind::kBool:
      return value.number != 0 ? "`true`" : "`false`";
    case ExprValue::Kind::kText:
      return "the text " + Quoted(value.text, 60);
    case ExprValue::Kind::kDecimal:
      return fmt::format("`{:#}`", value.decimal);
    case ExprValue::Kind::kList:
      break;
  }
  return "a list";
}

}  // namespace ferrule
