// SPDX-License-Identifier: Apache-2.0
// Dims and conditions of a rule tree, and what is said when they cannot be evaluated.
#include <fmt/format.h>

#include "engine/rules/unit_walker.h"

namespace ferrule {
namespace {

// What one rule file and config.json may unfold to; a real model has a few thousand units.
constexpr int64_t kMaxSteps = 1'000'000;

}  // namespace

void UnitWalker::Fail(Code code, std::string message, const YamlPlace& place, std::string help) {
  failed_ = true;
  if (!reported_.emplace(place.line, place.column).second) return;
  out_->Add(code, std::move(message), file_.At(place))
      .Fact("config", options_.config_at.ToString())
      .Help(std::move(help));
}

bool UnitWalker::Step(size_t steps, const YamlPlace& place) {
  steps_ += static_cast<int64_t>(steps);
  if (steps_ <= kMaxSteps) return true;
  if (!failed_) Fail(Code::kTooLarge, "the rules unfold to more places than a model has", place);
  return false;
}

bool UnitWalker::Value(const Dim& dim, std::string_view what, ExprValue* value) {
  for (const Expr& expr : dim.alternatives)
    if (!Step(1 + expr.size() / 4, dim.place)) return false;
  const Answer answer = scope_.Evaluate(dim);
  if (answer.ok()) {
    *value = answer.value;
    return true;
  }
  if (answer.outcome == Answer::Outcome::kUnanswerable)
    Fail(Code::kConfigLacks,
         fmt::format(
             "`{}` is {}, and {} {}", what, Quoted(dim.Text()),
             indices_.count(answer.why) > 0 ? "the path here has no index" : "config.json has no",
             Quoted(answer.why)),
         dim.place,
         indices_.count(answer.why) > 0
             ? ""
             : "config.json is incomplete or of another model; a key of another name is a further "
               "alternative in a list");
  else
    Fail(Code::kBadExpression, fmt::format("`{}`: {}", what, answer.why), dim.place);
  return false;
}

bool UnitWalker::Size(const Dim& dim, std::string_view what, int64_t* size, int64_t least) {
  ExprValue value;
  if (!Value(dim, what, &value)) return false;
  if (value.kind != ExprValue::Kind::kInt) {
    Fail(Code::kBadExpression,
         fmt::format("`{}` is {}, which is {} and no integer", what, Quoted(dim.Text()),
                     ValueText(value)),
         dim.place);
    return false;
  }
  *size = value.number;
  if (*size >= least && *size <= kMaxSize) return true;
  Fail(Code::kTooLarge,
       fmt::format("`{}` is {} = {}; it must be between {} and 2^40", what, Quoted(dim.Text()),
                   *size, least),
       dim.place, "no model has such a size: mend config.json, or the rule's dims");
  return false;
}

bool UnitWalker::OptionalSize(const std::optional<Dim>& dim, std::string_view what, int64_t* size) {
  return !dim || Size(*dim, what, size);
}

bool UnitWalker::Holds(const std::optional<When>& when) {
  if (!when) return true;
  const auto at = conditions_.find(when->condition);
  if (at == conditions_.end()) return false;  // reported by CheckRuleFile
  ExprValue value;
  if (!Value(*at->second, when->condition, &value)) return false;
  if (value.kind != ExprValue::Kind::kBool) {
    Fail(Code::kBadExpression,
         fmt::format("the condition `{}` is neither true nor false", when->condition),
         at->second->place);
    return false;
  }
  return (value.number != 0) != when->negated;
}

}  // namespace ferrule
