// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/tensor_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "engine/text/json_writer.h"

namespace ferrule {

TensorWriter::~TensorWriter() {
  if (open_) ::unlink(part_.c_str());
}

bool TensorWriter::Fail(const char* what, Diagnostics* out) {
  out->Add(Code::kIo, fmt::format("{} {}: {}", Quoted(path_), what, std::strerror(errno)),
           {nullptr, path_, 0, 0, 0, ""});
  return false;
}

bool TensorWriter::Bytes(const void* data, size_t size, Diagnostics* out) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd_.get(), at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Fail("cannot be written", out);
    at += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

bool TensorWriter::Open(const std::string& path, const std::vector<Entry>& entries,
                        Diagnostics* out) {
  path_ = path;
  part_ = path + ".part";
  JsonWriter json;
  json.BeginObject();
  int64_t offset = 0;
  for (const Entry& entry : entries) {
    const int64_t size = entry.rows * entry.columns * 4;
    json.Key(entry.name).BeginObject().Key("dtype").Text("F32");
    json.Key("shape").Ints({entry.rows, entry.columns});
    json.Key("data_offsets").Ints({offset, offset + size}).EndObject();
    offset += size;
  }
  json.EndObject();
  std::string header = json.Take();
  header.append((8 - header.size() % 8) % 8, ' ');  // data begin at a multiple of 8
  // The part is renamed over what is there: never over a device, a pipe or a folder.
  struct stat there {};
  if (::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    out->Add(Code::kNotFound, fmt::format("{} is there and is not a file", Quoted(path)),
             {nullptr, path, 0, 0, 0, ""});
    return false;
  }
  fd_ = FileDescriptor(::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd_.valid() && (errno == ENOENT || errno == ENOTDIR)) {
    const size_t slash = path.find_last_of('/');
    out->Add(Code::kNotFound,
             fmt::format("the directory of {} does not exist", Quoted(path.substr(slash + 1))),
             {nullptr, path, 0, 0, 0, ""});
    return false;
  }
  if (!fd_.valid()) return Fail("cannot be created", out);
  open_ = true;
  unsigned char length[8];
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  return Bytes(length, 8, out) && Bytes(header.data(), header.size(), out);
}

bool TensorWriter::Write(const float* values, size_t count, Diagnostics* out) {
  return Bytes(values, count * 4, out);
}

bool TensorWriter::Finish(Diagnostics* out) {
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return Fail("cannot be put in place", out);
  open_ = false;
  return true;
}

}  // namespace ferrule
