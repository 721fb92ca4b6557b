// SPDX-License-Identifier: Apache-2.0
#include "engine/text/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/catch.h"
#include "tests/engine/temp_dir.h"
#include "tests/skip.h"

using namespace ferrule;

namespace {

std::string Problem(const std::string& path, const TempDir& directory, uint64_t size = 100) {
  Diagnostics diagnostics;
  CHECK_FALSE(ReadFile(path, size, Code::kMissingFile, &diagnostics).has_value());
  return Lines(diagnostics, directory.path());
}

}  // namespace

TEST_CASE("a file is read whole, through links, up to the limit") {
  const TempDir directory;
  directory.Write("a", "12345").Write("empty", "");
  CHECK(symlink("a", (directory / "link").c_str()) == 0);
  Diagnostics diagnostics;
  CHECK(ReadFile(directory / "link", 5, Code::kNotFound, &diagnostics) == "12345");
  CHECK(ReadFile(directory / "empty", 0, Code::kNotFound, &diagnostics) == "");
  CHECK(diagnostics.findings().empty());
  CHECK(Problem(directory / "a", directory, 4) ==
        "D/a: error[FR703]: `D/a` has 5 bytes; at most 4 are read");
}

TEST_CASE("what is no file is refused without waiting for it") {
  const TempDir directory;
  directory.Write("a", "1");
  CHECK(mkfifo((directory / "fifo").c_str(), 0600) == 0);
  CHECK(symlink("blobs/x", (directory / "dangling").c_str()) == 0);
  CHECK(symlink("loop", (directory / "loop").c_str()) == 0);
  const int server = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  directory.path().copy(address.sun_path, sizeof address.sun_path - 10);
  std::strcat(address.sun_path, "/socket");
  CHECK(bind(server, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(Problem(directory / "none", directory) == "D/none: error[FR706]: `D/none` does not exist");
  CHECK(Problem(directory / "a/b", directory) == "D/a/b: error[FR706]: `D/a/b` does not exist");
  CHECK(Problem(directory / "dangling", directory) ==
        "D/dangling: error[FR706]: `D/dangling` is a link to `blobs/x`, which does not exist");
  CHECK(Problem(directory / "loop", directory) ==
        "D/loop: error[FR902]: cannot open `D/loop`: Too many levels of symbolic links");
  CHECK(Problem(directory.path(), directory) == "D: error[FR706]: `D` is a directory, not a file");
  CHECK(Problem(directory / "fifo", directory) ==
        "D/fifo: error[FR706]: `D/fifo` is a FIFO, not a file");
  CHECK(Problem(directory / "socket", directory) ==
        "D/socket: error[FR706]: `D/socket` is a socket, not a file");
  CHECK(Problem("/dev/zero", directory) ==
        "/dev/zero: error[FR706]: `/dev/zero` is a device, not a file");
  CHECK(Problem(directory / std::string(300, 'x'), directory).find("FR902") != std::string::npos);
  close(server);
}

TEST_CASE("an unreadable file is a failure of the machine") {
  if (geteuid() == 0) return test::Skip("root reads everything");
  const TempDir directory;
  directory.Write("a", "1");
  CHECK(chmod((directory / "a").c_str(), 0) == 0);
  CHECK(Problem(directory / "a", directory) ==
        "D/a: error[FR902]: cannot open `D/a`: Permission denied");
}

TEST_CASE("a file that ends early is told apart from one that fails") {
  const TempDir directory;
  directory.Write("a", "12345");
  Diagnostics diagnostics;
  const auto file = OpenForReading(directory / "a", Code::kMissingFile, &diagnostics);
  REQUIRE(file);
  char buffer[8];
  CHECK(PreadFully(file->fd.get(), buffer, 5, 0) == ReadOutcome::kComplete);
  CHECK(std::string_view(buffer, 5) == "12345");
  CHECK(PreadFully(file->fd.get(), buffer, 3, 3) == ReadOutcome::kTooShort);
  CHECK(PreadFully(file->fd.get(), buffer, 1, UINT64_MAX) == ReadOutcome::kTooShort);
  CHECK(PreadFully(-1, buffer, 1, 0) == ReadOutcome::kFailed);
  CHECK(PreadFully(-1, buffer, 0, 0) == ReadOutcome::kComplete);
  // Case 102: cut short while it is open.
  CHECK(truncate((directory / "a").c_str(), 2) == 0);
  CHECK_FALSE(ReadAt(*file, directory / "a", buffer, 5, 0, &diagnostics));
  CHECK(Lines(diagnostics, directory.path()) ==
        "D/a: error[FR902]: `D/a` ended while it was read: 5 bytes from byte 0 on are not there | "
        "then: it had 5 bytes when it was opened | help: something writes to the file; try again "
        "when it is complete");
  CHECK(diagnostics.ExitCode() == 3);
}

TEST_CASE("a descriptor is closed once") {
  int raw = -1;
  {
    FileDescriptor first(open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = first.get();
    FileDescriptor second(std::move(first));
    FileDescriptor third;
    third = std::move(second);
    CHECK(third.get() == raw);
    CHECK_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what is tested
  }
  CHECK(fcntl(raw, F_GETFD) == -1);
}
