// SPDX-License-Identifier: Apache-2.0
#include "engine/text/expr.h"

#include "tests/catch.h"

using namespace ferrule;

namespace {

class Example : public Scope {
 public:
  Answer Lookup(std::string_view name) const override {
    if (name == "a") return Answer::Int(7);
    if (name == "v.depth") return Answer::Int(27);
    if (name == "big") return Answer::Int(INT64_MAX);
    if (name == "yes") return Answer::Bool(true);
    if (name == "word") return Answer::Text("static");
    if (name == "wide") return Answer::Decimal(2.625);
    if (name == "ratio") return Answer::Decimal(1.95);
    return Answer::Missing(name);
  }
  Answer Index(std::string_view name, int64_t index, std::string_view field) const override {
    if (name == "fields") return Answer::Text(field);
    if (name != "list") return Answer::Missing(name);
    if (index < 0 || index > 1) return Answer::Fail("index 2 of `list` is out of range");
    return Answer::Text(index == 0 ? "full" : "linear");
  }
  Answer Size(std::string_view name) const override {
    return name == "list" ? Answer::Int(2) : Answer::Missing(name);
  }
  Answer Contains(std::string_view name, const ExprValue& value) const override {
    if (name != "odd") return Answer::Missing(name);
    if (value.kind != ExprValue::Kind::kInt) return Answer::Fail("texts are not in `odd`");
    return Answer::Bool(value.number % 2 == 1);
  }
  bool Has(std::string_view name) const override { return name == "a"; }
};

// The value as text, "? name" when unanswerable, "! why" on an error or "col: why" when unreadable.
std::string Value(std::string_view text) {
  std::string error;
  int column = 0;
  const auto expr = Expr::Parse(text, &error, &column);
  if (!expr) return std::to_string(column) + ": " + error;
  const Answer answer = expr->Evaluate(Example());
  if (answer.outcome == Answer::Outcome::kUnanswerable) return "? " + answer.why;
  if (!answer.ok()) return "! " + answer.why;
  if (answer.value.kind == ExprValue::Kind::kText) return std::string(answer.value.text);
  if (answer.value.kind == ExprValue::Kind::kBool) return answer.value.number ? "true" : "false";
  return std::to_string(answer.value.number);
}

}  // namespace

TEST_CASE("expressions have the usual precedence") {
  CHECK(Value("1 + 2 * 3") == "7");
  CHECK(Value("(1 + 2) * 3 - -1") == "10");
  CHECK(Value("(a + 1) % 4 != 0 and not yes or has(a)") == "true");
  CHECK(Value("v.depth / 3 * a") == "63");
  CHECK(Value("10 - 3 - 2") == "5");
  CHECK(Value("list(a - 6) == 'linear'") == "true");
  CHECK(Value("word == 'static'") == "true");
  CHECK(Value("has(b)") == "false");
  CHECK(Value("notes") == "? notes");
}

TEST_CASE("`in` is an operator between operands and a name elsewhere") {
  CHECK(Value("a in odd") == "true");
  CHECK(Value("a + 1 in odd") == "false");
  CHECK(Value("not a + 1 in odd and yes") == "true");
  CHECK(Value("a in nolist") == "? nolist");
  CHECK(Value("b in odd") == "? b");
  CHECK(Value("word in odd") == "! texts are not in `odd`");
  CHECK(Value("in * 2") == "? in");
  CHECK(Value("a in 3") == "5: `in` takes the name of a list");
  CHECK(Value("a in") == "4: `in` takes the name of a list");
  CHECK(Value("a inner") == "2: unexpected text after the expression");
  CHECK(Value("a in odd in odd") == "9: unexpected text after the expression");
}

TEST_CASE("what config.json does not say is unanswerable, not an error") {
  CHECK(Value("b + 1") == "? b");
  CHECK(Value("nolist(0) == 'x'") == "? nolist");
  CHECK(Value("yes or b") == "true");
  CHECK(Value("has(b) and b > 1") == "false");
}

TEST_CASE("lists have a size, and their items keys") {
  CHECK(Value("size(list) + 1") == "3");
  CHECK(Value("size(nolist)") == "? nolist");
  CHECK(Value("fields(0).a.b") == "a.b");
  CHECK(Value("fields(0).a.b == 'a.b' and yes") == "true");
}

TEST_CASE("a number with a point becomes whole by an integer, or nothing") {
  CHECK(Value("wide * 8") == "21");
  CHECK(Value("2 * wide * 8192") == "! 2.625 * 2 is not whole in `2 * wide * 8192`");
  CHECK(Value("8 * wide * 8192 / 4") == "43008");
  CHECK(Value("ratio * 100") == "195");
  CHECK(Value("ratio * 1000000") == "1950000");
  CHECK(Value("ratio * 0") == "0");
  CHECK(Value("ratio * -20") == "-39");
  CHECK(Value("ratio * 10") == "! 1.95 * 10 is not whole in `ratio * 10`");
  CHECK(Value("ratio * big") == "! 1.95 * 9223372036854775807 is not whole in `ratio * big`");
  CHECK(Value("ratio * ratio") == "! `ratio * ratio` needs integers");
  CHECK(Value("ratio + 1") == "! `ratio + 1` needs integers");
  CHECK(Value("ratio < 2") == "! `ratio < 2` needs integers");
  CHECK(Value("-ratio") == "! `-` needs an integer in `-ratio`");
  CHECK(Value("ratio == ratio") == "! two values of different kinds compared in `ratio == ratio`");
}

TEST_CASE("wrong arithmetic is an error and never rounds") {
  CHECK(Value("a / 2") == "! 7 / 2 does not divide exactly in `a / 2`");
  CHECK(Value("a / 0") == "! division by 0 in `a / 0`");
  CHECK(Value("a % 0") == "! 7 % 0 in `a % 0`");
  CHECK(Value("big + 1") == "! an overflow in `big + 1`");
  CHECK(Value("big * 2") == "! an overflow in `big * 2`");
  CHECK(Value("0 - big - 2") == "! an overflow in `0 - big - 2`");
  CHECK(Value("word + 1") == "! `word + 1` needs integers");
  CHECK(Value("word == 1") == "! two values of different kinds compared in `word == 1`");
  CHECK(Value("a and yes") == "! `and` and `or` need true or false in `a and yes`");
  CHECK(Value("not a") == "! `not` needs true or false in `not a`");
  CHECK(Value("list(2) == 'x'") == "! index 2 of `list` is out of range");
  CHECK(Value("list(word)") == "! the index of `list` is not an integer");
}

TEST_CASE("what cannot be read says where") {
  CHECK(Value("") == "0: the expression ends too early");
  CHECK(Value("a +") == "3: the expression ends too early");
  CHECK(Value("a b") == "2: unexpected text after the expression");
  CHECK(Value("[a]") == "0: unexpected `[`");
  CHECK(Value("(a") == "2: `)` is missing");
  CHECK(Value("has(1)") == "4: has() takes one name");
  CHECK(Value("size(1)") == "5: size() takes one name");
  CHECK(Value("list(0).") == "8: a name is missing after the dot");
  CHECK(Value("list(0).1") == "8: a name is missing after the dot");
  CHECK(Value("010") == "0: a number with a leading zero");
  CHECK(Value("1.5") == "0: numbers are decimal integers");
  CHECK(Value("'x") == "0: a quote is never closed");
  CHECK(Value("9223372036854775808") == "0: a number above 2^63 - 1");
  CHECK(Value(std::string(100, '(') + "a") == "33: more than 32 levels of parentheses");
  CHECK(Value(std::string(100, '-') + "a") == "33: more than 32 levels of parentheses");
}
