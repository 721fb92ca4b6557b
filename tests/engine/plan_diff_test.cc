// SPDX-License-Identifier: Apache-2.0
#include "engine/report/plan_diff.h"

#include "engine/report/report.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

ModuleState Linear(const char* scheme, int64_t rows) {
  ModuleState state;
  state.kind = "rows";
  state.claim = state.scheme = state.stored = scheme;
  state.shape = {rows, 256};
  state.block_n = std::string(scheme) == "fp8_block" ? 128 : 0;
  state.rank_rows = {{0, rows / 2}, {rows / 2, rows}};
  state.rank_columns = {{0, 256}, {0, 256}};
  return state;
}

PlanState Side(const std::vector<std::pair<std::string, ModuleState>>& modules) {
  PlanState side;
  side.planned = true;
  for (const auto& [name, state] : modules) {
    side.modules[name] = {side.states.size(), side.groups.size()};
    side.states.push_back(state);
    side.groups.push_back(name);
  }
  return side;
}

// The only change between two states of one module.
Change Only(const ModuleState& before, const ModuleState& after) {
  const PlanDiff diff = Compare(Side({{"m", before}}), Side({{"m", after}}));
  REQUIRE(diff.changes.size() == 1);
  CHECK(diff.changed == 1);
  CHECK(diff.unsafe == (diff.changes[0].unsafe.empty() ? 0 : 1));
  return diff.changes[0];
}

}  // namespace

TEST_CASE("equal plans have no difference") {
  const PlanState side = Side({{"a", Linear("bf16", 64)}, {"b", Linear("fp8_block", 256)}});
  CHECK(Compare(side, side).empty());
}

TEST_CASE("a flip against the stored tensor is unsafe, one towards it is not") {
  ModuleState right = Linear("bf16", 256), wrong = right;
  wrong.claim = wrong.scheme = "fp8_block";
  const Change flip = Only(right, wrong);
  CHECK(flip.kind == ChangeKind::kScheme);
  CHECK(flip.unsafe == "it is stored as bf16 and would run as fp8_block");
  CHECK(Only(wrong, right).unsafe.empty());
}

TEST_CASE("what is stored is remembered from the old side") {
  ModuleState before = Linear("bf16", 256), after = before;
  after.stored.clear();
  after.claim = "fp8_block";
  after.scheme.clear();
  CHECK(Only(before, after).unsafe == "it is stored as bf16 and would run as fp8_block");
}

TEST_CASE("a flip to blocks that ranks would break is unsafe without headers too") {
  ModuleState before = Linear("bf16", 64), after = Linear("fp8_block", 64);
  before.stored.clear();
  after.stored.clear();
  CHECK(Only(before, after).unsafe == "a rank would hold 32 rows, 32 % 128 = 32");
  after = Linear("fp8_block", 256);
  after.stored.clear();
  CHECK(Only(before, after).unsafe.empty());
}

TEST_CASE("a stored tensor that becomes fused is unsafe") {
  const ModuleState before = Linear("bf16", 64);
  ModuleState after = before;
  after.kind = "fused";
  after.parts = {"b", "a"};
  const Change change = Only(before, after);
  CHECK(change.kind == ChangeKind::kKind);
  CHECK(change.unsafe == "it is stored as one bf16 tensor, and b, a would be looked for instead");
}

TEST_CASE("modules of one side only are new or gone") {
  const PlanDiff diff =
      Compare(Side({{"a", Linear("bf16", 64)}}), Side({{"b", Linear("bf16", 64)}}));
  REQUIRE(diff.changes.size() == 2);
  CHECK(diff.changed == 2);
  CHECK(diff.unsafe == 0);
  CHECK((diff.changes[0].kind == ChangeKind::kGone) != (diff.changes[1].kind == ChangeKind::kGone));
}

TEST_CASE("errors are compared as texts") {
  PlanState before = Side({}), after = Side({});
  before.errors = {{"FR301", "real-declared-fused", "x"}, {"FR303", "missing-tensor", "y"}};
  after.errors = {{"FR303", "missing-tensor", "y"}, {"FR303", "missing-tensor", "z"}};
  const PlanDiff diff = Compare(before, after);
  REQUIRE(diff.new_errors.size() == 1);
  CHECK(diff.new_errors[0].message == "z");
  REQUIRE(diff.gone_errors.size() == 1);
  CHECK(diff.gone_errors[0].message == "x");
  CHECK(diff.is_unsafe());
}

TEST_CASE("a plan, its JSON and its expanded JSON are the same state") {
  Diagnostics findings;
  BookOptions options;
  options.directories = {DefaultRules()};
  const auto book = LoadBook(options, &findings);
  REQUIRE(book);
  for (const char* fixture : {"qwen3_8b_fp8", "glm_4_5_fp8"}) {
    auto opened = OpenCheckpoint(test::FixturePath(fixture), &findings);
    REQUIRE(opened);
    const auto plan =
        MakePlan(*book, std::make_shared<const Checkpoint>(std::move(*opened)), {4}, &findings);
    REQUIRE(plan);
    const PlanState made = StateOf(&*plan, findings);
    CHECK(made.modules.size() > 200);
    for (const bool expand : {false, true}) {
      ReportOptions report;
      report.format = Format::kJson;
      report.expand = expand;
      JsonLimits limits;
      limits.bytes = size_t{1} << 30;
      const auto json =
          ParseJson("plan.json", PlanReport(&*plan, findings, report), limits, &findings);
      REQUIRE(json);
      const auto saved = ReadPlanState(*json, &findings);
      REQUIRE(saved);
      CHECK(saved->modules.size() == made.modules.size());
      CHECK(Compare(made, *saved).empty());
      CHECK(Compare(*saved, made).empty());
    }
  }
}

TEST_CASE("what is no plan is refused") {
  for (const char* text :
       {"{}", "[]", R"({"schema_version": 99, "modules": []})",
        R"({"schema_version": 1, "modules": [{"kind": "rows"}]})",
        R"({"schema_version": 1, "modules": [{"name": "a", "indices": {"l": [1]}}]})"}) {
    Diagnostics findings;
    const auto json = ParseJson("plan.json", text, {}, &findings);
    REQUIRE(json);
    CHECK_FALSE(ReadPlanState(*json, &findings));
    REQUIRE(findings.findings().size() == 1);
    CHECK(findings.findings()[0].code == Code::kJsonType);
  }
}
