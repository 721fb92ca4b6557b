// SPDX-License-Identifier: Apache-2.0
// header JSON → tensors. One pass reads and checks each entry, a second one checks that the data
// lie one after the other, by offset only where the header is not in that order already.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/checkpoint/index_names.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/json.h"
#include "engine/text/json_scan.h"

namespace ferrule {
namespace {

std::string Bytes(uint64_t n) { return fmt::format("{} byte{}", n, n == 1 ? "" : "s"); }

// Reads exactly what is expected, without white space; after the first false it is of no use.
class TextReader {
 public:
  explicit TextReader(std::string_view text) : text_(text) {}
  size_t read() const { return at_; }

  bool Literal(std::string_view literal) {
    if (text_.size() - at_ < literal.size() ||
        std::memcmp(text_.data() + at_, literal.data(), literal.size()) != 0)
      return false;
    at_ += literal.size();
    return true;
  }
  // Up to `end`, which is not consumed; at most `most` characters.
  std::string_view Until(char end, size_t most) {
    const std::string_view found = text_.substr(at_, most + 1);
    const std::string_view before = found.substr(0, std::min(found.find(end), found.size()));
    at_ += before.size();
    return before;
  }
  // At most 18 digits, without leading zeros.
  bool Unsigned(uint64_t* number) {
    const size_t start = at_, end = std::min(text_.size(), start + 18);
    uint64_t n = 0;
    for (; at_ < end && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      n = n * 10 + static_cast<uint64_t>(text_[at_] - '0');
    *number = n;
    return at_ > start && (text_[start] != '0' || at_ == start + 1);
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

class HeaderReader {
 public:
  HeaderReader(const std::string& path, std::string_view json, IndexNames* names,
               TensorTable* table, Diagnostics* diagnostics)
      : path_(path),
        json_(json),
        names_(names),
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
      const int32_t position = names_ != nullptr ? names_->Next(&scan_) : IndexNames::kNone;
      if (position >= 0)
        name = names_->name(position);
      else if (!scan_.Key(&name))
        return Broken();
      if (name == "__metadata__") {
        if (metadata)
          return Refuse(Code::kJsonDuplicate, "`__metadata__` stands twice in the header");
        metadata = true;
        if (!Metadata()) return false;
      } else if (!Entry(name, position, file)) {
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

  // `position`: of the name in the index, if that is known already.
  bool Entry(std::string_view name, int32_t position, uint32_t file) {
    if (position < 0)
      if (std::string problem = NameProblem(name); !problem.empty())
        return Refuse(Code::kBadName, std::move(problem));
    if (table_->tensors.size() >= kMaxTensors)
      return Refuse(Code::kJsonLimit, fmt::format("more than {} tensors", kMaxTensors));
    Tensor tensor;
    tensor.file = file;
    if (UsualEntry(&tensor)) return Size(name, tensor) && Keep(name, position, tensor);
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
    return Size(name, tensor) && Keep(name, position, tensor);
  }

  // The entry as nearly every writer writes it:
  // {"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]} False, and nothing consumed, when it is
  // written otherwise or something is wrong with it.
  bool UsualEntry(Tensor* tensor) {
    TextReader text(scan_.rest());
    uint64_t dims[kMaxRank], begin = 0, end = 0;
    size_t rank = 0;
    if (!text.Literal(R"({"dtype":")")) return false;
    if (!text.Literal(last_dtype_name_)) {
      const std::string_view name = text.Until('"', 8);
      const std::optional<DType> dtype = DTypeFromName(name);
      if (!dtype) return false;
      last_dtype_ = *dtype;
      last_dtype_name_ = DTypeName(*dtype);
    }
    if (!text.Literal(R"(","shape":[)")) return false;
    while (!text.Literal("]")) {
      if (rank == kMaxRank || (rank > 0 && !text.Literal(",")) || !text.Unsigned(&dims[rank]) ||
          dims[rank] > kMaxElements)
        return false;
      ++rank;
    }
    if (!text.Literal(R"(,"data_offsets":[)") || !text.Unsigned(&begin) || !text.Literal(",") ||
        !text.Unsigned(&end) || !text.Literal("]}") || begin > end)
      return false;
    tensor->dtype = last_dtype_;
    tensor->shape_at = static_cast<uint32_t>(table_->dims.size());
    tensor->rank = static_cast<uint8_t>(rank);
    tensor->begin = begin;
    tensor->end = end;
    for (size_t d = 0; d < rank; ++d) table_->dims.push_back(static_cast<int64_t>(dims[d]));
    scan_.Consume(text.read());
    return true;
  }

  bool Keep(std::string_view name, int32_t position, Tensor& tensor) {
    if (position < 0 && names_ != nullptr) position = names_->Find(name);
    if (position >= 0) {
      tensor.name = names_->name(position);
      names_->Fill(position, tensor.file, table_->tensors.size());
    } else {
      tensor.name = table_->names.Copy(name);
      if (names_ != nullptr) names_->Unlisted();
    }
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
                  fmt::format("{} has {} of data, but {} of shape {} needs {}", Quoted(name),
                              Bytes(tensor.end - tensor.begin), DTypeName(tensor.dtype),
                              ShapeText(shape), size.bytes),
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
    // A name that stands twice has no data of its own to overlap.
    for (const Tensor* one : {&tensor, previous})
      for (size_t i = first_; one != nullptr && i < table_->tensors.size(); ++i)
        if (&table_->tensors[i] != one && table_->tensors[i].name == one->name)
          return Refuse(Code::kJsonDuplicate, Quoted(one->name) + " stands twice in the header",
                        one->name);
    if (tensor.begin < expected)
      return Refuse(
          Code::kBadOffsets,
          fmt::format("the data of {} overlap those of {}: they begin at {}, before {}",
                      Quoted(tensor.name), Quoted(previous->name), tensor.begin, expected),
          tensor.name);
    const std::string where = previous ? "between " + Quoted(previous->name) + " and " : "before ";
    return Refuse(Code::kBadOffsets,
                  fmt::format("{} {}{} that no tensor claims", Bytes(tensor.begin - expected),
                              where, Quoted(tensor.name)),
                  tensor.name);
  }

  bool WrongEnd(uint64_t expected, uint64_t data_begin, uint64_t data_size) {
    if (expected < data_size)
      return Refuse(Code::kBadOffsets,
                    Bytes(data_size - expected) + " after the last tensor that no tensor claims");
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
  IndexNames* names_;
  TensorTable* table_;
  Diagnostics* diagnostics_;
  JsonScan scan_;
  size_t first_ = 0;
  DType last_dtype_ = DType::kBool;
  std::string_view last_dtype_name_ = DTypeName(DType::kBool);  // most entries repeat it
  Finding* finding_ = nullptr;
};

}  // namespace

bool ParseHeader(const std::string& path, std::string_view json, uint64_t data_begin,
                 uint64_t data_size, uint32_t file, IndexNames* names, TensorTable* table,
                 Diagnostics* diagnostics) {
  return HeaderReader(path, json, names, table, diagnostics).Read(file, data_begin, data_size);
}

}  // namespace ferrule
