// SPDX-License-Identifier: Apache-2.0
// The place in a rule tree that is being evaluated, and where its expressions get their values.
// Used by units.cc.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/rules/rule_file.h"

namespace ferrule {

struct Where {
  std::string path;
  std::vector<int32_t> numbers;
  std::vector<std::string> index;
  int range = -1;
  int32_t count = 1;
  int32_t container = -1;
  Quantize quantize = Quantize::kDefault;
  std::string_view as;
  bool assumed = false;
  bool draft = false;    // below a subtree with `draft: true`
  bool missing = false;  // below an optional subtree that is not stored
};

// Names bound on the way down, then dims of the rule file, then config.json.
class TreeScope : public Scope {
 public:
  TreeScope(const RuleFile& file, const ConfigScope& config) : config_(config) {
    for (const auto& [name, dim] : file.dims) dims_.emplace(name, &dim);
  }

  void Push(std::string_view name, int64_t value) {
    local_.emplace_back(name, value);
    local_values_.clear();
  }
  void Pop(size_t size) {
    local_.resize(size);
    local_values_.clear();
  }
  size_t size() const { return local_.size(); }

  Answer Evaluate(const Dim& dim) const {
    Answer first;
    for (const Expr& expr : dim.alternatives) {
      Answer answer = expr.Evaluate(*this);
      if (answer.outcome != Answer::Outcome::kUnanswerable) return answer;
      if (first.ok()) first = std::move(answer);
    }
    return first;
  }

  Answer Lookup(std::string_view name) const override {
    for (size_t i = local_.size(); i-- > 0;)
      if (local_[i].first == name) {
        used_local_ = true;
        return Answer::Int(local_[i].second);
      }
    const auto dim = dims_.find(name);
    if (dim == dims_.end()) return config_.Lookup(name);
    const auto known = values_.find(name);
    if (known != values_.end()) return known->second;
    const auto here = local_values_.find(name);
    if (here != local_values_.end()) {
      used_local_ = true;
      return here->second;
    }
    if (depth_ >= 32) return Answer::Fail(fmt::format("the dim `{}` refers to itself", name));
    const bool before = used_local_;
    used_local_ = false;
    ++depth_;
    Answer answer = Evaluate(*dim->second);
    --depth_;
    // A dim that asks for no `with` has one value for the whole model.
    (used_local_ ? local_values_ : values_).emplace(name, answer);
    used_local_ = used_local_ || before;
    return answer;
  }
  Answer Index(std::string_view name, int64_t index, std::string_view field) const override {
    return config_.Index(name, index, field);
  }
  Answer Size(std::string_view name) const override { return config_.Size(name); }
  Answer Contains(std::string_view name, const ExprValue& value) const override {
    return config_.Contains(name, value);
  }
  bool Has(std::string_view name) const override { return config_.Has(name); }

 private:
  const ConfigScope& config_;
  std::unordered_map<std::string_view, const Dim*> dims_;
  std::vector<std::pair<std::string_view, int64_t>> local_;
  mutable std::unordered_map<std::string_view, Answer> values_, local_values_;
  mutable int depth_ = 0;
  mutable bool used_local_ = false;
};

}  // namespace ferrule
