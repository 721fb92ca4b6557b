// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/checkpoint.h"

#include <fmt/format.h>

namespace ferrule {

const Tensor* Checkpoint::Find(std::string_view name) const {
  const int32_t index = names.At(name);
  return index < 0 ? nullptr : &table.tensors[static_cast<size_t>(index)];
}

Location Checkpoint::LocationOf(const Tensor& tensor) const {
  const bool slash = !directory.empty() && directory.back() == '/';
  return {nullptr, directory + (slash ? "" : "/") + FileOf(tensor),           0, 0,
          0,       has_weights ? JsonPointerStep(tensor.name) : std::string()};
}

bool Checkpoint::ReadBytes(const Tensor& tensor, uint64_t offset, size_t size, void* buffer,
                           Diagnostics* diagnostics) const {
  const Location at = LocationOf(tensor);
  const uint64_t available = tensor.end - tensor.begin;
  if (!has_weights || offset > available || size > available - offset) {
    diagnostics->Add(Code::kInternal,
                     fmt::format("{} bytes of {} were asked for from byte {} on; it has {}", size,
                                 Quoted(tensor.name), offset, available),
                     at);
    return false;
  }
  const auto file = OpenForReading(at.path, Code::kMissingFile, diagnostics);
  if (!file) return false;
  if (file->identity != identities[tensor.file]) {
    diagnostics->Add(Code::kIo, Quoted(at.path) + " has changed since its header was read", at)
        .Help("something writes to the checkpoint; start again when it is complete");
    return false;
  }
  return ReadAt(*file, at.path, buffer, size, tensor.begin + offset, diagnostics);
}

}  // namespace ferrule
