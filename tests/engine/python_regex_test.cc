// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/python_regex.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "engine/lists/name_match.h"
#include "engine/lists/skip_list.h"
#include "engine/text/json.h"
#include "tests/catch.h"
#include "tests/skip.h"

using namespace ferrule;

namespace {

std::unique_ptr<RE2> Compile(const std::string& pattern, Diagnostics* out) {
  return CompilePythonRegex(pattern, SkipList::kMaxPattern, SkipList::kMaxProgram,
                            SkipList::kMaxWildcards, {}, out);
}

// "FR202: message" of the refusal; "" when the pattern is taken.
std::string Refusal(const std::string& pattern) {
  Diagnostics out;
  if (Compile(pattern, &out)) return {};
  REQUIRE(out.findings().size() == 1);
  return CodeName(out.findings()[0].code) + ": " + out.findings()[0].message;
}

bool Matches(const RE2& regex, const std::string& name) {
  return regex.Match(name, 0, name.size(), RE2::ANCHOR_START, nullptr, 0);
}

}  // namespace

TEST_CASE("what RE2 cannot express is refused by name") {
  struct Row {
    const char *pattern, *what;
  };
  const std::vector<Row> rows = {
      {"(?=a)b", "look-ahead"},
      {"model.(?!layers).*", "look-ahead"},
      {"(?<=a)b", "look-behind"},
      {"(?<!a)b", "look-behind"},
      {"(a)\\1", "a back-reference"},
      {"(?P<n>a)(?P=n)", "a back-reference"},
      {"(?>a)b", "an atomic group"},
      {"a++", "a possessive quantifier"},
      {"a*+b", "a possessive quantifier"},
      {"a?+b", "a possessive quantifier"},
      {"a{2}+b", "a possessive quantifier"},
      {"(a)?(?(1)b|c)", "a conditional"},
      {"\\N{DIGIT ONE}", "a character by its name"},
      {"x{1001}", "a count above 1,000"},
  };
  for (const Row& row : rows)
    CHECK(Refusal(row.pattern) ==
          std::string("FR202: RE2 cannot express ") + row.what + " in `" + row.pattern + "`");
}

TEST_CASE("what Python reads otherwise is refused by name") {
  struct Row {
    const char *pattern, *what;
  };
  const std::vector<Row> rows = {
      {"a{,3}", "`{,n}`, which RE2 reads as text"},
      {"a{,}", "`{,n}`, which RE2 reads as text"},
      {"a(?#c)b", "a comment `(?#`"},
      {"(?i)a", "flags `(?`"},
      {"(?s:a)", "flags `(?`"},
      {"a\\Z", "`\\Z`, which RE2 does not have"},
      {"[[:alpha:]]", "`[:`, which Python reads as two characters"},
      {"[a[:alpha:]]", "`[:`, which Python reads as two characters"},
  };
  for (const Row& row : rows)
    CHECK(Refusal(row.pattern) == std::string("FR205: `") + row.pattern + "` uses " + row.what);
}

TEST_CASE("what Python refuses is refused with its reason, also where RE2 would read it") {
  struct Row {
    const char *pattern, *why;
  };
  const std::vector<Row> rows = {
      {"a(b", "missing ), unterminated subpattern"},
      {"a)b", "unbalanced parenthesis"},
      {"[a", "unterminated character set"},
      {"[b-a]", "bad character range"},
      {"[\\w-a]", "bad character range"},
      {"*a", "nothing to repeat"},
      {"a**", "multiple repeat"},
      {"a{2}{3}", "multiple repeat"},
      {"a$*", "nothing to repeat"},
      {"\\b{2}a", "nothing to repeat"},
      {"\\", "bad escape (end of pattern)"},
      {"a\\z", "bad escape"},
      {"\\Qa.b\\E", "bad escape"},
      {"\\C", "bad escape"},
      {"\\p{L}{1000}", "bad escape"},
      {"\\PL", "bad escape"},
      {"\\x{61}", "incomplete escape"},
      {"(?P>n)a", "unknown extension ?P"},
      {"(?<n>a)", "unknown extension ?<"},
      {"(?P<>a)", "missing group name"},
      {"(?P<1>a)", "bad character in group name"},
      {"(?P<n>a)(?P<n>b)", "redefinition of group name"},
  };
  for (const Row& row : rows)
    CHECK(Refusal(row.pattern) ==
          std::string("FR201: `") + row.pattern + "` is no regular expression: " + row.why);
}

TEST_CASE("signs within a class or behind a backslash are text") {
  for (const char* pattern :
       {"[(?=a)]", "a\\(?", "[a{,3}]", "[]a]", "[^]a]", "[\\]a]b", "a\\{,3\\}", "[a*+]", "\\+\\+",
        "x\\\\", "a{b}", "a{2", "[.*][.*][.*]"}) {
    INFO(pattern);
    CHECK(Refusal(pattern) == "");
  }
}

TEST_CASE("what is no regular expression is refused, with RE2's reason where Python has none") {
  CHECK(Refusal("") == "FR201: an empty pattern matches everything");
  CHECK(Refusal("a\xff") == "FR201: a pattern that is not UTF-8");
  CHECK(Refusal("(x{100}){100}") ==
        "FR201: `(x{100}){100}` is no regular expression: invalid repetition size: {100}");
}

TEST_CASE("what costs too much is refused at the limit") {
  CHECK(Refusal(std::string(512, 'a')) == "");
  CHECK(Refusal(std::string(513, 'a')) == "FR203: a pattern of 513 bytes; at most 512 are read");
  CHECK(Refusal(".*a.*") == "");
  CHECK(Refusal(".*a.*b.*") == "FR203: `.*a.*b.*` has 3 unbounded wildcards; at most 2 are read");
  CHECK(Refusal(".+a.*?b.{2,}") ==
        "FR203: `.+a.*?b.{2,}` has 3 unbounded wildcards; at most 2 are read");
  CHECK(Refusal("\\.*a\\.*b\\.*[.]*") == "");  // no wildcards
  const std::string wide = Refusal("(.{1,1000})");
  CHECK(wide.substr(0, 33) == "FR203: `(.{1,1000})` compiles to ");
  CHECK(wide.find(" steps; at most 2000 are read") != std::string::npos);
}

TEST_CASE("hostile patterns are answered in bounded time") {
  const auto start = std::chrono::steady_clock::now();
  std::string nested = "a";
  for (int i = 0; i < 200; ++i) nested = "(" + nested + ")";
  Refusal(nested);
  Refusal(std::string(512, '('));
  Refusal("\\p{L}{1000}");
  Refusal("((a{1,100}){1,100}){1,100}");
  Refusal("(((((a+)+)+)+)+)+$");
  Refusal(std::string(256, '['));
  Diagnostics out;
  const auto evil = Compile("(a+)+$", &out);
  REQUIRE(evil);
  std::string name(100'000, 'a');
  name.back() = 'b';
  CHECK_FALSE(Matches(*evil, name));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 5);  // seconds; milliseconds in fact
}

TEST_CASE("a pattern that matches everything is known as such") {
  const auto everything = [](const char* pattern) {
    Diagnostics out;
    const auto regex = Compile(pattern, &out);
    REQUIRE(regex);
    return MatchesEverything(*regex);
  };
  for (const char* pattern : {".*", "x?", "(?:)", "a|", "^", ".{0}", "[^\\n]*", "(a|.)*", ".*.*"}) {
    INFO(pattern);
    CHECK(everything(pattern));
  }
  for (const char* pattern : {"a", ".+", "$", "^$", ".", "[a-z]*$", "\\w", "model.*", ".*a"}) {
    INFO(pattern);
    CHECK_FALSE(everything(pattern));
  }
}

namespace {

// Patterns of everything that people write in lists, and of what they do not.
std::string RandomPattern(std::mt19937* random) {
  static const std::vector<std::string> atoms = {
      "model", "layers", "mlp",   "gate",   "_proj",  "0",        "1",   "10",
      "\\.",   ".",      "[0-9]", "[^.]",   "[a-m]",  "\\d",      "\\w", "[]a]",
      "[^]]",  "\\-",    "\\x61", "(a|l)",  "(?:m|)", "{",        "}",   ",",
      "^",     "$",      "\\b",   "\\B",    "\\A",    "(?P<n>e)", "-",   "#",
      "[.]",   "\\S",    "\\D",   "[\\w.]", "(\\d+)", "|",        "\\W", "(?:g(?:a|t)e)"};
  static const std::vector<std::string> after = {"",   "",   "",    "",      "",      "*",  "+",
                                                 "?",  "*?", "{2}", "{1,2}", "{1,}",  "??", "{0}",
                                                 "+?", "{}", "{a}", "{,",    "{1,2}?"};
  std::string out;
  for (size_t n = 1 + (*random)() % 6; n > 0; --n)
    out += atoms[(*random)() % atoms.size()] + after[(*random)() % after.size()];
  return out;
}

std::string RandomName(std::mt19937* random) {
  static const std::vector<std::string> words = {
      "model", "layers", "mlp", "gate", "gate_proj", "0", "1", "10", "a", "lm_head", "-#", "{2}"};
  std::string out = words[(*random)() % words.size()];
  for (size_t n = (*random)() % 4; n > 0; --n) out += "." + words[(*random)() % words.size()];
  return out;
}

constexpr char kAsk[] = R"(
import json, re, sys, warnings
warnings.simplefilter("ignore")
for line in open(sys.argv[1]):
    pattern, names = json.loads(line)
    try:
        compiled = re.compile(pattern)
        print("".join("1" if compiled.match(name) else "0" for name in names))
    except (re.error, OverflowError):
        print("E")
)";

}  // namespace

TEST_CASE("what is taken means what Python's re.match means") {
  if (std::system("python3 -c 'import re' > /dev/null 2>&1") != 0)
    return test::Skip("there is no python3 to compare with");
  std::mt19937 random(13);
  std::vector<std::string> patterns;
  std::vector<std::vector<std::string>> names;
  const std::string base = "/tmp/ferrule_regex_" + std::to_string(getpid());
  {
    std::ofstream questions(base + ".jsonl"), script(base + ".py");
    script << kAsk;
    for (int i = 0; i < 6000; ++i) {
      patterns.push_back(RandomPattern(&random));
      names.emplace_back();
      std::string list;
      for (int n = 0; n < 12; ++n) {
        names.back().push_back(RandomName(&random));
        list += (n > 0 ? "," : "") + JsonText(names.back().back());
      }
      questions << "[" << JsonText(patterns.back()) << ",[" << list << "]]\n";
    }
  }
  FILE* answers = popen(("python3 " + base + ".py " + base + ".jsonl").c_str(), "r");
  REQUIRE(answers != nullptr);
  int taken = 0, matched = 0;
  std::string differ;
  char line[64];
  for (size_t i = 0; i < patterns.size(); ++i) {
    REQUIRE(std::fgets(line, sizeof line, answers) != nullptr);
    Diagnostics out;
    const auto regex = Compile(patterns[i], &out);
    if (!regex) continue;
    ++taken;
    if (line[0] == 'E') {
      differ += "Python refuses " + patterns[i] + "\n";
      continue;
    }
    for (size_t n = 0; n < names[i].size(); ++n) {
      const bool matches = Matches(*regex, names[i][n]);
      matched += matches ? 1 : 0;
      if (matches == (line[n] == '1')) continue;
      differ += patterns[i] + " and " + names[i][n] + ": Python says " + line[n] + "\n";
    }
  }
  pclose(answers);
  std::remove((base + ".py").c_str());
  std::remove((base + ".jsonl").c_str());
  CHECK(differ.substr(0, 2000) == "");
  CHECK(taken > 2000);
  CHECK(matched > 5000);
}

TEST_CASE("plain patterns match as RE2 says, whatever the name holds") {
  std::mt19937 random(20);
  const auto text = [&random](const std::vector<std::string>& parts, size_t most) {
    std::string out;
    for (size_t left = random() % (most + 1); left > 0; --left)
      out += parts[random() % parts.size()];
    return out;
  };
  const std::vector<std::string> of_pattern = {"a", "b", ".", "_", "-", "0", "a.b"};
  const std::vector<std::string> of_name = {"a", "b",   ".",  "_",      "-",
                                            "0", "a.b", "\n", "\u00e9", "\xff"};
  size_t yes = 0, cases = 0;
  for (int i = 0; i < 60000; ++i) {
    const std::string pattern = text(of_pattern, 5);
    // Half of the names begin as the pattern does.
    const std::string name = (i % 2 == 0 ? pattern : "") + text(of_name, 4);
    const PythonRegex plain(i % 3 == 0 ? "(?:" + pattern + ")" : pattern, PythonModule::kRe);
    const PythonRegex other("(?:" + pattern + "){1}", PythonModule::kRe);  // which RE2 reads
    INFO("`" << pattern << "` on `" << name << "`");
    for (const Anchor anchor : {Anchor::kMatch, Anchor::kSearch, Anchor::kFull}) {
      REQUIRE(plain.Match(name, anchor) == other.Match(name, anchor));
      yes += plain.Match(name, anchor) == PythonRegex::Verdict::kYes;
      ++cases;
    }
    REQUIRE(plain.MatchToBoundary(name) == other.MatchToBoundary(name));
  }
  CHECK(yes > cases / 4);
  CHECK(yes < cases * 3 / 4);
}
