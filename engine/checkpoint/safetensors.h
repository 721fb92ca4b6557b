// SPDX-License-Identifier: Apache-2.0
// Headers of safetensors files, validated whole before anything is believed.
//
// A file is 8 bytes (little endian: n), n bytes of JSON and the data:
//
//   {"__metadata__": {"format": "pt"},                                   optional, texts only
//    "lm_head.weight": {"dtype": "BF16", "shape": [384, 256], "data_offsets": [0, 196608]}, …}
//
// Accepted is what the reference implementation accepts, less what no writer produces: n ≤
// 100,000,000; the JSON starts with `{` and ends with `}` and spaces; no name twice; known dtypes;
// at most 8 dimensions and 2^48 elements; names of 1 to 1,024 bytes of UTF-8 without NUL and at
// most 32 segments; tensors lie one after the other without hole or overlap and fill the file to
// its last byte; each has as many bytes as dtype and shape need. No dims (a scalar) and dims of 0
// are fine.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/path_table.h"
#include "engine/text/arena.h"
#include "engine/text/diagnostics.h"
#include "engine/text/file.h"
#include "engine/text/large_memory.h"

namespace ferrule {

class IndexNames;  // index_names.h

enum class DType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kC64,
};

std::string_view DTypeName(DType dtype);                    // "F8_E4M3"
uint32_t DTypeBits(DType dtype);                            // 8
std::optional<DType> DTypeFromName(std::string_view name);  // exact

std::string ShapeText(std::span<const int64_t> shape);  // "[384, 256]"

// One entry of a header. Made for 2,000,000 of them; its shape is in the table that holds it.
struct Tensor {
  std::string_view name;  // in the table's arena, or in the text of the index
  uint64_t begin = 0;     // offsets in the file; both 0 in fixtures
  uint64_t end = 0;
  uint32_t file = 0;      // index of the file
  uint32_t shape_at = 0;  // first dimension in the table's pool
  uint8_t rank = 0;
  DType dtype = DType::kBool;
};
static_assert(sizeof(Tensor) <= 48, "92,000 tensors should fit a second-level cache or nearly");

// Tensors of one or more files.
struct TensorTable {
  LargeVector<Tensor> tensors;
  LargeVector<int64_t> dims;
  Arena names;

  std::span<const int64_t> shape(const Tensor& tensor) const {
    return {dims.data() + tensor.shape_at, tensor.rank};
  }
  uint64_t Elements(const Tensor& tensor) const;  // product of the shape, 1 for a scalar
  uint64_t Bytes(const Tensor& tensor) const;     // as dtype and shape need
};

// Their names by index, not sealed yet.
PathTable TableOfNames(std::span<const Tensor> tensors);

// Limits that headers and fixtures share.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr size_t kMaxRank = 8;
inline constexpr uint64_t kMaxElements = uint64_t{1} << 48;
inline constexpr size_t kMaxTensors = 2'000'000;

// Why a tensor cannot have this name; empty when it can.
std::string NameProblem(std::string_view name);

// Number of bytes of a tensor, or the code and reason why there is none: more than 2^48 elements
// (a dim of 0 does not count) or a number of bits that is no multiple of 8.
struct ByteSize {
  uint64_t bytes = 0;
  Code code = Code::kBadShape;
  std::string problem;  // empty: fine
};
ByteSize CheckedBytes(DType dtype, std::span<const int64_t> shape);

// The header `json` of a file whose data are `data_size` bytes from `data_begin` on. Appends its
// tensors to `table`, or one finding about the first mistake and nothing.
// Names that stand twice are found by whoever builds a PathTable of them, for all files at once.
// `names`, unless null, gives the tensors their names and is told which were found.
bool ParseHeader(const std::string& path, std::string_view json, uint64_t data_begin,
                 uint64_t data_size, uint32_t file, IndexNames* names, TensorTable* table,
                 Diagnostics* diagnostics);

// The same from an open file. `buffer` is scratch memory to be reused from file to file.
// `header_bytes` grows by what was read.
bool ReadHeader(const std::string& path, const OpenFile& open, uint32_t file, IndexNames* names,
                std::string* buffer, TensorTable* table, uint64_t* header_bytes,
                Diagnostics* diagnostics);

// One safetensors file by itself, duplicates refused: for inputs and outputs.
struct TensorFile {
  OpenFile open;
  TensorTable table;
  const Tensor* Find(std::string_view name) const;  // linear
};
std::optional<TensorFile> OpenTensorFile(const std::string& path, Code missing,
                                         Diagnostics* diagnostics);

}  // namespace ferrule
