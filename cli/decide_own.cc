// SPDX-License-Identifier: Apache-2.0
// ferrule's own answers to rows that hold a module, a list and what is stored; rows with `as` are
// what that engine does with the sizes.
#include <fmt/format.h>

#include "cli/decide_row.h"
#include "engine/plan/ask.h"
#include "engine/runtimes/runtime.h"

namespace ferrule::cli {
namespace {

class OwnDecider final : public Decider {
 public:
  OwnDecider(Book book, RuntimeBook runtimes)
      : book_(std::move(book)), runtimes_(std::move(runtimes)) {}

  bool ReadHeader(const JsonValue& row) override {
    return !row.Find("module") && (row.Find("maps") || row.Find("recorded"));
  }

  RowOutcome Ask(const JsonValue& row, const std::string&, Diagnostics* out) override {
    RowOutcome outcome;
    outcome.kind = RowOutcome::Kind::kFailed;
    std::string result, error;
    if (row.Find("as") && row.Find("module").is_string()) {
      result = AsEngine(row, &error);
    } else {
      const auto answer = AskRow(book_.dialects, row, out);
      if (!answer) return outcome;
      result = VerdictName(answer->verdict);
      error = answer->code;
    }
    std::string more = fmt::format("\"result\":{}", JsonText(result));
    if (!error.empty()) more += fmt::format(",\"error\":{}", JsonText(error));
    const JsonValue result_of = row.Find("result");
    const JsonValue expected = result_of ? result_of : row.Find("expected");
    const std::string right =
        expected.Text() == "quantize" ? "quant" : std::string(expected.Text());
    using Kind = RowOutcome::Kind;
    outcome.kind = !expected ? Kind::kAnswered : result == right ? Kind::kPassed : Kind::kFailed;
    outcome.answer = result;
    outcome.expected = right;
    outcome.line = AnsweredLine(row, {"result", "error"}, more);
    return outcome;
  }

 private:
  // Without a version: an error when any described version of the engine refuses these sizes.
  std::string AsEngine(const JsonValue& row, std::string* error) const {
    const std::string_view as = row.Find("as").Text();
    const std::string_view engine = as.substr(0, as.find('@'));
    BlockShape shape;
    shape.tp = row.Find("tp").AsInt().value_or(1);
    const int64_t size = row.Find("size").AsInt().value_or(0);
    const int64_t each = row.Find("per_rank").AsInt().value_or(shape.tp > 0 ? size / shape.tp : 0);
    shape.block_rows = row.Find("block")[0].AsInt().value_or(128);
    shape.block_columns = row.Find("block")[1].AsInt().value_or(128);
    if (size <= 0 || each <= 0 || shape.tp <= 0 || shape.block_rows <= 0 ||
        shape.block_columns <= 0)
      return "quant";
    const std::string_view leaf = LastSegment(row.Find("module").Text());
    const bool columns = row.Find("axis").Text() == "k";
    shape.experts = leaf == "experts";
    shape.inner = each;
    shape.columns = columns ? size : shape.block_columns;
    shape.columns_per_rank = columns ? each : shape.block_columns;
    shape.rows = columns ? shape.block_rows : size;
    shape.rows_per_rank = columns ? shape.block_rows : each;
    const size_t parts = std::max<size_t>(1, row.Find("fused").Find(leaf).size());
    shape.parts.assign(columns ? 1 : parts, shape.rows_per_rank);
    for (const auto& runtime : runtimes_.runtimes) {
      if (runtime->engine != engine || !runtime->block_check) continue;
      if (as.size() > engine.size() && as.substr(engine.size() + 1) != runtime->version) continue;
      if (const auto refusal = Refusal(*runtime->block_check, shape)) {
        *error = "ValueError: " + *refusal;
        return "error";
      }
    }
    return "quant";
  }

  Book book_;
  RuntimeBook runtimes_;
};

}  // namespace

std::unique_ptr<Decider> MakeOwnDecider(const Common& common, RuntimeBook runtimes,
                                        Diagnostics* out) {
  auto book = ReadBook(common, {}, out);
  if (!book) return nullptr;
  return std::make_unique<OwnDecider>(std::move(*book), std::move(runtimes));
}

}  // namespace ferrule::cli
