// SPDX-License-Identifier: Apache-2.0
#include "kernels/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "kernels/fp8.h"
#include "kernels/placement.h"
#include "kernels/validate.h"

namespace ferrule {
namespace {

constexpr int64_t kChunk = 4 << 20;  // bytes read at once when only some columns are kept
constexpr size_t kAlignment = 64;

// Where the k-th element of a tensor stands: "3, 0" of [4, 2].
std::string Index(const Checkpoint& c, const Tensor& tensor, size_t k) {
  const std::span<const int64_t> shape = c.shape(tensor);
  if (shape.size() != 2) return std::to_string(k);
  const size_t columns = static_cast<size_t>(shape[1]);
  return fmt::format("{}, {}", k / columns, k % columns);
}

// Whether one of eight E4M3 codes is NaN, sign or none: one more than 0x7F is the only 0x80.
bool AnyNan(const std::byte* codes) {
  uint64_t eight = 0;
  std::memcpy(&eight, codes, 8);
  return (((eight & 0x7F7F7F7F7F7F7F7F) + 0x0101010101010101) & 0x8080808080808080) != 0;
}

class Loader {
 public:
  Loader(const Plan& plan, Diagnostics* out) : c_(*plan.checkpoint), out_(out) {}

  std::unique_ptr<LoadedLinear> Run(PlacedModule placed) {
    auto linear = std::make_unique<LoadedLinear>();
    linear_ = linear.get();
    linear->name = std::move(placed.name);
    linear->rows = placed.rows;
    linear->in = placed.in;
    linear->first_column = placed.first_column;
    for (const PlacedSegment& segment : placed.segments)
      if (!Segment(segment)) return nullptr;
    return linear;
  }

 private:
  std::nullptr_t Fail(Code code, std::string message, std::string path = {}) {
    out_->Add(code, std::move(message), {nullptr, std::move(path), 0, 0, 0, ""});
    return nullptr;
  }

  std::byte* Allocate(size_t size) {
    linear_->memory.emplace_back(new (std::nothrow) std::byte[size + kAlignment]);
    std::byte* raw = linear_->memory.back().get();
    if (raw == nullptr) {
      Fail(Code::kIo, fmt::format("no memory for {} bytes of `{}`", size, linear_->name));
      return nullptr;
    }
    linear_->bytes += size;
    const size_t over = reinterpret_cast<uintptr_t>(raw) % kAlignment;
    return raw + (over == 0 ? 0 : kAlignment - over);
  }

  bool Segment(const PlacedSegment& placed) {
    // The segments of one stored linear follow one another and share its scales.
    if (placed.scale >= 0 && placed.scale != scale_of_ && !Scales(placed)) return false;
    const Tensor& weight = c_.tensors()[static_cast<size_t>(placed.weight)];
    const Range rows = placed.rows, cols = placed.cols;
    const int64_t element = DTypeBits(weight.dtype) / 8;
    const int64_t width = cols.size() * element;
    const std::span<const int64_t> shape = c_.shape(weight);
    const int64_t stride = shape[shape.size() - 1] * element;
    std::byte* memory = Allocate(static_cast<size_t>(rows.size() * width));
    if (memory == nullptr) return false;
    if (width == stride) {
      if (!c_.ReadBytes(weight, static_cast<uint64_t>(rows.begin * stride),
                        static_cast<size_t>(rows.size() * stride), memory, out_))
        return false;
    } else if (!Columns(weight, rows, cols.begin * element, width, stride, memory)) {
      return false;
    }
    if (weight.dtype == DType::kF8E4M3 && !NoNan(weight, memory, rows, cols)) return false;

    LinearSegment segment = placed.segment;
    segment.weight = memory;
    if (placed.scale >= 0) segment.scale = scale_ + placed.first_scale;
    if (placed.input >= 0) segment.input_scale = input_;
    if (placed.bias >= 0) {
      const std::span<float> bias(Floats(static_cast<size_t>(rows.size())),
                                  static_cast<size_t>(rows.size()));
      if (bias.data() == nullptr ||
          !ReadFloats(c_, placed.bias, static_cast<uint64_t>(rows.begin), bias, out_))
        return false;
      segment.bias = bias.data();
    }
    linear_->segments.push_back(segment);
    return true;
  }

  bool Columns(const Tensor& weight, Range rows, int64_t first, int64_t width, int64_t stride,
               std::byte* memory) {
    const int64_t batch = std::max<int64_t>(1, kChunk / stride);
    std::vector<std::byte> buffer(static_cast<size_t>(std::min(batch, rows.size()) * stride));
    for (int64_t row = rows.begin; row < rows.end; row += batch) {
      const int64_t count = std::min(batch, rows.end - row);
      if (!c_.ReadBytes(weight, static_cast<uint64_t>(row * stride),
                        static_cast<size_t>(count * stride), buffer.data(), out_))
        return false;
      for (int64_t r = 0; r < count; ++r)
        std::memcpy(memory + (row - rows.begin + r) * width, buffer.data() + r * stride + first,
                    static_cast<size_t>(width));
    }
    return true;
  }

  bool NoNan(const Tensor& weight, const std::byte* memory, Range rows, Range cols) {
    const int64_t size = rows.size() * cols.size();
    int64_t count = 0, first = -1;
    for (int64_t k = 0; k < size; ++k) {
      while (k + 8 <= size && !AnyNan(memory + k)) k += 8;
      if (k == size || (memory[k] & std::byte{0x7F}) != std::byte{0x7F}) continue;
      if (count++ == 0) first = k;
    }
    if (count == 0) return true;
    out_->Add(Code::kNanWeight,
              fmt::format("{} holds {} NaN code{}, the first at [{}, {}]", Quoted(weight.name),
                          count, count == 1 ? "" : "s", rows.begin + first / cols.size(),
                          cols.begin + first % cols.size()),
              c_.LocationOf(weight))
        .Fact("effect", "every output of that row would be NaN")
        .Help("a sound checkpoint has none: fetch the file again, or quantize anew");
    return false;
  }

  float* Floats(size_t count) { return reinterpret_cast<float*>(Allocate(count * sizeof(float))); }

  bool Scales(const PlacedSegment& placed) {
    const size_t count = c_.table.Elements(c_.tensors()[static_cast<size_t>(placed.scale)]);
    scale_ = Floats(count);
    if (scale_ == nullptr || !ReadScales(c_, placed.scale, 0, {scale_, count}, out_)) return false;
    scale_of_ = placed.scale;
    if (placed.input < 0) return true;
    input_ = Floats(1);
    return input_ != nullptr && ReadScales(c_, placed.input, 0, {input_, 1}, out_);
  }

  const Checkpoint& c_;
  Diagnostics* out_;
  LoadedLinear* linear_ = nullptr;
  int32_t scale_of_ = -1;  // what scale_ holds
  float* scale_ = nullptr;
  float* input_ = nullptr;
};

}  // namespace

std::vector<LinearSegment> LoadedLinear::Bind(float* y, int64_t y_stride) const {
  std::vector<LinearSegment> bound = segments;
  int64_t row = 0;
  for (LinearSegment& segment : bound) {
    segment.y = y + row;
    segment.y_stride = y_stride;
    segment.y_type = LinearOutput::kF32;
    row += segment.rows;
  }
  return bound;
}

LinearStatus LoadedLinear::Run(const void* x, int64_t tokens, int64_t x_stride, float* y,
                               int64_t y_stride, LinearPool* pool) const {
  const LinearStatus fits = ValidateWhole(rows, y_stride);
  if (!fits) return fits;
  const std::vector<LinearSegment> bound = Bind(y, y_stride);
  LinearGroup group;
  group.x = x;
  group.tokens = tokens;
  group.in = in;
  group.x_stride = x_stride;
  group.segments = bound.data();
  group.segment_count = static_cast<int32_t>(bound.size());
  const size_t size = WorkspaceSize(group);
  std::unique_ptr<std::byte[]> raw(new (std::nothrow) std::byte[size + kWorkspaceAlignment]);
  if (!raw) return {LinearCode::kNoMemory, -1, "no memory for the workspace"};
  const size_t over = reinterpret_cast<uintptr_t>(raw.get()) % kWorkspaceAlignment;
  return LinearCpu(group, raw.get() + (over == 0 ? 0 : kWorkspaceAlignment - over), size, pool);
}

bool ReadFloats(const Checkpoint& c, int32_t id, uint64_t first, std::span<float> values,
                Diagnostics* out) {
  const Tensor& tensor = c.tensors()[static_cast<size_t>(id)];
  const size_t element = DTypeBits(tensor.dtype) / 8;
  const bool known = tensor.dtype == DType::kF32 || tensor.dtype == DType::kBF16 ||
                     tensor.dtype == DType::kF16 || tensor.dtype == DType::kF8E8M0;
  if (!known) {
    out->Add(Code::kScaleType, fmt::format("{} is no scale", Quoted(tensor.name)),
             {nullptr, c.FileOf(tensor), 0, 0, 0, ""});
    return false;
  }
  // They are read into the end of the memory: widening from its beginning on overwrites only what
  // was widened before.
  const std::byte* const from =
      std::as_writable_bytes(values).data() + values.size() * (sizeof(float) - element);
  if (!c.ReadBytes(tensor, first * element, values.size() * element, const_cast<std::byte*>(from),
                   out))
    return false;
  for (size_t k = 0; k < values.size(); ++k) {
    uint16_t half = 0;
    if (element == 2) std::memcpy(&half, from + 2 * k, 2);
    if (tensor.dtype == DType::kBF16) values[k] = Bf16ToFloat(half);
    if (tensor.dtype == DType::kF16) values[k] = F16ToFloat(half);
    if (tensor.dtype == DType::kF8E8M0) values[k] = E8m0ToFloat(static_cast<uint8_t>(from[k]));
  }
  return true;
}

bool ReadScales(const Checkpoint& c, int32_t id, uint64_t begin, std::span<float> values,
                Diagnostics* out) {
  if (!ReadFloats(c, id, begin, values, out)) return false;
  const Tensor& tensor = c.tensors()[static_cast<size_t>(id)];
  size_t wrong = 0, first = 0;
  for (size_t k = 0; k < values.size(); ++k) {
    const bool normal =
        tensor.dtype == DType::kF8E8M0 ? std::isfinite(values[k]) : std::isnormal(values[k]);
    if (normal && values[k] > 0) continue;
    if (wrong++ == 0) first = k;
  }
  if (wrong == 0) return true;
  out->Add(Code::kBadScaleValue,
           fmt::format("{}[{}] is {}; a scale is a positive number between 1.2e-38 and 3.4e38",
                       Quoted(tensor.name), Index(c, tensor, begin + first), values[first]),
           c.LocationOf(tensor))
      .Fact("found", fmt::format("{} of {} values", wrong, values.size()))
      .Fact("effect", "outputs would be zero, of the wrong sign or NaN, and nothing else amiss")
      .Help("such a scale was never filled: fetch the file again, or quantize anew");
  return false;
}

std::unique_ptr<LoadedLinear> LoadModule(const Plan& plan, int32_t module, int rank,
                                         Diagnostics* out) {
  std::optional<PlacedModule> placed = PlaceModule(plan, module, rank, out);
  return placed ? Loader(plan, out).Run(std::move(*placed)) : nullptr;
}

}  // namespace ferrule
