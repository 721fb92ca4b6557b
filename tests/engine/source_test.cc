// SPDX-License-Identifier: Apache-2.0
#include "engine/text/source.h"

#include "engine/text/diagnostics.h"
#include "tests/catch.h"

using namespace ferrule;

TEST_CASE("lines are found without their ends") {
  const Source source("a.yaml", "one\r\ntwo\n\nfour");
  CHECK(source.lines() == 4);
  CHECK(source.Line(1) == "one");
  CHECK(source.Line(3).empty());
  CHECK(source.Line(4) == "four");
  CHECK(source.Line(5).empty());
  CHECK(source.Offset(2, 1) == 6);
}

TEST_CASE("only well-formed UTF-8 passes") {
  CHECK(IsUtf8("aé€𝄞"));
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
    CHECK_FALSE(IsUtf8(bad));
}

TEST_CASE("untrusted names cannot reach the terminal as control sequences") {
  CHECK(Printable("a\033[2Jb\n\xff\xc2\x9b") == "a\\x1b[2Jb\\x0a\\xff\\xc2\\x9b");
  CHECK(Quoted("é", 1) == "`…`");
}

TEST_CASE("the nearest name is within two edits and less than half of the name") {
  CHECK(NearestName("rwos", {"rows", "in"}) == "rows");
  CHECK(NearestName("unifeid", {"rows", "unified"}) == "unified");
  CHECK(NearestName("in", {"rows", "on"}).empty());
  CHECK(NearestName("shards", {"rows"}).empty());
  CHECK(EditDistance("ab", "ba", 2) == 1);
  CHECK(EditDistance("abc", "", 2) == 3);
}

TEST_CASE("a finding is shown with its place, caret, facts and help") {
  const auto source = std::make_shared<const Source>("r.yaml", "a: 1\nbé: {rwos: 2}\n");
  Finding finding(Code::kUnknownKey, "unknown key `rwos`", {source, "r.yaml", 2, 6, 10, ""});
  finding.Fact("found", "one").Fact("effect", "two").Help("did you mean `rows`?");
  CHECK(ToHuman(finding, false) ==
        "error[FR101]: unknown key `rwos`\n"
        " --> r.yaml:2:6\n"
        "  |\n"
        "2 | bé: {rwos: 2}\n"
        "  |      ^^^^\n"
        "  = found:  one\n"
        "  = effect: two\n"
        "help: did you mean `rows`?\n");
  CHECK(ToShort(finding) == "r.yaml:2:6: error[FR101]: unknown key `rwos`\n");
}

TEST_CASE("of a line that nobody can read what stands around the column is shown") {
  const auto shown = [](const std::string& text, int column, int end, int label) {
    const auto source = std::make_shared<const Source>("r.yaml", text + "\n");
    Finding finding(Code::kUnknownKey, "unknown", {source, "r.yaml", 1, column, end, ""});
    if (label > 0) finding.Mark({source, "r.yaml", 1, label, label + 2, ""}, "here");
    const std::string human = ToHuman(finding, false);
    return human.substr(human.find("1 |"));
  };
  const std::string many(100'000, 'a'), blanks(80, ' ');
  const auto half = [](char c, size_t count) { return std::string(count, c); };
  CHECK(shown("é" + many, 1, 2, 0) == "1 | é" + half('a', 158) + "…\n  | ^\n");
  CHECK(shown(many + "x" + many, 100'001, 100'002, 100'004) ==
        "1 | …" + half('a', 79) + "x" + half('a', 78) + "…\n  | " + blanks + "^  -- here\n");
  CHECK(shown(many, 100'001, 0, 5) ==
        "1 | …" + half('a', 159) + "\n  | " + blanks + blanks + "^ here\n");
  CHECK(shown(many, 1, 100'001, 0) == "1 | " + half('a', 159) + "…\n  | " + half('^', 161) + "\n");
  CHECK(shown(half('a', 600), 1, 2, 0) == "1 | " + half('a', 600) + "\n  | ^\n");
}

TEST_CASE("findings over the limit are counted and still decide the exit code") {
  Diagnostics diagnostics;
  for (int i = 0; i < 150; ++i) diagnostics.Add(Code::kDeadEntry, "dead");
  CHECK(diagnostics.dropped() == 50);
  CHECK(diagnostics.ExitCode() == 0);
  diagnostics.Add(Code::kRealDeclaredFused, "real");
  CHECK(diagnostics.ExitCode() == 1);
  diagnostics.Add(Code::kIo, "io");
  diagnostics.Add(Code::kUsage, "usage");
  CHECK(diagnostics.ExitCode() == 3);
}

TEST_CASE("codes ascend, are unique and each can be explained") {
  const auto& codes = AllCodes();
  for (size_t i = 0; i < codes.size(); ++i) {
    if (i > 0) CHECK(codes[i - 1].code < codes[i].code);
    CHECK(&Info(codes[i].code) == &codes[i]);
    CHECK(std::string(codes[i].text).size() > 20);
  }
  CHECK(CodeName(Code::kYamlEmpty) == "FR001");
}
