// SPDX-License-Identifier: Apache-2.0
// Models for tests: the rules of the source tree, header fixtures, and checkpoints in memory that
// start as a copy of one and are then changed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/plan/plan.h"

namespace ferrule::test {

std::string FixturePath(std::string_view name);
// Names of all fixtures that hold this file, at any depth, sorted.
std::vector<std::string> FixturesWith(std::string_view file);

// All rules and dialects of the source tree.
const Book& SourceBook();
std::shared_ptr<const Dialect> DialectNamed(std::string_view name);
// A rule file of the source tree with texts replaced; each `from` must occur.
std::string RuleText(std::string_view file,
                     const std::vector<std::pair<std::string, std::string>>& replace = {});
// The book with one more rule file, which wins over those of the source tree.
Book BookWith(const std::string& rule_text);

JsonValue Json(const std::string& text);

// A list as JSON text.
std::string JsonList(const std::vector<std::string>& texts);
// A quantization_config of method fp8 with 128 x 128 blocks and this list.
std::string Fp8(const std::vector<std::string>& list);
// One of method compressed-tensors, FP8 with one scale for each row, for all linears.
std::string Channel(const std::vector<std::string>& ignore);

struct StoredTensor {
  DType dtype = DType::kBF16;
  std::vector<int64_t> shape;
};

// A checkpoint that can be changed.
struct Model {
  std::map<std::string, std::string> config;  // top-level keys → JSON text
  std::map<std::string, StoredTensor> tensors;
  bool headers = true;

  static Model Of(std::string_view fixture);

  // The same tensor under another name.
  void Move(const std::string& from, const std::string& to);
  std::shared_ptr<const Checkpoint> Build() const;
};

struct Planned {
  Diagnostics out;
  std::optional<Plan> plan;

  std::vector<const Finding*> All(Code code) const;
  // The finding of this code; the test fails when there is not exactly one.
  const Finding& Only(Code code) const;
  // Codes of errors and warnings in ascending order, "FR301 FR304", each once.
  std::string Codes() const;
  const Module& At(std::string_view path) const;
  // Name of the scheme that a module runs as; "absent", "none" when it is not decided, "?" unknown.
  std::string Scheme(std::string_view path) const;
};

Planned PlanOf(const Model& model, int tp = 1);
Planned PlanOf(const Book& book, const Model& model, int tp = 1);
// Under rules that need not be sound.
Planned PlanUnder(const std::string& rule_text, const Model& model, int tp = 1);
Planned PlanOfFixture(std::string_view name, int tp = 1);

// The text of a fact; "" when there is none of that key.
std::string FactOf(const Finding& finding, std::string_view key);

}  // namespace ferrule::test
