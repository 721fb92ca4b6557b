// SPDX-License-Identifier: Apache-2.0
// ferrule test [FILES] [--filter TEXT]: the `tests:` sections; closes on "N passed, N failed".
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "engine/plan/rule_test.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

// A failed test as a finding: the first field that differs.
Finding Failure(const TestOutcome& outcome) {
  const TestDifference& first = outcome.differences[0];
  return Finding(Code::kTestFailed,
                 fmt::format("test {} failed: {}{} is {}, not {}", Quoted(outcome.it),
                             first.path.empty() ? "" : Quoted(first.path) + ": ", first.field,
                             first.got, first.expected),
                 outcome.at);
}

void WriteJson(const std::vector<TestReport>& reports, const Diagnostics& findings,
               const ReportOptions& options) {
  JsonWriter out;
  size_t passed = 0, failed = 0;
  WriteHead(options, &out);
  out.Key("tests").BeginArray();
  for (const TestReport& report : reports) {
    passed += report.passed();
    failed += report.failed();
    for (const TestOutcome& outcome : report.outcomes) {
      out.Line().BeginObject().Key("file").Text(report.file).Key("line").Int(outcome.at.line);
      out.Key("it").Text(outcome.it).Key("passed").Bool(outcome.passed());
      out.Key("differences").BeginArray();
      for (const TestDifference& difference : outcome.differences)
        out.BeginObject()
            .Key("path")
            .TextOrNull(difference.path)
            .Key("field")
            .Text(difference.field)
            .Key("expected")
            .Text(difference.expected)
            .Key("got")
            .Text(difference.got)
            .EndObject();
      out.EndArray().EndObject();
    }
  }
  out.Line().EndArray().Key("untouched").BeginArray();
  for (const TestReport& report : reports)
    for (const std::string& path : report.untouched) out.Text(path);
  out.EndArray().Key("passed").Int(static_cast<int64_t>(passed));
  out.Key("failed").Int(static_cast<int64_t>(failed));
  WriteFindings(findings, &out);
  out.EndObject();
  Print(out.Take() + "\n");
}

}  // namespace

int Test(const Common& common, const TestOptions& options) {
  Diagnostics findings;
  const std::vector<std::string> files = YamlFiles(options.files, false, &findings);
  if (findings.has_errors()) return Finish(common, "test", findings);
  const auto book = ReadBook(common, files, &findings);
  if (!book) return Finish(common, "test", findings);
  std::vector<TestReport> reports;
  for (const auto& file : book->files) {
    if (!files.empty() && std::find(files.begin(), files.end(), file->path) == files.end())
      continue;
    reports.push_back(RunRuleTests(*book, file, {options.filter}, &findings));
  }
  size_t passed = 0, failed = 0;
  std::string text;
  Diagnostics failures;
  for (const TestReport& report : reports) {
    passed += report.passed();
    failed += report.failed();
    if (!report.outcomes.empty()) text += report.file + "\n";
    for (const TestOutcome& outcome : report.outcomes) {
      text += ToHuman(outcome);
      if (!outcome.passed()) failures.Add(Failure(outcome));
    }
    if (!report.untouched.empty())
      text += fmt::format(
          "  {}\n", Wrapped(fmt::format("no test names {} of its modules: {}",
                                        report.untouched.size(), fmt::join(report.untouched, ", ")),
                            96, 4));
  }
  if (passed + failed == 0)
    findings.Add(Code::kNoTests,
                 options.filter.empty()
                     ? "no test ran"
                     : fmt::format("no test's sentence contains {}", Quoted(options.filter)));
  const ReportOptions report = Options(common, "test", "");
  if (common.format == Format::kHuman) text += FindingsReport(findings, report);
  findings.Append(failures);
  if (common.format == Format::kJson) {
    WriteJson(reports, findings, report);
    return findings.ExitCode();
  }
  if (common.format == Format::kShort) text = FindingsReport(findings, report);
  Print(text + fmt::format("{} passed, {} failed\n", passed, failed));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
