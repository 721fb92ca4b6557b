// SPDX-License-Identifier: Apache-2.0
// Files with expected text beside them: what ferrule says about a wrong file, word by word, and
// which modules a right one describes.
//
//   golden SOURCE_ROOT FERRULE
//
//   tests/bad/rules/NAME.yaml      a rule file with one mistake; all that check and test report
//   tests/bad/dialects/NAME.yaml   a dialect file with one mistake
//   tests/bad/runtimes/NAME.yaml   a runtime file with one mistake
//   tests/bad/books/NAME/          rule files that are wrong together; NAME.expected
//   tests/bad/checkpoints/NAME/    a checkpoint or its list with one mistake; all that the program
//                                  says and its exit code. NAME begins with its number in the list
//                                  of bad inputs; `command` in it, if there, is the command line
//   tests/good/rules/NAME.yaml     a sound rule file; its modules with their sizes
//
// With FERRULE_ACCEPT=1 in the environment the expected files are rewritten and the program ends
// with 77 (skipped), so that this can never pass for a test. Read what it wrote before committing.
#include <fmt/format.h>
#include <re2/re2.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/plan/rule_test.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/file.h"
#include "tests/unit_text.h"

using namespace ferrule;
namespace fs = std::filesystem;

namespace {

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string BadRules(const Book& shipped, const std::string& path) {
  Diagnostics out;
  Book book = shipped;
  std::string tests;
  if (const auto file = ParseRuleFile(path, ReadAll(path), &out)) {
    for (const std::string& type : file->model_types) book.by_model_type[type] = file;
    book.files.push_back(file);
    CheckDiffers(book, *file, &out);
    CheckExample(book, file, &out);
    if (!out.has_errors())
      for (const TestOutcome& outcome : RunRuleTests(book, file, {}, &out).outcomes)
        tests += ToHuman(outcome);
  }
  return ToHuman(out, false) + tests;
}

std::string BadDialect(const Book&, const std::string& path) {
  Diagnostics out;
  ParseDialect(path, ReadAll(path), &out);
  return ToHuman(out, false);
}

std::string BadRuntime(const Book&, const std::string& path) {
  Diagnostics out;
  std::vector<std::shared_ptr<Runtime>> runtimes = {ParseRuntime(path, ReadAll(path), &out)};
  if (runtimes[0] != nullptr) ResolveRuntimes(&runtimes, &out);
  return ToHuman(out, false);
}

std::string BadBook(const Book&, const std::string& path) {
  Diagnostics out;
  BookOptions options;
  options.directories = {path};
  const auto book = LoadBook(options, &out);
  if (book)
    for (const auto& file : book->files) CheckDiffers(*book, *file, &out);
  return ToHuman(out, false);
}

std::string ReplaceAll(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

std::string ferrule_program;

// What `ferrule plan NAME`, or the command of the folder, prints and how it ends. Absolute paths
// are shown from the root of the sources.
std::string BadCheckpoint(const Book&, const std::string& path) {
  std::string command = ReadAll(path + "/command");
  if (command.empty()) command = "plan {} --rules tests/bad/models";
  while (!command.empty() && command.back() == '\n') command.pop_back();
  command = ReplaceAll(command, "{}", path);
  FILE* const pipe = popen(fmt::format("'{}' {} 2>&1", ferrule_program, command).c_str(), "r");
  if (pipe == nullptr) return "cannot run";
  std::string text;
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  const int status = pclose(pipe);
  if (!WIFEXITED(status)) return fmt::format("ended by signal {}", WTERMSIG(status));
  std::error_code error;
  text = ReplaceAll(std::move(text), fs::current_path(error).string() + "/", "");
  // What changes with every dialect, rule file or run; after an error, the table too.
  for (const auto& [from, to] : {std::pair(" in [0-9.]+ s:", ":"),
                                 {"(= known: ).*(\n {10,}.*)*", "\\1…"},
                                 {"; plan [0-9a-f]{12}\n", "\n"}})
    RE2::GlobalReplace(&text, from, to);
  if (WEXITSTATUS(status) != 0 && text.rfind("model ", 0) == 0)
    text.erase(0, text.find("\n\n", text.find("\n\n") + 2) + 2);
  return fmt::format("$ ferrule {}\n{}exit {}\n", command, text, WEXITSTATUS(status));
}

std::string GoodRules(const Book& shipped, const std::string& path) {
  Diagnostics out;
  const auto file = ParseRuleFile(path, ReadAll(path), &out);
  std::string text = file ? UnitsText(*file, &out) : "";
  if (file) {
    CheckExample(shipped, file, &out);
    for (const TestOutcome& outcome : RunRuleTests(shipped, file, {}, &out).outcomes)
      text += ToHuman(outcome);
  }
  return text + ToHuman(out, false);
}

// The first line in which two texts differ, from both.
void ShowDifference(const std::string& expected, const std::string& got) {
  std::istringstream a(expected), b(got);
  std::string left, right;
  for (int line = 1;; ++line) {
    const bool more_left = static_cast<bool>(std::getline(a, left));
    const bool more_right = static_cast<bool>(std::getline(b, right));
    if (!more_left && !more_right) return;
    if (more_left == more_right && left == right) continue;
    fmt::print("  line {}\n  - {}\n  + {}\n", line, more_left ? left : "(end)",
               more_right ? right : "(end)");
    return;
  }
}

struct Folder {
  const char* path;
  bool directories;
  std::string (*say)(const Book&, const std::string&);
};

}  // namespace

int main(int argc, char** argv) {
  std::error_code error;
  if (argc < 3) return 2;
  ferrule_program = fs::absolute(argv[2], error).string();
  fs::current_path(argv[1], error);  // so that paths in messages are the same everywhere
  if (error) return 2;
  const bool accept = std::getenv("FERRULE_ACCEPT") != nullptr;
  Diagnostics out;
  BookOptions options;
  options.directories = {"rules"};
  const auto shipped = LoadBook(options, &out);
  if (!shipped || out.has_errors()) {
    fmt::print("{}", ToHuman(out, false));
    return 1;
  }
  const Folder folders[] = {
      {"tests/bad/rules", false, BadRules},           {"tests/bad/dialects", false, BadDialect},
      {"tests/bad/runtimes", false, BadRuntime},      {"tests/bad/books", true, BadBook},
      {"tests/bad/checkpoints", true, BadCheckpoint}, {"tests/good/rules", false, GoodRules}};
  int passed = 0, failed = 0;
  for (const Folder& folder : folders) {
    std::vector<std::string> paths;
    for (const auto& entry : fs::directory_iterator(folder.path))
      if (folder.directories ? entry.is_directory() : entry.path().extension() == ".yaml")
        paths.push_back(entry.path().string());
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      const fs::path beside = folder.directories ? fs::path(path + ".expected")
                                                 : fs::path(path).replace_extension(".expected");
      const std::string got = folder.say(*shipped, path);
      if (accept) {
        std::ofstream(beside, std::ios::binary) << got;
        continue;
      }
      const std::string expected = ReadAll(beside);
      if (expected == got && !got.empty()) {
        ++passed;
        continue;
      }
      ++failed;
      fmt::print("failed: {}\n", path);
      ShowDifference(expected, got);
    }
  }
  if (accept) return 77;
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}
