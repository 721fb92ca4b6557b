// SPDX-License-Identifier: Apache-2.0
// Real bugs as questions (tests/data/bug_cases.jsonl, each row with its source) and what the
// answers must not depend on.
#include "engine/plan/ask.h"

#include <fmt/format.h>

#include <fstream>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::vector<JsonValue> Rows() {
  std::ifstream in(FERRULE_TEST_DATA "/data/bug_cases.jsonl");
  REQUIRE(in);
  std::vector<JsonValue> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(Json(line));
  return rows;
}

Question Read(const JsonValue& row) {
  Diagnostics out;
  const auto question = ReadQuestion(row, &out);
  INFO(row.ToString() << "\n" << ToHuman(out, false));
  REQUIRE(question);
  return *question;
}

AskAnswer AskText(std::string_view dialect, const std::string& row) {
  return Ask(*DialectNamed(dialect), Read(Json(row)));
}

std::string Said(const AskAnswer& answer) {
  return fmt::format("{}{}{}: {}", VerdictName(answer.verdict), answer.code.empty() ? "" : " ",
                     answer.code, answer.reason);
}

// The row's right answer: what ferrule itself does where the row is about an engine.
std::string Right(const JsonValue& row) {
  const std::string text(row.Find("own") ? row.Find("own").Text() : row.Find("expected").Text());
  return text == "quantize" ? "quant" : text;
}

// Dialects that a row's quant_method leaves open.
std::vector<std::string> DialectsOf(const JsonValue& row) {
  const std::string method(row.Find("quant_method").Text());
  if (method == "any") return {"fp8", "compressed-tensors"};
  return {method};
}

}  // namespace

TEST_CASE("real bugs: each row gets its right answer from dialect, list and what is stored") {
  int skip = 0, quant = 0, error = 0;
  for (const JsonValue& row : Rows()) {
    const std::string right = Right(row);
    for (const std::string& dialect : DialectsOf(row)) {
      const AskAnswer answer = Ask(*FindDialect(dialect, SourceBook().dialects), Read(row));
      INFO(row.ToString() << "\n" << Said(answer));
      CHECK(VerdictName(answer.verdict) == right);
      CHECK_FALSE(answer.reason.empty());
      ++(answer.verdict == Verdict::kSkip    ? skip
         : answer.verdict == Verdict::kQuant ? quant
                                             : error);
    }
  }
  CHECK(skip == 46);
  CHECK(quant == 25);
  CHECK(error == 1);
}

TEST_CASE("a wrong fused map changes nothing where the checkpoint stores the name") {
  int asked = 0;
  for (const JsonValue& row : Rows()) {
    if (row.Find("bad_fused").size() == 0 || row.Find("disk").size() == 0) continue;
    Question question = Read(row);
    question.fused.clear();
    for (const JsonValue wrong : row.Find("bad_fused")) {
      question.fused.push_back({std::string(wrong.name()), {}});
      for (const JsonValue part : wrong) question.fused.back().parts.emplace_back(part.Text());
    }
    const AskAnswer answer = Ask(*DialectNamed("fp8"), question);
    INFO(Said(answer));
    CHECK(VerdictName(answer.verdict) == Right(row));
    // Without knowing what is stored the map is believed, and asked for literally first.
    question.stored.clear();
    CHECK(VerdictName(Ask(*DialectNamed("fp8"), question).verdict) == Right(row));
    ++asked;
  }
  CHECK(asked == 2);
}

TEST_CASE("answers say which entry, and errors which parts") {
  const char* kBa =
      R"({"module": "m.0.in_proj_ba", "fused": {"in_proj_ba": ["in_proj_b", "in_proj_a"]},
                        "ignore": )";
  const auto ba = [&](const std::string& list, const std::string& more = "") {
    return Said(AskText("fp8", kBa + list + more + "}"));
  };
  CHECK(ba(R"(["m.0.in_proj_ba"])") == "skip: `m.0.in_proj_ba` [0] (exact)");
  CHECK(ba(R"(["x", "m.0"])") == "skip: `m.0` [1] (ancestor)");
  CHECK(ba(R"([])") ==
        "quant: `in_proj_b` quant (no entry names it), `in_proj_a` quant (no entry "
        "names it)");
  CHECK(
      ba(R"(["in_proj_a"])") ==
      "error FR403: the parts of `m.0.in_proj_ba` disagree: `in_proj_b` quant (no entry names it), "
      "`in_proj_a` skip (`in_proj_a` [0] (last-segments))");
  CHECK(ba(R"(["in_proj_a"])", R"(, "absent_on_disk": ["m.0.in_proj_b"])") ==
        "skip: `in_proj_a` skip (`in_proj_a` [0] (last-segments))");
  CHECK(ba(R"(["in_proj_a"])", R"(, "disk": ["in_proj_ba"])") == "quant: no entry names it");
  CHECK(ba(R"([])", R"(, "disk": ["q_proj"])") ==
        "error FR303: neither `in_proj_ba` nor one of its parts in_proj_b, in_proj_a is stored");
  CHECK(
      ba(R"([])", R"(, "disk_dtype": {"in_proj_a.weight": "BF16", "in_proj_b.weight": "BF16"})") ==
      "skip: `in_proj_b` skip (stored in BF16, F16 or F32), `in_proj_a` skip (stored in BF16, F16 "
      "or F32)");
  CHECK(ba(R"(["m.0"])", R"(, "disk_dtype": {"m.0.in_proj_a.weight": "F8_E4M3"})") ==
        "error FR403: the parts of `m.0.in_proj_ba` disagree: `in_proj_b` skip (`m.0` [0] "
        "(ancestor)), `in_proj_a` quant (stored quantized)");
}

TEST_CASE("a pattern never takes a fused name by accident") {
  const auto qkv = [](const std::string& list) {
    return AskText(
        "compressed-tensors",
        R"({"module": "m.qkv_proj", "fused": {"qkv_proj": ["q_proj", "k_proj", "v_proj"]},
                       "ignore": )" +
            list + "}");
  };
  CHECK(qkv(R"(["re:.*qkv_proj"])").verdict == Verdict::kQuant);
  CHECK(qkv(R"(["re:.*v_proj"])").code == "FR403");
  CHECK(qkv(R"(["re:.*[qkv]_proj"])").verdict == Verdict::kSkip);
  CHECK(qkv(R"(["m.qkv_proj"])").verdict == Verdict::kSkip);
}

TEST_CASE("containers: listed as a whole, or not known") {
  const auto experts = [](std::string_view dialect, const std::string& more) {
    return Said(AskText(dialect, R"({"module": "m.3.mlp.experts")" + more + "}"));
  };
  CHECK(experts("fp8", R"(, "ignore": ["m.3"])") == "skip: `m.3` [0] (ancestor)");
  CHECK(
      experts("fp8", R"(, "ignore": ["m.3.mlp.experts.0.up_proj"])") ==
      "error FR404: `m.3.mlp.experts.0.up_proj` names a module below `m.3.mlp.experts`, not all of "
      "it");
  CHECK(experts("fp8", R"(, "ignore": ["m.3.mlp.experts_bias"])") == "quant: no entry names it");
  CHECK(experts("fp8", R"(, "disk_dtype": {"m.3.mlp.experts.0.up_proj.weight": "BF16"})") ==
        "skip: stored in BF16, F16 or F32");
  CHECK(experts("fp8", R"(, "disk_dtype": {"m.3.mlp.experts.0.up_proj.weight": "BF16",
                                           "m.3.mlp.experts.1.up_proj.weight": "F8_E4M3"})") ==
        "error FR404: tensors below `m.3.mlp.experts` are stored in different schemes");
}

TEST_CASE("what cannot be asked is an error, never an answer") {
  CHECK(Said(AskText("fp8", R"({"module": ""})")) == "error FR406: the module has no path");
  CHECK(Said(AskText("fp8", R"({"module": "m.x", "ignore": ["re:.*x"]})")) ==
        "error FR204: `re:.*x` is a pattern, and lists of dialect `fp8` hold plain names");
  const char* kLookAhead = R"x({"module": "m.x", "ignore": ["re:(?!x)"]})x";
  CHECK(AskText("compressed-tensors", kLookAhead).code == "FR202");
  CHECK(Said(AskText("fp8", R"({"module": "m.x", "disk": ["y"]})")) ==
        "error FR303: `x` is not stored, and nothing says what it is made of");
  CHECK(Said(AskText("fp8", R"({"module": "m.x", "tp": 3, "size": 640})")) ==
        "error FR501: 640 rows or columns do not divide by tp 3");
}

TEST_CASE("a row of a wrong kind is refused with its place") {
  const auto refused = [](const std::string& row) {
    Diagnostics out;
    CHECK_FALSE(ReadQuestion(Json(row), &out));
    REQUIRE(out.findings().size() == 1);
    return out.findings()[0].at.ToString() + ": " + out.findings()[0].message;
  };
  CHECK(refused("{}") == "config.json: a question needs `module`, the path of a linear");
  CHECK(refused(R"({"module": "m", "ignore": "x"})") ==
        "config.json#/ignore: `ignore` must be a list of texts, not text");
  CHECK(refused(R"({"module": "m", "ignore": ["x", 1]})") ==
        "config.json#/ignore/1: `ignore` must be a list of texts, not a whole number");
  CHECK(refused(R"({"module": "m", "fused": {"a": "b"}})") ==
        "config.json#/fused/a: `fused` must be a list of texts, not text");
  CHECK(refused(R"({"module": "m", "renames": {"a": 1}})") ==
        "config.json#/renames/a: `renames` must be texts, not a whole number");
  CHECK(refused(R"({"module": "m", "disk_dtype": {"a": "FP8"}})") ==
        "config.json#/disk_dtype/a: `disk_dtype` must be names of safetensors dtypes, not text");
  CHECK(refused(R"({"module": "m", "tp": 0})") ==
        "config.json#/tp: `tp` must be a positive whole number, not a whole number");
}
