// SPDX-License-Identifier: Apache-2.0
// A second opinion about safetensors headers: slow, on the JSON tree, shares nothing with
// header.cc.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/json.h"

namespace ferrule {

struct SlowTensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0, end = 0;
};

inline bool SlowEntry(const JsonValue& entry, std::vector<SlowTensor>* tensors) {
  static const std::map<std::string_view, unsigned> kBits = {
      {"BOOL", 8}, {"U8", 8},      {"I8", 8},      {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},    {"U16", 16},
      {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},    {"F32", 32},
      {"F64", 64}, {"I64", 64},    {"U64", 64},    {"C64", 64},    {"F8_E8M0", 8}};
  SlowTensor tensor;
  tensor.name = entry.name();
  const auto dots = std::count(tensor.name.begin(), tensor.name.end(), '.');
  if (tensor.name.empty() || tensor.name.size() > 1024 || dots > 31) return false;
  if (tensor.name.find('\0') != std::string::npos) return false;
  if (entry.size() != 3) return false;
  const JsonValue shape = entry.Find("shape"), offsets = entry.Find("data_offsets");
  const auto bits = kBits.find(entry.Find("dtype").Text());
  if (bits == kBits.end() || !shape.is_array() || shape.size() > 8) return false;
  if (!offsets.is_array() || offsets.size() != 2) return false;
  long double product = bits->second;  // 64 bits of mantissa: exact below 2^64
  bool zero = false;
  for (const JsonValue dim : shape) {
    const auto n = dim.AsUint();
    if (!n) return false;
    tensor.shape.push_back(*n);
    if (*n == 0)
      zero = true;
    else
      product *= static_cast<long double>(*n);
    if (*n > uint64_t{1} << 48 || product > 281474976710656.0L * bits->second) return false;
  }
  const uint64_t size = zero ? 0 : static_cast<uint64_t>(product);
  if (size % 8 != 0 || !offsets[0].AsUint() || !offsets[1].AsUint()) return false;
  tensor.dtype = bits->first;
  tensor.begin = *offsets[0].AsUint();
  tensor.end = *offsets[1].AsUint();
  if (tensor.end < tensor.begin || tensor.end - tensor.begin != size / 8) return false;
  tensors->push_back(std::move(tensor));
  return true;
}

// The tensors of a header in the order of their data, which are `*data_size` bytes (set to what the
// tensors need when null is given for it); nothing when the header is wrong.
inline std::optional<std::vector<SlowTensor>> SlowHeader(std::string_view json,
                                                         std::optional<uint64_t> data_size) {
  while (!json.empty() && json.back() == ' ') json.remove_suffix(1);
  if (json.empty() || json.front() != '{' || json.back() != '}') return std::nullopt;
  Diagnostics ignored;
  const auto top = ParseJson("slow", json, {100'000'000, 1000}, &ignored);
  if (!top || !top->is_object()) return std::nullopt;
  std::vector<SlowTensor> tensors;
  for (const JsonValue entry : *top) {
    if (entry.name() != "__metadata__") {
      if (!entry.is_object() || !SlowEntry(entry, &tensors)) return std::nullopt;
      continue;
    }
    if (!entry.is_object()) return std::nullopt;
    for (const JsonValue text : entry)
      if (!text.is_string()) return std::nullopt;
  }
  std::sort(tensors.begin(), tensors.end(), [](const SlowTensor& a, const SlowTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const SlowTensor& tensor : tensors) {
    if (tensor.begin != at) return std::nullopt;
    at = tensor.end;
  }
  if (data_size && at != *data_size) return std::nullopt;
  return tensors;
}

}  // namespace ferrule
