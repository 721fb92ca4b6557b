// SPDX-License-Identifier: Apache-2.0
// header JSON → tensors. One pass reads and checks each entry, a second one checks that the data
// lie one after the other, by offset only where the header is not in that order already.
#include "engine/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "engine/json.h"
#include "engine/json_scan.h"
#include "engine/name_table.h"

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

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

size_t CountDots(std::string_view name) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  size_t dots = 0, at = 0;
  for (uint64_t word; name.size() - at >= 8; at += 8) {
    std::memcpy(&word, name.data() + at, 8);
    word ^= kOnes * '.';  // a dot becomes 0; exact for bytes below 0x80, and too many for others
    dots += static_cast<size_t>(std::popcount((word - kOnes) & ~word & (kOnes << 7)));
  }
  for (; at < name.size(); ++at) dots += name[at] == '.';
  return dots;
}

class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::string_view json, TensorTable* table,
               Diagnostics* diagnostics)
      : path_(path),
        json_(json),
        table_(table),
        diagnostics_(diagnostics),
        scan_(json, &table->names) {}

  bool Read(uint32_t file, uint64_t data_begin, uint64_t data_size) {
    const size_t tensors = table_->tensors.size(), dims = table_->dims.size();
    first_ = tensors;
    if (Entries(file) && Layout(data_begin, data_size)) return true;
    table_->tensors.resize(tensors);
    table_->dims.resize(dims);
    return false;
  }

 private:
  bool Entries(uint32_t file) {
    if (json_.empty() || json_[0] != '{')
      return Refuse(Code::kBadHeader, "the header does not start with `{`");
    bool metadata = false;
    std::string_view name;
    scan_.Open('{');
    while (scan_.Next('}')) {
      if (!scan_.Key(&name)) return Broken();
      if (name == "__metadata__") {
        if (metadata)
          return Refuse(Code::kJsonDuplicate, "`__metadata__` stands twice in the header");
        metadata = true;
        if (!Metadata()) return false;
      } else if (!Entry(name, file)) {
        return false;
      }
    }
    return scan_.End(true) || Broken();
  }

  bool Metadata() {
    std::vector<std::string_view> names;
    std::string_view text;
    const size_t at = scan_.at();
    scan_.Open('{');
    while (scan_.Next('}'))
      if (!scan_.Key(&names.emplace_back()) || !scan_.String(&text)) break;
    if (scan_.mistake() == JsonScan::Mistake::kType)
      return Refuse(Code::kBadHeader,
                    "`__metadata__` must be an object of texts: " + scan_.problem(),
                    "__metadata__");
    if (scan_.failed()) return Broken();
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice == names.end()) return true;
    return Refuse(
        Code::kJsonDuplicate,
        fmt::format("{} stands twice in `__metadata__` (byte {})", Quoted(*twice), 8 + at),
        "__metadata__");
  }

  bool Entry(std::string_view name, uint32_t file) {
    if (name.empty() || name.size() > 1024 || CountDots(name) > 31 ||
        std::memchr(name.data(), 0, name.size()))
      if (std::string problem = NameProblem(name); !problem.empty())
        return Refuse(Code::kBadName, std::move(problem), name.substr(0, 120));
    if (table_->tensors.size() >= kMaxTensors)
      return Refuse(Code::kJsonLimit, fmt::format("more than {} tensors", kMaxTensors));
    Tensor tensor;
    tensor.file = file;
    enum : unsigned { kDtype = 1, kShape = 2, kOffsets = 4 };
    unsigned seen = 0;
    std::string_view key;
    if (!scan_.Open('{')) return Wrong(name, Code::kBadHeader, "the entry of {}: {}");
    while (scan_.Next('}')) {
      if (!scan_.Key(&key)) return Broken();
      const unsigned bit = key == "dtype"          ? kDtype
                           : key == "shape"        ? kShape
                           : key == "data_offsets" ? kOffsets
                                                   : 0u;
      if (bit == 0)
        return Refuse(Code::kBadHeader,
                      fmt::format("the entry of {} has a key {} that the format does not have",
                                  Quoted(name), Quoted(key)),
                      name);
      if (seen & bit)
        return Refuse(Code::kJsonDuplicate,
                      fmt::format("{} stands twice in the entry of {}", Quoted(key), Quoted(name)),
                      name);
      seen |= bit;
      if (bit == kDtype   ? !Dtype(name, &tensor)
          : bit == kShape ? !Shape(name, &tensor)
                          : !Offsets(name, &tensor))
        return false;
    }
    if (scan_.failed()) return Broken();
    if (seen != 7) {
      const char* missing = !(seen & kDtype)   ? "dtype"
                            : !(seen & kShape) ? "shape"
                                               : "data_offsets";
      return Refuse(Code::kBadHeader,
                    fmt::format("the entry of {} has no `{}`", Quoted(name), missing), name);
    }
    return Size(name, tensor) && Keep(name, tensor);
  }

  bool Keep(std::string_view name, Tensor& tensor) {
    tensor.name = table_->names.Copy(name);
    table_->tensors.push_back(tensor);
    return true;
  }

  bool Dtype(std::string_view name, Tensor* tensor) {
    std::string_view text;
    if (!scan_.String(&text)) return Wrong(name, Code::kBadDtype, "the dtype of {}: {}");
    if (text == last_dtype_name_) {
      tensor->dtype = last_dtype_;
      return true;
    }
    const std::optional<DType> dtype = DTypeFromName(text);
    if (!dtype)
      return Refuse(Code::kBadDtype,
                    fmt::format("{} has dtype {}, which safetensors does not have", Quoted(name),
                                Quoted(text)),
                    name);
    tensor->dtype = last_dtype_ = *dtype;
    last_dtype_name_ = DTypeName(*dtype);
    return true;
  }

  bool Shape(std::string_view name, Tensor* tensor) {
    tensor->shape_at = static_cast<uint32_t>(table_->dims.size());
    scan_.Open('[');
    while (scan_.Next(']')) {
      uint64_t dim = 0;
      if (!scan_.Unsigned(&dim)) break;
      if (tensor->rank == kMaxRank)
        return Refuse(Code::kBadShape,
                      fmt::format("{} has more than {} dimensions", Quoted(name), kMaxRank), name);
      if (dim > kMaxElements)
        return Refuse(Code::kBadShape,
                      fmt::format("{} has a dimension of {}; at most 2^48 elements are read",
                                  Quoted(name), dim),
                      name);
      table_->dims.push_back(static_cast<int64_t>(dim));
      ++tensor->rank;
    }
    return !scan_.failed() || Wrong(name, Code::kBadShape, "the shape of {}: {}");
  }

  bool Offsets(std::string_view name, Tensor* tensor) {
    uint64_t offsets[2] = {0, 0};
    size_t count = 0;
    scan_.Open('[');
    while (scan_.Next(']')) {
      uint64_t offset = 0;
      if (!scan_.Unsigned(&offset)) break;
      if (count < 2) offsets[count] = offset;
      ++count;
    }
    if (scan_.failed()) return Wrong(name, Code::kBadOffsets, "the data offsets of {}: {}");
    if (count != 2)
      return Refuse(Code::kBadOffsets,
                    fmt::format("{} has {} data offsets instead of 2", Quoted(name), count), name);
    if (offsets[0] > offsets[1])
      return Refuse(Code::kBadOffsets,
                    fmt::format("the data of {} end at {}, before they begin at {}", Quoted(name),
                                offsets[1], offsets[0]),
                    name);
    tensor->begin = offsets[0];
    tensor->end = offsets[1];
    return true;
  }

  bool Size(std::string_view name, const Tensor& tensor) {
    const std::span<const int64_t> shape = table_->shape(tensor);
    const ByteSize size = CheckedBytes(tensor.dtype, shape);
    if (!size.problem.empty())
      return Refuse(size.code, fmt::format("{}: {}", Quoted(name), size.problem), name);
    if (size.bytes == tensor.end - tensor.begin) return true;
    return Refuse(Code::kBadOffsets,
                  fmt::format("{} has {} bytes of data, but {} of shape {} needs {}", Quoted(name),
                              tensor.end - tensor.begin, DTypeName(tensor.dtype), ShapeText(shape),
                              size.bytes),
                  name);
  }

  // Data without hole and overlap from 0 to `data_size`; makes the offsets those of the file.
  bool Layout(uint64_t data_begin, uint64_t data_size) {
    const std::span<Tensor> tensors(table_->tensors.begin() + static_cast<ptrdiff_t>(first_),
                                    table_->tensors.end());
    std::vector<Tensor*> order;
    const auto before = [](const Tensor& a, const Tensor& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), before)) {
      for (Tensor& tensor : tensors) order.push_back(&tensor);
      std::sort(order.begin(), order.end(),
                [&](const Tensor* a, const Tensor* b) { return before(*a, *b); });
    }
    uint64_t expected = 0;
    const Tensor* previous = nullptr;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& tensor = order.empty() ? tensors[i] : *order[i];
      if (tensor.begin != expected) return Gap(previous, tensor, expected);
      expected = tensor.end;
      previous = &tensor;
    }
    if (expected != data_size) return WrongEnd(expected, data_begin, data_size);
    for (Tensor& tensor : tensors) {
      tensor.begin += data_begin;
      tensor.end += data_begin;
    }
    return true;
  }

  bool Gap(const Tensor* previous, const Tensor& tensor, uint64_t expected) {
    if (tensor.begin < expected)
      return Refuse(
          Code::kBadOffsets,
          fmt::format("the data of {} overlap those of {}: they begin at {}, before {}",
                      Quoted(tensor.name), Quoted(previous->name), tensor.begin, expected),
          tensor.name);
    const std::string where = previous ? "between " + Quoted(previous->name) + " and " : "before ";
    return Refuse(Code::kBadOffsets,
                  fmt::format("{} bytes {}{} belong to no tensor", tensor.begin - expected, where,
                              Quoted(tensor.name)),
                  tensor.name);
  }

  bool WrongEnd(uint64_t expected, uint64_t data_begin, uint64_t data_size) {
    if (expected < data_size)
      return Refuse(
          Code::kBadOffsets,
          fmt::format("{} bytes after the last tensor belong to no tensor", data_size - expected));
    Refuse(Code::kBadOffsets,
           fmt::format("the file is cut short: it has {} bytes, its tensors need {} more",
                       data_begin + data_size, expected - data_size));
    return Advise("download it again");
  }

  // A mistake of the scanner that is not about one tensor.
  bool Broken() {
    const Code code =
        scan_.mistake() == JsonScan::Mistake::kDuplicate ? Code::kJsonDuplicate : Code::kBadHeader;
    return Refuse(
        code, fmt::format("the header is not JSON: {} (byte {})", scan_.problem(), 8 + scan_.at()));
  }

  // A mistake of the scanner within a tensor's entry; of kind: `code`.
  bool Wrong(std::string_view name, Code code, const char* format) {
    if (scan_.mistake() != JsonScan::Mistake::kType) return Broken();
    return Refuse(code, fmt::format(fmt::runtime(format), Quoted(name), scan_.problem()), name);
  }

  bool Refuse(Code code, std::string message, std::string_view name = {}) {
    finding_ = &diagnostics_->Add(
        code, std::move(message),
        {nullptr, path_, 0, 0, 0, name.empty() ? std::string() : JsonPointerStep(name)});
    return false;
  }
  bool Advise(const char* help) {
    finding_->Help(help);
    return false;
  }

  const std::string& path_;
  std::string_view json_;
  TensorTable* table_;
  Diagnostics* diagnostics_;
  JsonScan scan_;
  size_t first_ = 0;
  DType last_dtype_ = DType::kBool;
  std::string_view last_dtype_name_;
  Finding* finding_ = nullptr;
};

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

uint64_t TensorTable::Elements(const Tensor& tensor) const {
  uint64_t elements = 1;
  for (const int64_t dim : shape(tensor)) elements *= static_cast<uint64_t>(dim);
  return elements;
}

uint64_t TensorTable::Bytes(const Tensor& tensor) const {
  return Elements(tensor) * DTypeBits(tensor.dtype) / 8;
}

std::string NameProblem(std::string_view name) {
  if (name.empty()) return "a tensor has an empty name";
  if (name.size() > 1024)
    return fmt::format("the name {} has {} bytes; at most 1024 are read", Quoted(name, 60),
                       name.size());
  if (name.find('\0') != std::string_view::npos)
    return fmt::format("the name {} holds a NUL", Quoted(name, 60));
  const auto segments = 1 + std::count(name.begin(), name.end(), '.');
  if (segments > 32)
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
    if (dim < 0 || elements > kMaxElements / static_cast<uint64_t>(dim))
      return {0, Code::kBadShape,
              fmt::format("shape {} has more than 2^48 elements", ShapeText(shape))};
    elements *= static_cast<uint64_t>(dim);
  }
  if (empty) return {};
  const uint64_t bits = elements * DTypeBits(dtype);
  if (bits % 8 != 0)
    return {0, Code::kBadShape,
            fmt::format("{} of shape {} has {} bits, no whole number of bytes", DTypeName(dtype),
                        ShapeText(shape), bits)};
  return {bits / 8, Code::kBadShape, {}};
}

bool ParseHeader(const std::string& path, std::string_view json, uint64_t data_begin,
                 uint64_t data_size, uint32_t file, TensorTable* table, Diagnostics* diagnostics) {
  return HeaderReader(path, json, table, diagnostics).Read(file, data_begin, data_size);
}

bool ReadHeader(const std::string& path, const OpenFile& open, uint32_t file, std::string* buffer,
                TensorTable* table, uint64_t* header_bytes, Diagnostics* diagnostics) {
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
                     open.size() - 8 - length, file, table, diagnostics);
}

std::optional<TensorFile> OpenTensorFile(const std::string& path, Code missing,
                                         Diagnostics* diagnostics) {
  std::optional<OpenFile> open = OpenForReading(path, missing, diagnostics);
  if (!open) return std::nullopt;
  TensorFile file;
  file.open = std::move(*open);
  std::string buffer;
  uint64_t read = 0;
  if (!ReadHeader(path, file.open, 0, &buffer, &file.table, &read, diagnostics))
    return std::nullopt;
  NameTable names;
  const std::vector<NameTable::Duplicate> twice = names.Build(file.table.tensors);
  if (twice.empty()) return file;
  const std::string_view name = file.table.tensors[twice[0].second].name;
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
