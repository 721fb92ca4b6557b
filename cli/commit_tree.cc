// SPDX-License-Identifier: Apache-2.0
#include "cli/commit_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/text/file.h"

extern char** environ;

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxSaid = uint64_t{1} << 20;

// The first line of a file; empty when there is none.
std::string FirstLine(const std::string& path) {
  Diagnostics ignored;
  const std::string text = ReadFile(path, kMaxSaid, Code::kIo, &ignored).value_or("");
  return text.substr(0, text.find('\n'));
}

// Runs a program without a shell and returns the first line of its output. Empty when it fails;
// `why` is then the first line of its complaint. Both lie in `directory` meanwhile.
std::optional<std::string> RunProgram(std::vector<std::string> words, const std::string& directory,
                                      std::string* why) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string output = directory + "/output", complaint = directory + "/complaint";
  constexpr int kHow = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), kHow, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, complaint.c_str(), kHow, 0600);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    *why = fmt::format("`{}` cannot be run: {}", words[0], std::generic_category().message(failed));
    return std::nullopt;
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return std::nullopt;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return FirstLine(output);
  *why = FirstLine(complaint);
  if (why->empty()) *why = fmt::format("`{}` failed without a word", words[0]);
  return std::nullopt;
}

}  // namespace

std::string MakeTemporary(Diagnostics* out) {
  std::string parent = "/tmp", named;
  for (const char* name : {"TMPDIR", "TMP", "TEMP", "TEMPDIR"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || value[0] == '\0') continue;
    parent = value;
    named = fmt::format(", which {} names", name);
    break;
  }
  std::error_code error;
  std::string made = (fs::absolute(parent, error) / "ferrule-XXXXXX").string();
  if (mkdtemp(made.data()) != nullptr) return made;
  out->Add(Code::kIo, fmt::format("cannot make a directory in {}{}: {}", Quoted(parent), named,
                                  std::generic_category().message(errno)))
      .Help("set TMPDIR to a directory that can be written to");
  return {};
}

bool CheckOut(const std::string& word, const std::string& directory, std::string* why) {
  const size_t colon = word.find(':');
  const std::string ref = word.substr(0, colon);
  const std::string path = colon == std::string::npos ? "rules" : word.substr(colon + 1);
  // A word that starts with `-` would be an option of git, never a commit.
  if (ref.empty() || ref[0] == '-') {
    *why = fmt::format("{} is no name of a commit", Quoted(ref));
    return false;
  }
  // In a subfolder git would look for PATH there.
  const auto up = RunProgram({"git", "rev-parse", "--show-cdup"}, directory, why);
  if (!up) return false;
  const std::string archive = directory + "/tree.tar", inside = directory + "/rules";
  std::error_code error;
  return RunProgram({"git", "-C", up->empty() ? "." : *up, "archive", "--format=tar", "-o", archive,
                     ref + ":" + path},
                    directory, why) &&
         fs::create_directory(inside, error) &&
         RunProgram({"tar", "-xf", archive, "-C", inside}, directory, why);
}

}  // namespace ferrule::cli
