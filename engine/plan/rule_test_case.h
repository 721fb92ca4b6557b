// SPDX-License-Identifier: Apache-2.0
// One test of a rule file as written: YAML → RuleTest. Used by rule_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/plan/book.h"

namespace ferrule {

using Sizes = std::vector<int64_t>;

struct ExpectedModule {
  std::string path;
  YamlPlace place;
  std::optional<std::string> scheme, kind;
  std::optional<Sizes> shape;
  std::vector<Sizes> per_rank;  // one for all ranks, or one for each
  std::optional<std::vector<std::string>> parts;
  std::optional<Code> error, note;
  bool absent = false;
};

struct ExpectedDead {
  std::string entry;
  std::string nearest;  // empty: none
};

struct RuleTest {
  YamlPlace place;
  std::string it;
  int tp = 1;
  JsonValue config;               // example, overrides, model_type
  JsonValue quantization_config;  // missing: not quantized
  std::vector<ExpectedModule> expect;
  std::vector<ExpectedDead> dead;
};

// False with findings in `out` when the test is malformed; `it` is set whenever it could be read.
bool ParseRuleTest(const Book& book, const RuleFile& file, const YamlNode& node, RuleTest* test,
                   Diagnostics* out);

}  // namespace ferrule
