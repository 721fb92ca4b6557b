// SPDX-License-Identifier: Apache-2.0
// The mistake that this project began with, against the real listings: `in_proj_ba` of
// Qwen3-Next-80B-A3B-Instruct-FP8 taken for a name that an engine makes up (sglang #23467, mended
// by #23973), and Qwen3.5's parts taken for one tensor.
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

const char* const kUnified =
    "in_proj_ba: {unified: {b: v_per_k, a: v_per_k}, per: k_heads, in: hidden, split: column}";
const char* const kFused = "in_proj_ba: {fused: [in_proj_b, in_proj_a]}";
const char* const kParts =
    "\n        in_proj_b: {rows: 1, per: v_heads, in: hidden, split: column}"
    "\n        in_proj_a: {rows: 1, per: v_heads, in: hidden, split: column}";

// 48 layers, every fourth of full attention: 36 of DeltaNet, each with one stored in_proj_ba.
constexpr int64_t kLayers = 36;

void CheckSeed(const Finding& finding) {
  CHECK(finding.message ==
        "`in_proj_ba` is declared fused, but the checkpoint stores it as a real tensor");
  CHECK(FactOf(finding, "found")
            .find("36 real tensors, e.g. model.layers.0.linear_attn."
                  "in_proj_ba.weight BF16 [64, 2048] in ") == 0);
  CHECK(FactOf(finding, "effect") ==
        "an engine that goes by this asks the list for `in_proj_b`, `in_proj_a`, which it does not "
        "name: 36 modules stored in BF16 would run in FP8");
  CHECK(FactOf(finding, "then") ==
        "64 stored rows / 2 parts = 32; tp 1: 32 rows per part, 32 % 128 = 32; tp 2: 16 rows per "
        "part, 16 % 128 = 16; tp 4: 8 rows per part, 8 % 128 = 8; tp 8: 4 rows per part, 4 % 128 = "
        "4: refused by engines that check whole blocks");
  CHECK(finding.help ==
        "declare `in_proj_ba` as unified, with its slices, and remove `in_proj_b`, `in_proj_a`");
  REQUIRE(finding.labels.size() == 2);
  for (const Label& label : finding.labels) CHECK(label.text == "0 tensors");
}

}  // namespace

TEST_CASE("the right rules: in_proj_ba is real, listed and BF16 in all 36 layers") {
  const Planned planned = PlanOfFixture("qwen3_next_80b_fp8", 4);
  CHECK_FALSE(planned.out.has_errors());
  int64_t bf16 = 0;
  for (int layer = 0; layer < 48; ++layer) {
    const std::string path = "model.layers." + std::to_string(layer) + ".linear_attn.in_proj_ba";
    bf16 += planned.Scheme(path) == "bf16" ? 1 : 0;
  }
  CHECK(bf16 == kLayers);
}

TEST_CASE("in_proj_ba declared fused, its parts declared too, is refused with the consequence") {
  const Model model = Model::Of("qwen3_next_80b_fp8");
  const std::string rules = RuleText("qwen3_next.yaml", {{kUnified, std::string(kFused) + kParts}});
  const Planned planned = PlanUnder(rules, model, 4);
  CHECK(planned.Codes() == "FR301");
  CheckSeed(planned.Only(Code::kRealDeclaredFused));
  // No part runs as anything: the mistake is never half used.
  CHECK(planned.Scheme("model.layers.0.linear_attn.in_proj_ba") == "none");
  CHECK(planned.Scheme("model.layers.0.linear_attn.in_proj_b") == "none");
}

TEST_CASE(
    "in_proj_ba declared fused without its parts: check says so alone, and with the listing") {
  const std::string rules = RuleText("qwen3_next.yaml", {{kUnified, kFused}});
  Diagnostics alone;
  const auto file = ParseRuleFile("test.yaml", rules, &alone);
  REQUIRE(file);
  CHECK_FALSE(file->sound);
  std::vector<std::string> undeclared;
  for (const Finding& finding : alone.findings())
    if (finding.code == Code::kUndeclaredPart) undeclared.push_back(finding.message);
  CHECK(undeclared == std::vector<std::string>{
                          "`in_proj_ba` is fused of `in_proj_b`, which is not declared beside it",
                          "`in_proj_ba` is fused of `in_proj_a`, which is not declared beside it"});
  CHECK(alone.ExitCode() == 1);

  const Model model = Model::Of("qwen3_next_80b_fp8");
  CheckSeed(PlanUnder(rules, model, 4).Only(Code::kRealDeclaredFused));
  // A plan for use is not made at all.
  Diagnostics out;
  CHECK_FALSE(MakePlan(BookWith(rules), model.Build(), {4}, &out));
  REQUIRE(out.findings().size() == 1);
  CHECK(out.findings()[0].code == Code::kUnsoundRules);
}

TEST_CASE("in_proj_qkvz declared fused is refused too, though FP8 would be right by luck") {
  const Planned planned = PlanUnder(
      RuleText("qwen3_next.yaml",
               {{"in_proj_qkvz: {unified: {q: k_dim, k: k_dim, v: v_per_k * v_dim, z: v_per_k * "
                 "v_dim}, per: k_heads, in: hidden, split: column}",
                 "in_proj_qkvz: {fused: [in_proj_qkv, in_proj_z]}\n"
                 "        in_proj_qkv: {rows: 2 * k_heads * k_dim + v_heads * v_dim, in: hidden, "
                 "split: column}\n"
                 "        in_proj_z: {rows: v_dim, per: v_heads, in: hidden, split: column}"}}),
      Model::Of("qwen3_next_80b_fp8"));
  const Finding& finding = planned.Only(Code::kRealDeclaredFused);
  CHECK(FactOf(finding, "effect") ==
        "an engine that goes by this asks the list for `in_proj_qkv`, `in_proj_z`; 36 modules run "
        "in FP8 as stored, but only because no part is listed");
}

TEST_CASE("Qwen3.5's parts declared as one real tensor are refused") {
  const Planned planned = PlanUnder(
      RuleText("qwen3_5.yaml", {{"in_proj_ba: {fused: [in_proj_b, in_proj_a]}",
                                 "in_proj_ba: {rows: 2 * v_heads, in: hidden, split: column}"},
                                {"in_proj_b: {", "in_proj_b_: {optional: true, "},
                                {"in_proj_a: {", "in_proj_a_: {optional: true, "}}),
      Model::Of("qwen3_5_27b_fp8"));
  const Finding& finding = planned.Only(Code::kFusedDeclaredReal);
  CHECK(finding.message ==
        "`in_proj_ba` is declared real, but the checkpoint stores `in_proj_b`, `in_proj_a`");
  CHECK(FactOf(finding, "found").find("48 modules, e.g. ") == 0);  // 64 layers, 48 of DeltaNet
}
