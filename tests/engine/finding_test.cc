// SPDX-License-Identifier: Apache-2.0
// Findings as they are shown: in which order, and that each error says what to do about it.
#include <fmt/format.h>

#include <set>

#include "engine/text/finding_order.h"
#include "engine/text/remedy.h"
#include "tests/catch.h"

using namespace ferrule;

namespace {

Location At(const char* path, int line, int column = 1) {
  return {nullptr, path, line, column, 0, ""};
}

std::string Messages(const Diagnostics& found) {
  std::string out;
  for (const Finding* finding : InOrder(found)) out += finding->message + " ";
  return out;
}

}  // namespace

TEST_CASE("findings: errors, then warnings, then notes, each by file and line") {
  Diagnostics found;
  found.Add(Code::kDuplicateEntry, "n1", At("a", 1));
  found.Add(Code::kDeadEntry, "w-b3", At("b", 3));
  found.Add(Code::kDeadEntry, "w-a20", At("a", 20));
  found.Add(Code::kDeadEntry, "w-a3", At("a", 3, 9));
  found.Add(Code::kMissingTensor, "e-b", At("b", 7));
  found.Add(Code::kDeadEntry, "w-a3'", At("a", 3, 2));
  found.Add(Code::kIo, "e-a", At("a", 9));
  found.Add(Code::kDeadEntry, "w-a20'", At("a", 20));  // of one place as they were found
  CHECK(Messages(found) == "e-a e-b w-a3' w-a3 w-a20 w-a20' w-b3 n1 ");
}

TEST_CASE("findings: one error behind 300 warnings is the first that is shown") {
  Diagnostics found;
  for (int i = 0; i < 300; ++i) found.Add(Code::kDeadEntry, "dead", At("a", i + 1));
  found.Add(Code::kMissingTensor, "missing", At("z", 1));
  CHECK(ToHuman(found, false).rfind("error[FR303]: missing", 0) == 0);
  CHECK(ToHuman(found, false).find("and 200 more") != std::string::npos);
}

TEST_CASE("findings: every error has a remedy, or its message says what is expected") {
  const std::set<Code> says = {
      Code::kYamlTrailing,       Code::kYamlDuplicate,     Code::kYamlAlias,
      Code::kYamlEncoding,       Code::kUnknownKey,        Code::kWrongType,
      Code::kMissingKey,         Code::kBadValue,          Code::kNewerFormat,
      Code::kDiffersUnanswered,  Code::kTestFailed,        Code::kUnsoundRules,
      Code::kPatternInPlainList, Code::kRealDeclaredFused, Code::kFusedDeclaredReal,
      Code::kUnexplainedTensor,  Code::kUncuttable,        Code::kBadTp,
      Code::kBadScaleValue,      Code::kNanWeight,         Code::kListsDisagree,
      Code::kJsonType,           Code::kCannotExport};
  int errors = 0;
  for (const CodeInfo& info : AllCodes()) {
    INFO(CodeName(info.code));
    if (info.level != Level::kError) continue;
    ++errors;
    CHECK(RemedyOf(info.code).empty() == (says.count(info.code) > 0));
    CHECK(Finding(info.code, "it").help == RemedyOf(info.code));
  }
  CHECK(errors > 60);
}

TEST_CASE("findings: a remedy that is known better stands instead, and nothing does not") {
  CHECK(Finding(Code::kNotFound, "it").Help("did you mean `a`?").help == "did you mean `a`?");
  CHECK(Finding(Code::kNotFound, "it").Help("").help == RemedyOf(Code::kNotFound));
  CHECK_FALSE(Finding(Code::kIo, "it").help.empty());
  CHECK_FALSE(Finding(Code::kMissingFile, "it").help.empty());
  CHECK_FALSE(Finding(Code::kJsonSyntax, "it").help.empty());
}
