// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/stored_shape.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/checkpoint/model_config.h"

namespace ferrule {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Columns with one scale are `group`; without groups a row has one.
class SizeScope : public ConfigScope {
 public:
  SizeScope(const Unit& unit, const Scheme& scheme)
      : rows_(unit.rows),
        in_(unit.in),
        bits_(scheme.bits),
        group_(scheme.group > 0 ? scheme.group : unit.in) {}

  Answer Lookup(std::string_view name) const override {
    if (name == "rows") return Answer::Int(rows_);
    if (name == "in") return Answer::Int(in_);
    if (name == "group") return Answer::Int(group_);
    if (name == "groups") return Answer::Int(CeilDiv(in_, group_));
    if (name == "bits" && bits_ > 0) return Answer::Int(bits_);
    return Answer::Missing(name);
  }
  bool Has(std::string_view name) const override { return Lookup(name).ok(); }

 private:
  int64_t rows_, in_, bits_, group_;
};

ExpectedShape Written(const Unit& unit, const Scheme& scheme, const StorageRule& rule) {
  const SizeScope scope(unit, scheme);
  ExpectedShape expected;
  std::vector<int64_t> shape;
  for (const Expr& expr : rule.shape) {
    const Answer answer = expr.Evaluate(scope);
    if (!answer.ok() || answer.value.kind != ExprValue::Kind::kInt) {
      expected.why = answer.ok() ? fmt::format("`{}` is no number", expr.text())
                                 : fmt::format("`{}`: {}", expr.text(), answer.why);
      return expected;
    }
    shape.push_back(answer.value.number);
  }
  expected.any_of.push_back(std::move(shape));
  return expected;
}

}  // namespace

bool ExpectedShape::Fits(std::span<const int64_t> shape) const {
  return unknown || std::any_of(any_of.begin(), any_of.end(), [&](const auto& one) {
           return std::equal(shape.begin(), shape.end(), one.begin(), one.end());
         });
}

ExpectedShape PlainShape(const Unit& unit) {
  std::vector<int64_t> straight = {unit.rows, unit.in}, turned = {unit.in, unit.rows};
  if (unit.stack > 0)
    for (std::vector<int64_t>* shape : {&straight, &turned})
      shape->insert(shape->begin(), unit.stack);
  ExpectedShape expected;
  expected.any_of.push_back(unit.node->transposed ? turned : straight);
  if (unit.node->transposed_either) expected.any_of.push_back(straight);
  return expected;
}

ExpectedShape ShapeOf(const Unit& unit, const Scheme& scheme, const StorageRule& rule) {
  ExpectedShape expected;
  switch (rule.per) {
    case Per::kAny:
      expected.unknown = true;
      return expected;
    case Per::kPlain:
      return PlainShape(unit);
    case Per::kTensor:
      expected.any_of = {{1}, {}};
      break;
    case Per::kRow:
      expected.any_of = {{unit.rows, 1}, {unit.rows}};
      break;
    case Per::kBlock: {
      const int64_t groups = unit.node->scales_per_group ? unit.groups : 1;
      expected.any_of = {
          {groups * CeilDiv(unit.rows / groups, scheme.block_n), CeilDiv(unit.in, scheme.block_k)}};
      break;
    }
    case Per::kShape:
      expected = Written(unit, scheme, rule);
      break;
  }
  if (unit.stack == 0) return expected;
  for (std::vector<int64_t>& shape : expected.any_of) shape.insert(shape.begin(), unit.stack);
  // One for all experts together is one for each as well.
  if (rule.per == Per::kTensor) expected.any_of.insert(expected.any_of.end(), {{1}, {}});
  return expected;
}

std::string ShapeWords(const Scheme& scheme, const StorageRule& rule) {
  switch (rule.per) {
    case Per::kTensor:
      return "one for the tensor";
    case Per::kRow:
      return "one for each row";
    case Per::kBlock:
      return fmt::format("one for each {} x {} block", scheme.block_n, scheme.block_k);
    default:
      break;
  }
  std::vector<std::string> texts;
  for (const Expr& expr : rule.shape) texts.push_back(expr.text());
  std::string words = fmt::format("[{}]", fmt::join(texts, ", "));
  if (scheme.bits > 0) words += fmt::format(", {} bits", scheme.bits);
  if (scheme.group > 0) words += fmt::format(", groups of {}", scheme.group);
  return words;
}

}  // namespace ferrule
