// SPDX-License-Identifier: Apache-2.0
// The public interface against what stands behind it, and the one for C against that for C++.
#include <fmt/format.h>

#include <fstream>
#include <thread>

#include "engine/ferrule.h"
#include "engine/plan/ask.h"
#include "engine/runtimes/plan_as.h"
#include "kernels/load.h"
#include "kernels/load_c.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/loader/tiny.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

const char kTiny[] = FERRULE_TEST_DATA "/../examples/tiny_qwen3_next_fp8";
const char kQkv[] = "model.layers.3.self_attn.qkv_proj";

const RuleBook& Rules() {
  static const Result<RuleBook> book = RuleBook::Load();
  REQUIRE(book.ok());
  return *book;
}

ModelPlan PlanOf(const std::string& directory, int tp = 1) {
  const Result<ModelPlan> plan = Rules().Plan(directory, {.tp = tp, .allow_errors = true});
  INFO((plan ? "" : plan.error().message));
  REQUIRE(plan.ok());
  return *plan;
}

// Frees what the C interface gives.
struct Freed {
  ferrule_error* error = nullptr;
  ferrule_book* book = nullptr;
  ferrule_plan* plan = nullptr;
  ferrule_linear* linear = nullptr;
  ~Freed() {
    ferrule_linear_free(linear);
    ferrule_plan_free(plan);
    ferrule_book_free(book);
    ferrule_error_free(error);
  }
  // Blame and message without the ends of its lines; the error is freed.
  std::string Said() {
    std::string said =
        fmt::format("{}: {}", ferrule_error_blame(error), ferrule_error_message(error));
    while (said.ends_with('\n')) said.pop_back();
    ferrule_error_free(error);
    error = nullptr;
    return said;
  }
};

std::string Taken(char* text) {
  REQUIRE(text != nullptr);
  std::string copy = text;
  ferrule_text_free(text);
  return copy;
}

std::string RanksOf(const Decision& d) {
  std::string all;
  for (const RankRows& rank : d.ranks) {
    for (const auto& [begin, end] : rank.rows) all += fmt::format("{}-{} ", begin, end);
    all += fmt::format("x {}-{}; ", rank.first_column, rank.end_column);
  }
  return all;
}
std::string RanksOf(const ferrule_decision& d) {
  std::string all;
  for (size_t r = 0; r < d.rank_count; ++r) {
    const ferrule_rank& rank = *d.ranks[r];
    for (size_t i = 0; i < rank.row_ranges; ++i)
      all += fmt::format("{}-{} ", rank.rows[2 * i], rank.rows[2 * i + 1]);
    all += fmt::format("x {}-{}; ", rank.first_column, rank.end_column);
  }
  return all;
}

}  // namespace

TEST_CASE("Modules are those of the expanded JSON, and each has a decision") {
  for (const char* fixture : {"qwen3_8b_fp8", "qwen3_5_27b_fp8", "nemotron_nano_12b_v2"}) {
    INFO(fixture);
    const ModelPlan plan = PlanOf(FixturePath(fixture), 2);
    const JsonValue json = Json(plan.Json(true));
    std::vector<std::string> in_json;
    for (const JsonValue module : json.Find("modules"))
      in_json.emplace_back(module.Find("name").Text());
    CHECK(in_json.size() > 100);
    CHECK(plan.Modules() == in_json);
    size_t at = 0;
    bool same = true;
    for (const JsonValue module : json.Find("modules")) {
      const auto decision = plan.At(in_json[at++]);
      same = same && decision && decision->scheme == module.Find("scheme").Text() &&
             decision->shape.size() == module.Find("shape").size();
    }
    CHECK(same);
  }
}

TEST_CASE("a module that the model has not: what was meant") {
  const ModelPlan plan = PlanOf(kTiny);
  CHECK(plan.Require(kQkv)->parts[2] == "model.layers.3.self_attn.v_proj");
  const auto wrong = plan.Require("model.layers.3.self_attn.qkv_prj");
  REQUIRE(!wrong);
  CHECK(wrong.error().blame == Blame::kCommand);
  CHECK(wrong.error().message ==
        "error[FR406]: the model has no linear `model.layers.3.self_attn.qkv_prj`\n"
        "help: did you mean `model.layers.3.self_attn.qkv_proj`?\n\n");
}

TEST_CASE("PlanAs is ComparePlan under other names") {
  const std::string directory = FixturePath("qwen3_30b_a3b_fp8");
  const ModelPlan plan = PlanOf(directory, 4);
  Diagnostics out;
  const auto runtimes = LoadRuntimes({FERRULE_TEST_DATA "/../rules"}, &out);
  REQUIRE(runtimes);
  const auto right = ComparePlan(plan.internal(), *runtimes->Find("sglang@0.5.23", &out), &out);
  REQUIRE(right);
  const auto as = Rules().PlanAs(plan, "sglang@0.5.23");
  REQUIRE(as.ok());
  CHECK(as->engine() + "@" + as->version() == "sglang@0.5.23");
  REQUIRE(as->modules().size() == right->modules.size());
  int refused = 0;
  for (size_t i = 0; i < right->modules.size(); ++i) {
    const EngineDecision& is = as->modules()[i];
    const AsModule& must = right->modules[i];
    const bool same = is.name == must.name && is.result == must.result && is.word == must.word &&
                      is.refusal == must.refusal && is.verdict == AsVerdictName(must.verdict) &&
                      is.modules.size() == must.modules.size() && is.asked != must.plain;
    if (!same) FAIL_CHECK(is.name);
    refused += is.verdict == "refuses" ? 1 : 0;
  }
  CHECK(refused == right->refused);
  CHECK(refused > 0);  // experts of 192 rows
  CHECK(as->has_errors());
  const JsonValue json = Json(as->Json());
  CHECK(json.Find("as").Find("refused").AsInt() == right->refused);
  CHECK(json.Find("findings").size() == as->findings().size());
  const auto unknown = Rules().PlanAs(plan, "sglang@0.0");
  REQUIRE(!unknown);
  CHECK(unknown.error().message.find("no runtime `sglang@0.0` is described") != std::string::npos);
}

TEST_CASE("Ask answers as the row of ferrule decide is answered") {
  std::ifstream rows(FERRULE_TEST_DATA "/data/bug_cases.jsonl");
  int asked = 0;
  for (std::string line; std::getline(rows, line);) {
    const JsonValue row = Json(line);
    if (row.Find("as")) continue;
    Diagnostics out;
    const auto right = AskRow(SourceBook().dialects, row, &out);
    const auto answer = Rules().Ask(line);
    INFO(line);
    REQUIRE(answer.ok() == right.has_value());
    if (!right) continue;
    CHECK(answer->verdict == VerdictName(right->verdict));
    CHECK(answer->reason == right->reason);
    CHECK(answer->code == right->code);
    ++asked;
  }
  CHECK(asked > 40);
  for (const char* wrong :
       {"", "[]", "{", R"({"module": "a"})", R"({"quant_method": "fp8"})",
        R"({"module": 1, "quant_method": "fp8"})", R"({"module": "a", "quant_method": "fp9"})",
        R"({"module": "a", "quant_method": "fp8", "ignore": 3})"}) {
    INFO(wrong);
    CHECK_FALSE(Rules().Ask(wrong).ok());
  }
}

TEST_CASE("C: a plan says what that of C++ says") {
  Freed c;
  c.book = ferrule_book_load(nullptr, 0, &c.error);
  REQUIRE(c.book != nullptr);
  size_t count = 0;
  const char* const* types = ferrule_book_model_types(c.book, &count);
  CHECK(std::vector<std::string>(types, types + count) == Rules().model_types());
  for (const int tp : {1, 4}) {
    const std::string directory = FixturePath("qwen3_5_27b_fp8");
    const ModelPlan right = PlanOf(directory, tp);
    ferrule_plan_free(c.plan);
    c.plan = ferrule_plan_make(c.book, directory.c_str(), tp, 0, &c.error);
    REQUIRE(c.plan != nullptr);
    CHECK(ferrule_plan_summary(c.plan) == right.Summary());
    CHECK(ferrule_plan_sha(c.plan) == right.sha());
    CHECK(ferrule_plan_tp(c.plan) == tp);
    CHECK(ferrule_plan_has_errors(c.plan) == 0);
    CHECK(Taken(ferrule_plan_report(c.plan)) == right.Report());
    CHECK(Taken(ferrule_plan_json(c.plan, 0)) == right.Json());
    CHECK(Taken(ferrule_plan_json(c.plan, 1)) == right.Json(true));
    const char* const* names = ferrule_plan_modules(c.plan, &count);
    REQUIRE(std::vector<std::string>(names, names + count) == right.Modules());
    for (size_t i = 0; i < count; i += 7) {
      const Decision must = *right.At(names[i]);
      ferrule_decision* is = ferrule_plan_decision(c.plan, names[i], &c.error);
      INFO(names[i]);
      REQUIRE(is != nullptr);
      CHECK(is->module == must.module);
      CHECK(is->kind == must.kind);
      CHECK(is->scheme == must.scheme);
      CHECK(is->claim == must.claim);
      CHECK(is->stored == must.stored);
      CHECK(is->dtype == must.dtype);
      CHECK(std::vector<std::string>(is->parts, is->parts + is->part_count) == must.parts);
      CHECK(std::vector<int64_t>(is->shape, is->shape + is->shape_count) == must.shape);
      CHECK(std::pair(is->block_rows, is->block_columns) ==
            std::pair(must.block_rows, must.block_columns));
      CHECK(RanksOf(*is) == RanksOf(must));
      CHECK(is->reason == must.reason);
      CHECK(is->entry == must.entry);
      CHECK(is->entry_index == must.entry_index);
      CHECK(is->rule_file == must.rule_file);
      CHECK(is->rule_line == must.rule_line);
      CHECK(is->tensor == must.tensor);
      CHECK(ferrule_plan_scheme(c.plan, names[i]) == right.SchemeOf(names[i]));
      ferrule_decision_free(is);
    }
    CHECK(Taken(ferrule_plan_as_json(c.book, c.plan, "vllm@0.32.0", 0, &c.error)) ==
          Rules().PlanAs(right, "vllm@0.32.0")->Json());
  }
  CHECK(Taken(ferrule_ask(c.book, R"({"module": "a", "quant_method": "fp8"})", &c.error)) ==
        R"({"verdict":"quant","reason":"no entry names it","code":null})");
  CHECK(c.error == nullptr);
}

TEST_CASE("C: findings of a plan with errors") {
  Freed c;
  const std::string wrong = FERRULE_TEST_DATA "/../examples/qwen3_next_fp8/wrong_rules";
  const char* directories[] = {wrong.c_str()};
  c.book = ferrule_book_load(directories, 1, &c.error);
  REQUIRE(c.book != nullptr);
  CHECK(ferrule_plan_make(c.book, kTiny, 1, 0, &c.error) == nullptr);
  CHECK(c.Said().find("1: error[FR301]: `in_proj_ba` is declared fused") == 0);
  c.plan = ferrule_plan_make(c.book, kTiny, 1, FERRULE_ALLOW_ERRORS, &c.error);
  REQUIRE(c.plan != nullptr);
  CHECK(ferrule_plan_has_errors(c.plan) == 1);
  size_t count = 0;
  const ferrule_finding* const* found = ferrule_plan_findings(c.plan, &count);
  std::vector<std::string> all;
  for (size_t i = 0; i < count; ++i)
    all.push_back(fmt::format("{} {} {} {}", found[i]->code, found[i]->slug, found[i]->level,
                              std::string_view(found[i]->where).substr(wrong.size())));
  CHECK_THAT(all, Catch::VectorContains(
                      std::string("FR301 real-declared-fused error /qwen3_next.yaml:54:9")));
  CHECK(ferrule_linear_load(c.plan, kQkv, 0, &c.error) == nullptr);
  CHECK(c.Said().find("a plan with errors is not loaded") != std::string::npos);
}

TEST_CASE("C: what is NULL or wrong is refused with who has to act") {
  Freed c;
  size_t count = 7;
  CHECK(ferrule_plan_make(nullptr, kTiny, 1, 0, &c.error) == nullptr);
  CHECK(c.Said() == "2: `book` is NULL");
  const char* const none[] = {nullptr};
  CHECK(ferrule_book_load(none, 1, &c.error) == nullptr);
  CHECK(c.Said() == "2: `directories` is NULL");
  CHECK(ferrule_book_load(nullptr, 1, &c.error) == nullptr);
  CHECK(c.Said() == "2: `directories` is NULL");
  const char* const nowhere[] = {"/nowhere"};
  CHECK(ferrule_book_load(nowhere, 1, &c.error) == nullptr);
  CHECK(c.Said().find("2: error[FR901]: the directory `/nowhere` cannot be read: No such file or "
                      "directory\n --> /nowhere") == 0);
  CHECK(ferrule_book_load(nowhere, 1, nullptr) == nullptr);  // nobody wants to know
  CHECK(ferrule_book_model_types(nullptr, &count) == nullptr);
  CHECK(count == 0);
  c.book = ferrule_book_load(nullptr, 0, &c.error);
  CHECK(ferrule_plan_make(c.book, nullptr, 1, 0, &c.error) == nullptr);
  CHECK(c.Said() == "2: `directory` is NULL");
  CHECK(ferrule_plan_make(c.book, kTiny, 1, 2, &c.error) == nullptr);
  CHECK(c.Said() == "2: `flags` has bits that this release does not know");
  for (const int tp : {0, -1, 1025}) {
    CHECK(ferrule_plan_make(c.book, kTiny, tp, 0, &c.error) == nullptr);
    CHECK(c.Said() == fmt::format("2: error[FR503]: tp must be between 1 and 1024, not {}", tp));
  }
  c.plan = ferrule_plan_make(c.book, kTiny, 2, 0, &c.error);
  REQUIRE(c.plan != nullptr);
  CHECK(ferrule_plan_decision(c.plan, nullptr, &c.error) == nullptr);
  CHECK(c.Said() == "2: `module` is NULL");
  CHECK(ferrule_plan_decision(c.plan, "lm_heat", &c.error) == nullptr);
  CHECK(c.Said() ==
        "2: error[FR406]: the model has no linear `lm_heat`\nhelp: did you mean `lm_head`?");
  CHECK(ferrule_plan_as_json(c.book, c.plan, nullptr, 0, &c.error) == nullptr);
  CHECK(c.Said() == "2: `engine` is NULL");
  CHECK(ferrule_ask(c.book, "{", &c.error) == nullptr);
  CHECK(c.Said().find("1: error[FR701]") == 0);
  CHECK(ferrule_linear_load(c.plan, kQkv, 2, &c.error) == nullptr);
  CHECK(c.Said().find("rank 2 of 2") != std::string::npos);
  CHECK(ferrule_linear_load(nullptr, kQkv, 0, &c.error) == nullptr);
  CHECK(c.Said() == "2: `plan` is NULL");
  CHECK(ferrule_plan_scheme(c.plan, nullptr) == std::string());
  CHECK(ferrule_plan_scheme(nullptr, kQkv) == std::string());
  CHECK(ferrule_plan_report(nullptr) == nullptr);
  CHECK(ferrule_plan_modules(nullptr, &count) == nullptr);
  CHECK(ferrule_error_blame(nullptr) == 0);
  CHECK(ferrule_linear_rows(nullptr) == 0);
  CHECK(ferrule_linear_run(nullptr, nullptr, 1, 1, nullptr, 1, nullptr, &c.error) == 2);
  CHECK(c.Said() == "2: `linear` is NULL");
  CHECK(ferrule_linear_run(nullptr, nullptr, 1, 1, nullptr, 1, nullptr, nullptr) == 2);
  CHECK(ferrule_abi_version() == FERRULE_ABI_VERSION);
}

TEST_CASE("C: a linear gives the bits of LoadedLinear, alone, in threads and after its plan") {
  Freed c;
  c.book = ferrule_book_load(nullptr, 0, &c.error);
  c.plan = ferrule_plan_make(c.book, kTiny, 2, 0, &c.error);
  REQUIRE(c.plan != nullptr);
  const ModelPlan plan = PlanOf(kTiny, 2);
  const auto right = LoadLinear(plan, kQkv, 1, nullptr);
  REQUIRE(right);
  c.linear = ferrule_linear_load(c.plan, kQkv, 1, &c.error);
  REQUIRE(c.linear != nullptr);
  ferrule_plan_free(c.plan);
  c.plan = nullptr;
  CHECK(ferrule_linear_rows(c.linear) == right->rows);
  CHECK(ferrule_linear_columns(c.linear) == right->in);
  CHECK(ferrule_linear_first_column(c.linear) == right->first_column);
  CHECK(ferrule_linear_bytes(c.linear) == right->bytes);
  constexpr int64_t kTokens = 3;
  std::vector<uint16_t> x;
  for (int64_t i = 0; i < kTokens * right->in; ++i)
    x.push_back(static_cast<uint16_t>((i % 2 << 15) | (0x3F80 - (i % 5 << 7))));
  std::vector<float> must(static_cast<size_t>(kTokens * right->rows));
  REQUIRE(right->Run(x.data(), kTokens, right->in, must.data(), right->rows));
  ferrule_pool* pool = ferrule_pool_create(2, &c.error);
  REQUIRE(pool != nullptr);
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> y(4, std::vector<float>(must.size()));
  for (std::vector<float>& mine : y)
    threads.emplace_back([&] {
      ferrule_linear_run(c.linear, x.data(), kTokens, right->in, mine.data(), right->rows, pool,
                         nullptr);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& mine : y) CHECK(mine == must);
  ferrule_pool_free(pool);
  CHECK(ferrule_linear_run(c.linear, x.data(), kTokens, right->in, y[0].data(), right->rows - 1,
                           nullptr, &c.error) == 2);
  CHECK(c.Said().find(std::string("2: ") + kQkv + ": ") == 0);
  CHECK(ferrule_linear_run(c.linear, nullptr, kTokens, right->in, y[0].data(), right->rows, nullptr,
                           nullptr) == 2);
  CHECK(y[0] == must);  // nothing was written
}
