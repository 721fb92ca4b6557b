// SPDX-License-Identifier: Apache-2.0
// Stacks whose rows and columns are exchanged, against headers.
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::string Rules(const std::string& transposed) {
  return R"(ferrule: 1
model_type: tiny_stack
about: stacked experts
unverified: made up for a test
modules:
  experts.up: {stack: 3, rows: 6, in: 4, split: column, suffix: none, transposed: )" +
         transposed + "}\nexample: {}\n";
}

Model Tiny(std::vector<int64_t> shape) {
  Model model;
  model.config["model_type"] = "\"tiny_stack\"";
  model.tensors["experts.up"] = {DType::kBF16, std::move(shape)};
  return model;
}

}  // namespace

TEST_CASE("a transposed stack is stored with rows and columns exchanged") {
  CHECK(PlanUnder(Rules("true"), Tiny({3, 4, 6})).Codes().empty());
  CHECK(PlanUnder(Rules("true"), Tiny({3, 6, 4})).Only(Code::kShapeMismatch).message ==
        "the rule gives `experts.up` the shape [3, 4, 6], the checkpoint stores [3, 6, 4]");
  CHECK(PlanUnder(Rules("false"), Tiny({3, 6, 4})).Codes().empty());
  CHECK(PlanUnder(Rules("false"), Tiny({3, 4, 6})).Codes() == "FR305");
}

TEST_CASE("a stack may be stored either way, and no third") {
  CHECK(PlanUnder(Rules("either"), Tiny({3, 4, 6})).Codes().empty());
  CHECK(PlanUnder(Rules("either"), Tiny({3, 6, 4})).Codes().empty());
  CHECK(PlanUnder(Rules("either"), Tiny({6, 3, 4})).Codes() == "FR305");
}
