// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/text/json.h"

namespace ferrule {
namespace {

struct DTypeInfo {
  std::string_view name;
  uint32_t bits;
};
constexpr std::array<DTypeInfo, 20> kDTypes = {{
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},      {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
    {"U16", 16},    {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
    {"F32", 32},    {"F64", 64}, {"I64", 64},    {"U64", 64},    {"C64", 64},
}};
static_assert(kDTypes.size() == static_cast<size_t>(DType::kC64) + 1);

// Never less than the number of dots, seldom more.
size_t MostDots(std::string_view name) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  size_t dots = 0, at = 0;
  for (uint64_t word; name.size() - at >= 8; at += 8) {
    std::memcpy(&word, name.data() + at, 8);
    word ^= kOnes * '.';  // a dot becomes 0; a `/` after it is counted too
    dots += ((((word - kOnes) & ~word) >> 7 & kOnes) * kOnes) >> 56;
  }
  for (; at < name.size(); ++at) dots += name[at] == '.';
  return dots;
}

// Why the length field of a file cannot be; empty when it can.
std::string LengthProblem(uint64_t length, uint64_t size) {
  if (length == 0) return "the header has no bytes";
  if (length > kMaxHeaderBytes)
    return fmt::format("the header would have {} bytes; at most {} are read", length,
                       kMaxHeaderBytes);
  if (length > size - 8)
    return fmt::format("the header would have {} bytes, but only {} follow its length", length,
                       size - 8);
  return {};
}

}  // namespace

std::string_view DTypeName(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }
uint32_t DTypeBits(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bits; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (size_t i = 0; i < kDTypes.size(); ++i)
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

PathTable TableOfNames(std::span<const Tensor> tensors) {
  PathTable names;
  for (size_t i = 0; i < tensors.size(); ++i) names.Add(tensors[i].name, static_cast<int32_t>(i));
  return names;
}

uint64_t TensorTable::Elements(const Tensor& tensor) const {
  uint64_t elements = 1;
  for (const int64_t dim : shape(tensor)) elements *= static_cast<uint64_t>(dim);
  return elements;
}

uint64_t TensorTable::Bytes(const Tensor& tensor) const {
  return Elements(tensor) * DTypeBits(tensor.dtype) / 8;
}

std::string NameProblem(std::string_view name) {
  if (!name.empty() && name.size() <= kMaxName && MostDots(name) < kMaxSegments &&
      std::memchr(name.data(), 0, name.size()) == nullptr)
    return {};
  if (name.empty()) return "a tensor has an empty name";
  if (name.size() > kMaxName)
    return fmt::format("the name {} has {} bytes; at most 1024 are read", Quoted(name, 60),
                       name.size());
  if (name.find('\0') != std::string_view::npos)
    return fmt::format("the name {} holds a NUL", Quoted(name, 60));
  const auto segments = 1 + std::count(name.begin(), name.end(), '.');
  if (static_cast<size_t>(segments) > kMaxSegments)
    return fmt::format("the name {} has {} segments; at most 32 are read", Quoted(name, 60),
                       segments);
  return {};
}

ByteSize CheckedBytes(DType dtype, std::span<const int64_t> shape) {
  uint64_t elements = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    empty = empty || dim == 0;
    if (dim == 0) continue;
    if (dim < 0 || __builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements) ||
        elements > kMaxElements)
      return {0, Code::kBadShape,
              fmt::format("shape {} has more than 2^48 elements", ShapeText(shape))};
  }
  if (empty) return {};
  const uint64_t bits = elements * DTypeBits(dtype);
  if (bits % 8 != 0)
    return {0, Code::kBadShape,
            fmt::format("{} of shape {} has {} bits, no whole number of bytes", DTypeName(dtype),
                        ShapeText(shape), bits)};
  return {bits / 8, Code::kBadShape, {}};
}

bool ReadHeader(const std::string& path, const OpenFile& open, uint32_t file, IndexNames* names,
                std::string* buffer, TensorTable* table, uint64_t* header_bytes,
                Diagnostics* diagnostics) {
  const Location at{nullptr, path, 0, 0, 0, ""};
  if (open.size() < 8) {
    diagnostics
        ->Add(Code::kBadHeader,
              open.size() == 0
                  ? "the file is empty"
                  : fmt::format("the file has {} bytes, too few for a header", open.size()),
              at)
        .Help("download it again");
    return false;
  }
  unsigned char bytes[8];
  if (!ReadAt(open, path, bytes, sizeof bytes, 0, diagnostics)) return false;
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | bytes[i];
  if (std::string problem = LengthProblem(length, open.size()); !problem.empty()) {
    Finding& finding = diagnostics->Add(Code::kBadHeader, std::move(problem), at);
    if (std::memcmp(bytes, "version ", 8) == 0)
      finding.Help("this is a pointer of git-lfs; fetch the file with `git lfs pull`");
    return false;
  }
  // Grown, never shrunk: resizing a string fills it.
  if (buffer->size() < length) buffer->resize(length);
  if (!ReadAt(open, path, buffer->data(), length, 8, diagnostics)) return false;
  *header_bytes += 8 + length;
  return ParseHeader(path, std::string_view(*buffer).substr(0, length), 8 + length,
                     open.size() - 8 - length, file, names, table, diagnostics);
}

std::optional<TensorFile> OpenTensorFile(const std::string& path, Code missing,
                                         Diagnostics* diagnostics) {
  std::optional<OpenFile> open = OpenForReading(path, missing, diagnostics);
  if (!open) return std::nullopt;
  TensorFile file;
  file.open = std::move(*open);
  std::string buffer;
  uint64_t read = 0;
  if (!ReadHeader(path, file.open, 0, nullptr, &buffer, &file.table, &read, diagnostics))
    return std::nullopt;
  const auto twice = TableOfNames(file.table.tensors).Seal();
  if (twice.empty()) return file;
  const std::string_view name = file.table.tensors[static_cast<size_t>(twice[0].second)].name;
  diagnostics->Add(Code::kJsonDuplicate, Quoted(name) + " stands twice in the header",
                   {nullptr, path, 0, 0, 0, JsonPointerStep(name)});
  return std::nullopt;
}

const Tensor* TensorFile::Find(std::string_view name) const {
  for (const Tensor& tensor : table.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

}  // namespace ferrule
