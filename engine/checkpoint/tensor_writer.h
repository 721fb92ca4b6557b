// SPDX-License-Identifier: Apache-2.0
// Writes a safetensors file of float32 tensors, one after the other, without holding them all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/diagnostics.h"
#include "engine/text/file.h"

namespace ferrule {

class TensorWriter {
 public:
  struct Entry {
    std::string name;
    int64_t rows = 0, columns = 0;
  };

  // Removes an unfinished file.
  ~TensorWriter();
  TensorWriter() = default;
  TensorWriter(const TensorWriter&) = delete;
  TensorWriter& operator=(const TensorWriter&) = delete;

  // All tensors with their sizes, in the order in which Write will follow. The file appears under
  // `path` when Finish succeeds; until then it is `path` + ".part".
  bool Open(const std::string& path, const std::vector<Entry>& entries, Diagnostics* out);
  bool Write(const float* values, size_t count, Diagnostics* out);
  bool Finish(Diagnostics* out);

 private:
  bool Bytes(const void* data, size_t size, Diagnostics* out);
  bool Fail(const char* what, Diagnostics* out);
  std::string path_, part_;
  FileDescriptor fd_;
  bool open_ = false;
};

}  // namespace ferrule
