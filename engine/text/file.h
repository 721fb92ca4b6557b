// SPDX-License-Identifier: Apache-2.0
// Files that may be anything: opened without blocking, never mapped, read in full or not at all.
//
// Weights and headers are read with pread and not mapped: a file that is cut short while it is open
// gives a finding, not a SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "engine/text/diagnostics.h"
#include "engine/text/large_memory.h"

namespace ferrule {

// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// What tells whether two openings of a path gave the same file, unchanged.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t modified_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

struct OpenFile {
  FileDescriptor fd;
  FileIdentity identity;
  uint64_t size() const { return identity.size; }
};

// Opens a regular file (links are followed) for reading. What does not exist or is a directory,
// FIFO, socket or device is reported as `missing`: kNotFound for a path that the caller named,
// kMissingFile for one that a checkpoint should have. Everything else is kIo.
std::optional<OpenFile> OpenForReading(const std::string& path, Code missing,
                                       Diagnostics* diagnostics);

// True when there is anything at `path`, a broken link included.
bool PathExists(const std::string& path);

enum class ReadOutcome : uint8_t { kComplete, kTooShort, kFailed };
// Reads `size` bytes from `offset` on, over interruptions and short reads. kFailed: errno says why;
// kTooShort: the file ended before. The buffer may be partly written in both cases.
ReadOutcome PreadFully(int fd, void* buffer, size_t size, uint64_t offset);

// PreadFully with a finding (kIo) when it does not succeed.
bool ReadAt(const OpenFile& file, const std::string& path, void* buffer, size_t size,
            uint64_t offset, Diagnostics* diagnostics);

// A whole file of at most `max_size` bytes; larger is kJsonLimit.
std::optional<std::string> ReadFile(const std::string& path, uint64_t max_size, Code missing,
                                    Diagnostics* diagnostics);
// The same for files that may be large.
std::optional<LargeVector<char>> ReadLargeFile(const std::string& path, uint64_t max_size,
                                               Code missing, Diagnostics* diagnostics);

}  // namespace ferrule
