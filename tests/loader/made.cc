// SPDX-License-Identifier: Apache-2.0
#include "tests/loader/made.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "kernels/fp8.h"
#include "tests/catch.h"
#include "tests/engine/model.h"

namespace ferrule::test {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
void Append(std::vector<uint8_t>* bytes, T value) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof value);
  std::memcpy(bytes->data() + at, &value, sizeof value);
}

// A scale in the dtype in which it is stored. `value` is a power of two for E8M0 and has few bits
// for BF16, so that nothing is rounded.
void AppendScale(std::vector<uint8_t>* bytes, DType dtype, float value) {
  if (dtype == DType::kF8E8M0)
    bytes->push_back(static_cast<uint8_t>(std::ilogb(value) + 127));
  else if (dtype == DType::kBF16)
    Append(bytes, FloatToBf16(value));
  else
    Append(bytes, value);
}

std::string Rules(const std::string& modules, const std::map<std::string, int64_t>& sizes) {
  std::string text = "ferrule: 1\nmodel_type: made\nabout: made by a test\nunverified: made up\n";
  std::string example = "example:\n";
  for (const auto& [name, value] : sizes) example += fmt::format("  {}: {}\n", name, value);
  return text + "modules:\n" + modules + example + "tests: []\n";
}

}  // namespace

Made::Made(uint32_t seed, Storage storage, std::string modules,
           std::map<std::string, int64_t> sizes)
    : random_(seed),
      storage_(std::move(storage)),
      sizes_(std::move(sizes)),
      book_(BookWith(Rules(modules, sizes_))) {}

int64_t Made::element() const {
  return storage_.fp8() ? 1 : static_cast<int64_t>(DTypeBits(storage_.weight)) / 8;
}

void Made::AddLinear(const std::string& name, int64_t rows, int64_t in) {
  std::normal_distribution<float> normal;
  MadeTensor weight{storage_.fp8() ? DType::kF8E4M3 : storage_.weight, {rows, in}, {}};
  for (int64_t i = 0; i < rows * in; ++i) {
    const auto bits = static_cast<uint32_t>(random_());
    if (storage_.fp8()) {
      const uint8_t code = static_cast<uint8_t>(bits);
      weight.bytes.push_back((code & 0x7F) == 0x7F ? 0x38 : code);
    } else if (storage_.weight == DType::kF32) {
      Append(&weight.bytes, normal(random_));
    } else if (storage_.weight == DType::kBF16) {
      Append(&weight.bytes, FloatToBf16(normal(random_)));
    } else {  // F16 between 2^-4 and 2^3
      Append(&weight.bytes,
             static_cast<uint16_t>((bits & 0x8000) | (11 + bits % 8) << 10 | (bits >> 20 & 0x3FF)));
    }
  }
  tensors_[name + ".weight"] = std::move(weight);
  linears_[name] = {rows, in, {}, 0, {}};
  if (!storage_.fp8()) return;
  MadeLinear& linear = linears_[name];
  const size_t count =
      storage_.scheme == "fp8_block"
          ? static_cast<size_t>(CeilDiv(rows, storage_.block_n) * CeilDiv(in, storage_.block_k))
      : storage_.scheme == "fp8_channel" ? static_cast<size_t>(rows)
                                         : 1;
  for (size_t i = 0; i < count; ++i) {
    const int exponent = static_cast<int>(random_() % 8) - 10;
    const float mantissa = 1 + static_cast<float>(random_() % 128) / 128;
    linear.scales.push_back(
        std::ldexp(storage_.scale == DType::kF8E8M0 ? 1.0f : mantissa, exponent));
  }
  if (storage_.scheme == "fp8_static")
    linear.input_scale = 0.0078125f * static_cast<float>(1 + random_() % 3);
  AddScales(name);
}

void Made::AddScales(const std::string& name) {
  const MadeLinear& linear = linears_[name];
  MadeTensor scale{storage_.scale, {}, {}};
  if (storage_.scheme == "fp8_block")
    scale.shape = {CeilDiv(linear.rows, storage_.block_n), CeilDiv(linear.in, storage_.block_k)};
  else if (storage_.scheme == "fp8_channel")
    scale.shape = {linear.rows, 1};
  for (const float value : linear.scales) AppendScale(&scale.bytes, storage_.scale, value);
  const bool block = storage_.scheme == "fp8_block";
  tensors_[name + (block ? ".weight_scale_inv" : ".weight_scale")] = std::move(scale);
  if (storage_.scheme != "fp8_static") return;
  MadeTensor input{DType::kF32, {}, {}};
  Append(&input.bytes, linear.input_scale);
  tensors_[name + ".input_scale"] = std::move(input);
}

void Made::AddBias(const std::string& name, DType dtype) {
  MadeLinear& linear = linears_.at(name);
  MadeTensor bias{dtype, {linear.rows}, {}};
  for (int64_t row = 0; row < linear.rows; ++row) {
    // ± 1.ddddddd · 2^e: exact in BF16, F16 and F32.
    const auto bits = static_cast<uint32_t>(random_());
    const uint32_t sign = bits & 1, digits = bits >> 1 & 0x7F, exponent = bits >> 8 & 7;  // e + 4
    const float value =
        std::ldexp(static_cast<float>(128 + digits), static_cast<int>(exponent) - 11);
    linear.bias.push_back(sign != 0 ? -value : value);
    if (dtype == DType::kF32)
      Append(&bias.bytes, linear.bias.back());
    else if (dtype == DType::kF16)
      Append(&bias.bytes, static_cast<uint16_t>(sign << 15 | (exponent + 11) << 10 | digits << 3));
    else
      Append(&bias.bytes, static_cast<uint16_t>(sign << 15 | (exponent + 123) << 7 | digits));
  }
  tensors_[name + ".bias"] = std::move(bias);
}

void Made::AddReordered(const std::string& name, const Made& other, const std::string& from,
                        const std::vector<int64_t>& rows) {
  const MadeLinear& source = other.linears_.at(from);
  const size_t width = static_cast<size_t>(source.in * element());
  MadeTensor weight{other.tensors_.at(from + ".weight").dtype,
                    {static_cast<int64_t>(rows.size()), source.in},
                    {}};
  for (const int64_t row : rows) {
    const auto begin = other.weight(from).begin() + row * static_cast<int64_t>(width);
    weight.bytes.insert(weight.bytes.end(), begin, begin + static_cast<int64_t>(width));
  }
  MadeLinear linear{static_cast<int64_t>(rows.size()), source.in, {}, 0, {}};
  if (storage_.fp8()) {
    REQUIRE(storage_.scheme == "fp8_block");
    const int64_t columns = CeilDiv(source.in, storage_.block_k);
    for (size_t row = 0; row < rows.size(); row += static_cast<size_t>(storage_.block_n)) {
      const int64_t block = rows[row] / storage_.block_n;
      for (size_t i = row; i < row + static_cast<size_t>(storage_.block_n); ++i)
        REQUIRE(rows.at(i) / storage_.block_n == block);  // whole blocks move
      const auto begin = source.scales.begin() + block * columns;
      linear.scales.insert(linear.scales.end(), begin, begin + columns);
    }
  }
  tensors_[name + ".weight"] = std::move(weight);
  linears_[name] = std::move(linear);
  if (storage_.fp8()) AddScales(name);
}

std::string Made::ConfigText() const {
  std::string text = R"({"model_type": "made")";
  for (const auto& [name, value] : sizes_) text += fmt::format(R"(, "{}": {})", name, value);
  if (storage_.scheme == "fp8_block")
    text += fmt::format(R"(, "quantization_config": {{"quant_method": "fp8", "activation_scheme": )"
                        R"("dynamic", "weight_block_size": [{}, {}]}})",
                        storage_.block_n, storage_.block_k);
  else if (storage_.scheme == "fp8_channel")
    text += R"(, "quantization_config": )" + Channel({});
  else if (storage_.fp8())
    text += fmt::format(
        R"(, "quantization_config": {{"quant_method": "fp8", "activation_scheme": "{}"}})",
        storage_.scheme == "fp8_static" ? "static" : "dynamic");
  return text + "}";
}

// Every second tensor in another file, so that places in a file and in the model differ.
void Made::WriteFiles() const {
  std::string headers[2] = {"{", "{"}, data[2], index;
  int at = 0;
  for (const auto& [name, tensor] : tensors_) {
    const int file = at++ % 2;
    std::string shape;
    for (const int64_t dim : tensor.shape)
      shape += fmt::format("{}{}", shape.empty() ? "" : ",", dim);
    const size_t begin = data[file].size();
    data[file].append(tensor.bytes.begin(), tensor.bytes.end());
    headers[file] += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                 headers[file].size() > 1 ? "," : "", name, DTypeName(tensor.dtype),
                                 shape, begin, data[file].size());
    index += fmt::format(R"({}"{}":"{}.safetensors")", index.empty() ? "" : ",", name, file);
  }
  for (int file = 0; file < std::min(at, 2); ++file)
    directory_->Write(fmt::format("{}.safetensors", file),
                      Safetensors(headers[file] + "}", 0) + data[file]);
  directory_->Write("model.safetensors.index.json", "{\"weight_map\":{" + index + "}}");
  directory_->Write("config.json", ConfigText());
}

void Made::Write() {
  if (!written_) WriteFiles();
  written_ = true;
}

Plan Made::PlanAt(int tp) {
  Write();
  return PlanFor(book_, OpenSound(directory_->path()), tp);
}

Activations Made::X(int64_t tokens, int64_t columns) {
  std::normal_distribution<float> normal;
  Activations x{tokens, columns, {}};
  float size = 1;  // other magnitudes along a row, so that a scale of the wrong group shows
  for (int64_t i = 0; i < tokens * columns; ++i) {
    if (i % 16 == 0) size = std::exp2(static_cast<float>(random_() % 5) - 2);
    x.values.push_back(FloatToBf16(size * normal(random_)));
  }
  return x;
}

std::vector<float> Made::Law(const std::string& name, const std::vector<int64_t>& rows,
                             int64_t begin, int64_t end, const Activations& x) const {
  const MadeLinear& linear = linears_.at(name);
  std::vector<std::vector<float>> columns;
  for (const int64_t row : rows) {
    LinearSegment s;
    s.weight = weight(name).data() + (row * linear.in + begin) * element();
    s.rows = 1;
    s.weight_stride = linear.in;
    s.weight_type = storage_.weight == DType::kF32   ? LinearWeight::kF32
                    : storage_.weight == DType::kF16 ? LinearWeight::kF16
                                                     : LinearWeight::kBf16;
    if (!linear.bias.empty() && begin == 0) s.bias = linear.bias.data() + row;
    if (storage_.scheme == "fp8_block") {
      const int64_t grid = CeilDiv(linear.in, storage_.block_k);
      s.scheme = LinearScheme::kFp8Block;
      s.scale = linear.scales.data() + row / storage_.block_n * grid + begin / storage_.block_k;
      s.scale_stride = grid;
      s.block_n = static_cast<int32_t>(storage_.block_n);
      s.block_k = static_cast<int32_t>(storage_.block_k);
      s.n_phase = static_cast<int32_t>(row % storage_.block_n);
      s.k_phase = static_cast<int32_t>(begin % storage_.block_k);
    } else if (storage_.scheme == "fp8_channel") {
      s.scheme = LinearScheme::kFp8Channel;
      s.scale = linear.scales.data() + row;
    } else if (storage_.fp8()) {
      s.scheme = LinearScheme::kFp8Tensor;
      s.scale = linear.scales.data();
      if (storage_.scheme == "fp8_static") s.input_scale = &linear.input_scale;
    }
    LinearGroup group;
    group.x = x.values.data() + begin;
    group.tokens = x.tokens;
    group.in = end - begin;
    group.x_stride = x.columns;
    columns.push_back(Naive(group, s, Mutant::kNone));
  }
  std::vector<float> y;
  for (size_t m = 0; m < static_cast<size_t>(x.tokens); ++m)
    for (const std::vector<float>& column : columns) y.push_back(column[m]);
  return y;
}

}  // namespace ferrule::test
