// SPDX-License-Identifier: Apache-2.0
// Cells → a request in JSON → the Python program of bench_packages.py → its lines.
#include "cli/bench_packages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli/bench_packages_program.h"
#include "engine/text/json_writer.h"

extern char** environ;

namespace ferrule::cli {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

std::string Request(const std::vector<PackageCell>& cells, int heat_ms) {
  JsonWriter json;
  json.BeginObject().Key("heat_ms").Int(heat_ms).Key("cells").BeginArray();
  for (const PackageCell& cell : cells) {
    json.BeginObject().Key("name").Text(cell.name).Key("tokens").Int(cell.tokens);
    json.Key("in").Int(cell.in).Key("rows").Int(cell.rows).Key("copies").Int(cell.copies);
    json.EndObject();
  }
  return json.EndArray().EndObject().Take();
}

// `python -c program`, its standard input a file, its standard output a pipe. 0, or an error
// number.
int Start(const std::string& python, std::FILE* input, const int (&output)[2], pid_t* pid) {
  std::string words[] = {python, "-c", kPackagesProgram};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  const int error = posix_spawnp(pid, argv[0], &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

bool TimePackages(const std::string& python, const std::vector<PackageCell>& cells, int heat_ms,
                  const std::function<void(const std::string& line)>& take, std::string* failure) {
  const std::string request = Request(cells, heat_ms);
  int output[2];
  const File input(std::tmpfile());
  if (!input || std::fwrite(request.data(), 1, request.size(), input.get()) != request.size() ||
      std::fflush(input.get()) != 0 || lseek(fileno(input.get()), 0, SEEK_SET) != 0 ||
      pipe2(output, O_CLOEXEC) != 0) {
    *failure = std::strerror(errno);
    return false;
  }
  pid_t pid = 0;
  const int error = Start(python, input.get(), output, &pid);
  close(output[1]);
  const File answer(fdopen(output[0], "r"));
  if (error != 0 || !answer) {
    if (!answer) close(output[0]);
    *failure = std::strerror(error != 0 ? error : errno);
    return false;
  }
  char* text = nullptr;
  size_t room = 0;
  for (ssize_t size = 0; (size = getline(&text, &room, answer.get())) > 0;) {
    if (text[size - 1] == '\n') --size;
    take(std::string(text, static_cast<size_t>(size)));
  }
  std::free(text);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) break;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  *failure = WIFEXITED(status) ? fmt::format("it ended with status {}", WEXITSTATUS(status))
                               : fmt::format("signal {} ended it", WTERMSIG(status));
  return false;
}

}  // namespace ferrule::cli
