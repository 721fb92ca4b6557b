// SPDX-License-Identifier: Apache-2.0
#include "tests/loader/tiny.h"

#include <cstring>

#include "tests/catch.h"

namespace ferrule::test {

TensorData::TensorData(const std::string& path) {
  Diagnostics out;
  std::optional<TensorFile> file = OpenTensorFile(path, Code::kNotFound, &out);
  INFO(ToHuman(out, false));
  REQUIRE(file);
  file_ = std::move(*file);
  for (const Tensor& tensor : file_.table.tensors)
    if (tensor.end > bytes_.size()) bytes_.resize(tensor.end);
  REQUIRE(ReadAt(file_.open, path, bytes_.data(), bytes_.size(), 0, &out));
}

const Tensor& TensorData::At(std::string_view name) const {
  const Tensor* const tensor = file_.Find(name);
  INFO(std::string(name));
  REQUIRE(tensor != nullptr);
  return *tensor;
}

std::vector<std::string> TensorData::names() const {
  std::vector<std::string> names;
  for (const Tensor& tensor : file_.table.tensors) names.emplace_back(tensor.name);
  return names;
}

std::vector<int64_t> TensorData::Shape(std::string_view name) const {
  const std::span<const int64_t> shape = file_.table.shape(At(name));
  return {shape.begin(), shape.end()};
}

const uint8_t* TensorData::Bytes(std::string_view name) const {
  return bytes_.data() + At(name).begin;
}

std::vector<uint16_t> TensorData::Halves(std::string_view name) const {
  const Tensor& tensor = At(name);
  REQUIRE(DTypeBits(tensor.dtype) == 16);
  std::vector<uint16_t> values((tensor.end - tensor.begin) / 2);
  std::memcpy(values.data(), Bytes(name), values.size() * 2);
  return values;
}

std::vector<float> TensorData::Floats(std::string_view name) const {
  const Tensor& tensor = At(name);
  REQUIRE(tensor.dtype == DType::kF32);
  std::vector<float> values((tensor.end - tensor.begin) / 4);
  std::memcpy(values.data(), Bytes(name), values.size() * 4);
  return values;
}

std::shared_ptr<const Checkpoint> OpenSound(const std::string& directory) {
  Diagnostics out;
  auto checkpoint = OpenCheckpoint(directory, &out);
  INFO(ToHuman(out, false));
  REQUIRE(checkpoint);
  return std::make_shared<const Checkpoint>(std::move(*checkpoint));
}

Plan PlanFor(const Book& book, std::shared_ptr<const Checkpoint> checkpoint, int tp) {
  Diagnostics out;
  std::optional<Plan> plan = MakePlan(book, std::move(checkpoint), {tp}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(plan);
  REQUIRE_FALSE(out.has_errors());
  return std::move(*plan);
}

std::unique_ptr<LoadedLinear> Load(const Plan& plan, std::string_view module, int rank) {
  Diagnostics out;
  const int32_t id = plan.Find(module);
  INFO(std::string(module));
  REQUIRE(id >= 0);
  std::unique_ptr<LoadedLinear> linear = LoadModule(plan, id, rank, &out);
  INFO(ToHuman(out, false));
  REQUIRE(linear);
  return linear;
}

Activations Read(const TensorData& file, std::string_view name) {
  const std::vector<int64_t> shape = file.Shape(name);
  REQUIRE(shape.size() == 2);
  return {shape[0], shape[1], file.Halves(name)};
}

namespace {

LinearGroup GroupOf(const LoadedLinear& linear, const Activations& x,
                    const std::vector<LinearSegment>& segments) {
  REQUIRE(linear.first_column + linear.in <= x.columns);
  LinearGroup group;
  group.x = x.values.data() + linear.first_column;
  group.tokens = x.tokens;
  group.in = linear.in;
  group.x_stride = x.columns;
  group.segments = segments.data();
  group.segment_count = static_cast<int32_t>(segments.size());
  return group;
}

}  // namespace

std::vector<float> ByReference(const LoadedLinear& linear, const Activations& x) {
  std::vector<float> y(static_cast<size_t>(x.tokens * linear.rows));
  const std::vector<LinearSegment> segments = linear.Bind(y.data(), linear.rows);
  const LinearStatus status = LinearReference(GroupOf(linear, x, segments));
  INFO(status.message);
  REQUIRE(status);
  return y;
}

std::vector<float> ByFastPath(const LoadedLinear& linear, const Activations& x) {
  std::vector<float> y(static_cast<size_t>(x.tokens * linear.rows));
  const LinearStatus status =
      linear.Run(x.values.data() + linear.first_column, x.tokens, x.columns, y.data(), linear.rows);
  INFO(status.message);
  REQUIRE(status);
  return y;
}

std::vector<float> ByNaive(const LoadedLinear& linear, const Activations& x, Mutant mutant) {
  std::vector<float> y(static_cast<size_t>(x.tokens * linear.rows));
  const LinearGroup group = GroupOf(linear, x, linear.segments);
  int64_t at = 0;
  for (const LinearSegment& segment : linear.segments) {
    const std::vector<float> own = Naive(group, segment, mutant);
    for (int64_t m = 0; m < x.tokens; ++m)
      for (int64_t n = 0; n < segment.rows; ++n)
        y[static_cast<size_t>(m * linear.rows + at + n)] =
            own[static_cast<size_t>(m * segment.rows + n)];
    at += segment.rows;
  }
  return y;
}

std::vector<float> ColumnsOf(const std::vector<float>& y, int64_t tokens, int64_t begin,
                             int64_t end) {
  const int64_t columns = static_cast<int64_t>(y.size()) / tokens;
  std::vector<float> out;
  for (int64_t m = 0; m < tokens; ++m)
    out.insert(out.end(), y.begin() + m * columns + begin, y.begin() + m * columns + end);
  return out;
}

}  // namespace ferrule::test
