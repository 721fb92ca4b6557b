// SPDX-License-Identifier: Apache-2.0
// Runs the test cases of one executable. Beside Catch2's own report it names each failed case on a
// line `failed: NAME`, each that cannot run here on a line `skipped: NAME: REASON`, and counts the
// cases on a line `N passed, N failed[, N skipped]`: tests/sum.py reads all of them.
// A fatal signal ends here too, after the case that it hit has been named.
#define CATCH_CONFIG_RUNNER
#include <cstdio>
#include <optional>

#include "tests/catch.h"
#include "tests/skip.h"

namespace {

std::optional<std::string> skip_reason;  // of the case that runs

using Listener = Catch::FERRULE_CATCH_LISTENER;  // renamed between Catch2 v2 and v3

class Counter : public Listener {
 public:
  using Listener::Listener;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    name_ = info.name;
    skip_reason.reset();
  }
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const bool failed = stats.totals.testCases.failed > 0;
    ++(failed ? failed_ : skip_reason ? skipped_ : passed_);
    if (failed)
      std::printf("failed: %s\n", name_.c_str());
    else if (skip_reason)
      std::printf("skipped: %s: %s\n", name_.c_str(), skip_reason->c_str());
    std::fflush(stdout);
  }
  void testRunEnded(const Catch::TestRunStats&) override {
    std::printf("%d passed, %d failed", passed_, failed_);
    if (skipped_ > 0) std::printf(", %d skipped", skipped_);
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
  std::string name_;
  int passed_ = 0;
  int failed_ = 0;
  int skipped_ = 0;
};

CATCH_REGISTER_LISTENER(Counter)

}  // namespace

const char* (*ferrule::test::skip_all)() = nullptr;

void ferrule::test::Skip(std::string_view reason) {
  if (!skip_reason) skip_reason = reason;
}

int main(int argc, char** argv) {
  const char* reason = ferrule::test::skip_all == nullptr ? nullptr : ferrule::test::skip_all();
  if (reason != nullptr) {
    std::printf("skipped: %s\n", reason);
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
