// SPDX-License-Identifier: Apache-2.0
// ferrule decide CASES.jsonl [--as ENGINE@VERSION]: questions without a model, one JSON object a
// line; the same line comes out with `result` and `error`. Rows that say what is right are
// compared.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "cli/command.h"
#include "cli/decide_row.h"
#include "engine/text/file.h"

namespace ferrule::cli {
namespace {

constexpr uint64_t kMaxBytes = 256ULL << 20;

struct Counts {
  size_t passed = 0, failed = 0, skipped = 0, answered = 0, known = 0;
  std::map<std::string, size_t> unsupported;  // construct → rows
};

std::string Summary(const Counts& counts) {
  std::string text;
  for (const auto& [why, rows] : counts.unsupported)
    text += fmt::format("{} unsupported: {}, which RE2 cannot express\n", rows, why);
  if (counts.known > 0)
    text += fmt::format("{} known differences, with their reasons in the runtime's file\n",
                        counts.known);
  text += fmt::format("{} passed, {} failed", counts.passed, counts.failed);
  if (counts.skipped > 0) text += fmt::format(", {} skipped", counts.skipped);
  return text + "\n";
}

}  // namespace

int Decide(const Common& common, const DecideOptions& options) {
  Diagnostics findings;
  const auto text = ReadFile(options.cases, kMaxBytes, Code::kNotFound, &findings);
  const std::unique_ptr<Decider> decider =
      text ? MakeDecider(common, options.as, &findings) : nullptr;
  if (decider == nullptr) return Finish(common, "decide", findings);
  Counts counts;
  std::istringstream lines(*text);
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", options.cases, number);
    const auto row = ParseJson(where, line, {}, &findings);
    if (!row || !row->is_object()) {
      if (row) findings.Add(Code::kJsonType, "a question must be an object", row->location());
      continue;
    }
    if (number == 1 && decider->ReadHeader(*row)) continue;
    const RowOutcome outcome = decider->Ask(*row, where, &findings);
    if (outcome.kind == RowOutcome::Kind::kSkipped) ++counts.skipped;
    if (outcome.kind == RowOutcome::Kind::kPassed) ++counts.passed;
    if (outcome.kind == RowOutcome::Kind::kFailed) ++counts.failed;
    if (outcome.kind == RowOutcome::Kind::kUnsupported) ++counts.unsupported[outcome.why];
    if (outcome.kind == RowOutcome::Kind::kKnown) ++counts.known;
    if (outcome.kind == RowOutcome::Kind::kAnswered) ++counts.answered;
    const bool wrong = outcome.kind == RowOutcome::Kind::kFailed;
    if (!outcome.line.empty() && (wrong || common.format != Format::kShort))
      Print(outcome.line + "\n");
  }
  const size_t compared = counts.passed + counts.failed;
  if (compared == 0 && counts.answered == 0)
    findings.Add(Code::kNoTests, fmt::format("no row of {} was {}", Quoted(options.cases),
                                             counts.skipped > 0 ? "for this runtime" : "compared"));
  if (!findings.findings().empty()) Print(FindingsReport(findings, Options(common, "decide", "")));
  if (compared + counts.answered > 0) Print(Summary(counts));
  const int code = findings.ExitCode();
  return counts.failed > 0 ? std::max(1, code) : code;
}

}  // namespace ferrule::cli
