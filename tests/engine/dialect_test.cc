// SPDX-License-Identifier: Apache-2.0
// What a dialect file is read as. Its mistakes are in tests/bad/dialects.
#include "engine/dialect.h"

#include "tests/catch.h"

using namespace ferrule;

TEST_CASE("a dialect is read with all its keys") {
  Diagnostics out;
  const auto dialect = ParseDialect("d.yaml", R"(ferrule: 1
dialect: d
about: everything
source: made up for a test
claims: {quant_method: [m1, m2]}
list: {keys: [ignore, skip], strip: ['.weight', '.'], patterns: 're:'}
match: [exact, ancestor, last-segments, regex-match, class-name]
groups: {key: config_groups, targets: targets}
accept: {fmt: [e4m3], scale_fmt: ue8m0}
schemes:
  - when: has(block)
    scheme: fp8_block
    block: block
    activation: group
    power_of_two: scale_fmt == 'ue8m0'
    storage:
      weight: {name: weight, dtype: F8_E4M3}
      scale: {name: scale, dtype: [F32, BF16], per: block, optional: true}
      input: {name: input_scale, dtype: F32, per: tensor}
  - {scheme: nvfp4}
)",
                                    &out);
  INFO(ToHuman(out, false));
  REQUIRE(dialect);
  CHECK(out.findings().empty());
  CHECK(dialect->name == "d");
  CHECK(dialect->quant_methods == std::vector<std::string>{"m1", "m2"});
  CHECK(dialect->list_keys == std::vector<std::string>{"ignore", "skip"});
  CHECK(dialect->strip == std::vector<std::string>{".weight", "."});
  CHECK(dialect->pattern_prefix == "re:");
  CHECK(dialect->match.size() == 5);
  CHECK(PrimitiveName(dialect->match[2]) == "last-segments");
  CHECK(dialect->groups_key == "config_groups");
  CHECK(dialect->targets_key == "targets");
  REQUIRE(dialect->accept.size() == 2);
  CHECK(dialect->accept[1].values == std::vector<std::string>{"ue8m0"});
  REQUIRE(dialect->schemes.size() == 2);
  const SchemeRule& scheme = dialect->schemes[0];
  CHECK(scheme.scheme == "fp8_block");
  CHECK(scheme.when->Text() == "has(block)");
  CHECK(scheme.block_key == "block");
  CHECK(ActivationName(scheme.activation) == "group");
  CHECK(scheme.power_of_two.has_value());
  CHECK(scheme.weight->dtypes == std::vector<DType>{DType::kF8E4M3});
  CHECK(scheme.scale->per == Per::kBlock);
  CHECK(scheme.scale->optional);
  CHECK(scheme.scale->dtypes.size() == 2);
  CHECK(scheme.input->per == Per::kTensor);
  CHECK_FALSE(dialect->schemes[1].when);
  CHECK_FALSE(dialect->schemes[1].weight);
}
