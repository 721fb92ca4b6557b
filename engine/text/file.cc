// SPDX-License-Identifier: Apache-2.0
#include "engine/text/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ferrule {
namespace {

Location At(const std::string& path) { return {nullptr, path, 0, 0, 0, ""}; }

std::string Reason(int error) {
  char text[256];
  return strerror_r(error, text, sizeof text);  // the GNU one: returns the text
}

// Why there is no file to open, for errors that mean this.
std::string Absence(const std::string& path) {
  struct stat link {};
  if (lstat(path.c_str(), &link) != 0 || !S_ISLNK(link.st_mode)) return "does not exist";
  std::string target(4096, '\0');
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  target.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return "is a link to " + Quoted(target) + ", which does not exist";
}

const char* KindOfFile(mode_t mode) {
  return S_ISDIR(mode)    ? "a directory"
         : S_ISFIFO(mode) ? "a FIFO"
         : S_ISSOCK(mode) ? "a socket"
                          : "a device";
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

bool PathExists(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0;
}

std::optional<OpenFile> OpenForReading(const std::string& path, Code missing,
                                       Diagnostics* diagnostics) {
  int fd = -1;
  // O_NONBLOCK: opening a FIFO without writer returns at once.
  do fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR)
      diagnostics->Add(missing, Quoted(path) + " " + Absence(path), At(path));
    else if (error == ENXIO)
      diagnostics->Add(missing, Quoted(path) + " is a socket, not a file", At(path));
    else
      diagnostics->Add(Code::kIo, fmt::format("cannot open {}: {}", Quoted(path), Reason(error)),
                       At(path));
    return std::nullopt;
  }
  OpenFile file;
  file.fd = FileDescriptor(fd);
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    diagnostics->Add(Code::kIo, fmt::format("cannot open {}: {}", Quoted(path), Reason(errno)),
                     At(path));
    return std::nullopt;
  }
  if (!S_ISREG(info.st_mode)) {
    diagnostics->Add(missing,
                     fmt::format("{} is {}, not a file", Quoted(path), KindOfFile(info.st_mode)),
                     At(path));
    return std::nullopt;
  }
  file.identity.device = info.st_dev;
  file.identity.inode = info.st_ino;
  file.identity.size = static_cast<uint64_t>(info.st_size);
  file.identity.modified_ns = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return file;
}

ReadOutcome PreadFully(int fd, void* buffer, size_t size, uint64_t offset) {
  // Linux transfers at most 0x7ffff000 bytes at a time; asking for less keeps offsets aligned.
  constexpr size_t kMost = size_t{1} << 30;
  char* to = static_cast<char*>(buffer);
  while (size > 0) {
    if (offset > static_cast<uint64_t>(INT64_MAX)) return ReadOutcome::kTooShort;
    const ssize_t got = pread(fd, to, std::min(size, kMost), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ReadOutcome::kFailed;
    if (got == 0) return ReadOutcome::kTooShort;
    to += got;
    size -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return ReadOutcome::kComplete;
}

bool ReadAt(const OpenFile& file, const std::string& path, void* buffer, size_t size,
            uint64_t offset, Diagnostics* diagnostics) {
  switch (PreadFully(file.fd.get(), buffer, size, offset)) {
    case ReadOutcome::kComplete:
      return true;
    case ReadOutcome::kFailed:
      diagnostics->Add(Code::kIo, fmt::format("cannot read {}: {}", Quoted(path), Reason(errno)),
                       At(path));
      return false;
    case ReadOutcome::kTooShort:
      break;
  }
  diagnostics
      ->Add(Code::kIo,
            fmt::format("{} ended while it was read: {} bytes from byte {} on are not there",
                        Quoted(path), size, offset),
            At(path))
      .Fact("then", fmt::format("it had {} bytes when it was opened", file.size()))
      .Help("something writes to the file; try again when it is complete");
  return false;
}

namespace {

template <typename Text>
std::optional<Text> ReadWhole(const std::string& path, uint64_t max_size, Code missing,
                              Diagnostics* diagnostics) {
  const std::optional<OpenFile> file = OpenForReading(path, missing, diagnostics);
  if (!file) return std::nullopt;
  if (file->size() > max_size) {
    diagnostics->Add(
        Code::kJsonLimit,
        fmt::format("{} has {} bytes; at most {} are read", Quoted(path), file->size(), max_size),
        At(path));
    return std::nullopt;
  }
  Text text;
  text.resize(file->size());
  if (!ReadAt(*file, path, text.data(), text.size(), 0, diagnostics)) return std::nullopt;
  return text;
}

}  // namespace

std::optional<std::string> ReadFile(const std::string& path, uint64_t max_size, Code missing,
                                    Diagnostics* diagnostics) {
  return ReadWhole<std::string>(path, max_size, missing, diagnostics);
}

std::optional<LargeVector<char>> ReadLargeFile(const std::string& path, uint64_t max_size,
                                               Code missing, Diagnostics* diagnostics) {
  return ReadWhole<LargeVector<char>>(path, max_size, missing, diagnostics);
}

}  // namespace ferrule
