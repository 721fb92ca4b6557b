// SPDX-License-Identifier: Apache-2.0
// ferrule test [FILES] [--filter TEXT]: the `tests:` sections; closes on "N passed, N failed".
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "engine/json_writer.h"
#include "engine/rule_test.h"

namespace ferrule::cli {
namespace {

std::vector<std::string> RuleFiles(const std::vector<std::string>& named) {
  std::vector<std::string> files;
  for (const std::string& path : named) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (const auto& entry : std::filesystem::directory_iterator(path, error))
      if (entry.path().extension() == ".yaml") inside.push_back(entry.path().string());
    std::sort(inside.begin(), inside.end());
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

void WriteJson(const std::vector<TestReport>& reports, const Diagnostics& findings) {
  JsonWriter out;
  size_t passed = 0, failed = 0;
  out.BeginObject().Key("schema_version").Int(kSchemaVersion).Key("command").Text("test");
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
  out.Key("exit_code")
      .Int(failed > 0 ? std::max(1, findings.ExitCode()) : findings.ExitCode())
      .EndObject();
  Print(out.Take() + "\n");
}

}  // namespace

int Test(const Common& common, const TestOptions& options) {
  Diagnostics findings;
  const std::vector<std::string> files = RuleFiles(options.files);
  const auto book = ReadBook(common, "", files, &findings);
  if (!book) return Finish(common, "test", findings);
  std::vector<TestReport> reports;
  for (const auto& file : book->files) {
    if (!files.empty() && std::find(files.begin(), files.end(), file->path) == files.end())
      continue;
    reports.push_back(RunRuleTests(*book, file, {options.filter}, &findings));
  }
  size_t passed = 0, failed = 0;
  std::string text;
  for (const TestReport& report : reports) {
    passed += report.passed();
    failed += report.failed();
    if (!report.outcomes.empty()) text += report.file + "\n";
    for (const TestOutcome& outcome : report.outcomes)
      if (common.format == Format::kHuman || !outcome.passed()) text += ToHuman(outcome);
    if (common.format == Format::kHuman && !report.untouched.empty())
      text += fmt::format("  no test names {} of its modules: {}\n", report.untouched.size(),
                          fmt::join(report.untouched, ", "));
  }
  if (passed + failed == 0)
    findings.Add(Code::kNoTests,
                 options.filter.empty()
                     ? "no test ran"
                     : fmt::format("no test's sentence contains {}", Quoted(options.filter)));
  if (common.format == Format::kJson) {
    WriteJson(reports, findings);
  } else {
    Print(text + FindingsReport(findings, Options(common, "test", "")));
    Print(fmt::format("{} passed, {} failed\n", passed, failed));
  }
  return failed > 0 ? std::max(1, findings.ExitCode()) : findings.ExitCode();
}

}  // namespace ferrule::cli
