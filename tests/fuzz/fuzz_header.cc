// SPDX-License-Identifier: Apache-2.0
// Input: the JSON of a safetensors header. The reader and the slow second opinion must agree.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "engine/checkpoint/safetensors.h"
#include "tests/fuzz/slow_header.h"

using namespace ferrule;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto slow = SlowHeader(json, std::nullopt);
  const uint64_t data_size = slow && !slow->empty() ? slow->back().end : 0;
  TensorTable table;
  Diagnostics diagnostics;
  const bool read = ParseHeader("f", json, 8 + size, data_size, 0, nullptr, &table, &diagnostics);
  if (read == diagnostics.has_errors()) abort();
  ToHuman(diagnostics, false);
  PathTable names = TableOfNames(table.tensors);
  const bool fast = read && names.Seal().empty();
  // The tree cannot tell `-0` from `0`.
  if (fast != slow.has_value() && (fast || json.find("-0") == std::string_view::npos)) abort();
  if (!fast) return 0;
  if (table.tensors.size() != slow->size()) abort();
  for (const SlowTensor& expected : *slow) {
    const int32_t at = names.At(expected.name);
    if (at < 0) abort();
    const Tensor& tensor = table.tensors[static_cast<size_t>(at)];
    if (tensor.begin != expected.begin + 8 + size || tensor.end != expected.end + 8 + size) abort();
    if (DTypeName(tensor.dtype) != expected.dtype || tensor.rank != expected.shape.size()) abort();
    if (table.Bytes(tensor) != expected.end - expected.begin) abort();
    for (size_t i = 0; i < expected.shape.size(); ++i)
      if (static_cast<uint64_t>(table.shape(tensor)[i]) != expected.shape[i]) abort();
  }
  return 0;
}
