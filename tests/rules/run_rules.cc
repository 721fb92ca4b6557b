// SPDX-License-Identifier: Apache-2.0
// Runs the `tests:` of every rule file of a directory, and checks that `differs` is answered.
//
//   run_rules DIRECTORY [TEXT]     TEXT: only tests whose sentence contains it
//
// Prints what failed, the modules that no test touches, and "N passed, N failed".
#include <fmt/format.h>

#include "engine/rule_test.h"

using namespace ferrule;

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  Diagnostics out;
  BookOptions options;
  options.directories = {argv[1]};
  const std::optional<Book> book = LoadBook(options, &out);
  size_t passed = 0, failed = 0;
  if (book) {
    for (const auto& file : book->files) {
      CheckDiffers(*book, *file, &out);
      const TestReport report = RunRuleTests(*book, file, {argc > 2 ? argv[2] : ""}, &out);
      passed += report.passed();
      failed += report.failed();
      fmt::print("{}: {} passed, {} failed\n", report.file, report.passed(), report.failed());
      for (const TestOutcome& outcome : report.outcomes)
        if (!outcome.passed())
          fmt::print("{}failed: {} ({})\n", ToHuman(outcome), outcome.it, outcome.at.ToString());
      for (const std::string& path : report.untouched) fmt::print("  untouched: {}\n", path);
    }
  }
  fmt::print("{}", ToHuman(out, false));
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed > 0 || passed == 0 || out.has_errors() ? 1 : 0;
}
