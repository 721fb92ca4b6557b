// SPDX-License-Identifier: Apache-2.0
#include "kernels/dispatch.h"

#include <set>

#include "tests/catch.h"
#include "tests/kernels/group.h"

using namespace ferrule;

TEST_CASE("the best kernel that the machine can run is chosen, and the others say why not") {
  struct Row {
    Machine machine;
    const char* name;
    const char* explanation;
  };
  const char* portable = "cpu_portable runs it: any CPU, all schemes";
  const Row rows[] = {
#if defined(__x86_64__)
    {{true, true, true},
     "cpu_avx2",
     "cpu_avx2 runs it: x86-64 with AVX2, FMA and F16C, all schemes"},
    {{true, true, false}, "cpu_portable", "cpu_avx2: the CPU has no F16C\n"},
    {{true, false, true}, "cpu_portable", "cpu_avx2: the CPU has no FMA\n"},
    {{false, true, true}, "cpu_portable", "cpu_avx2: the CPU has no AVX2\n"},
#else
    {{true, true, true}, "cpu_portable", "cpu_avx2: not compiled for this architecture\n"},
#endif
  };
  const LinearGroup group;
  for (const Row& row : rows) {
    const KernelRow* chosen = ChooseKernel(group, row.machine);
    REQUIRE(chosen != nullptr);
    CHECK(std::string(chosen->name) == row.name);
    const std::string text = row.explanation;
    CHECK(ExplainKernel(group, row.machine) == (text.back() == '\n' ? text + portable : text));
  }
}

TEST_CASE("kernel names are unique and a row that refuses does not run") {
  std::set<std::string> names;
  for (const KernelRow& row : AllKernels()) CHECK(names.insert(row.name).second);
  KernelRow stubborn = *AllKernels().begin();
  stubborn.refuses = [](const LinearGroup&, const Machine&) { return "not today"; };
  test::TestGroup test(1, 1, 8, {{.scheme = LinearScheme::kBf16, .rows = 2}});
  const auto before = test.Raw();
  const LinearStatus status = RunKernel(stubborn, test.group(), nullptr, 0, nullptr);
  CHECK(status.code == LinearCode::kUnsupported);
  CHECK(std::string(status.message) == "not today");
  CHECK(test.Raw() == before);
}
