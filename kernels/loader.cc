// SPDX-License-Identifier: Apache-2.0
#include "kernels/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "kernels/fp8.h"

namespace ferrule {
namespace {

constexpr int64_t kChunk = 4 << 20;  // bytes read at once when only some columns are kept
constexpr size_t kAlignment = 64;

class Loader {
 public:
  Loader(const Plan& plan, int rank, Diagnostics* out)
      : plan_(plan), c_(*plan.checkpoint), rank_(rank), out_(out) {}

  std::unique_ptr<LoadedLinear> Run(int32_t id) {
    const Decisions& d = plan_.decisions;
    const Unit& unit = d.UnitOf(id);
    const int32_t i = id - unit.first;
    auto linear = std::make_unique<LoadedLinear>();
    linear->name = unit.PathOf(i);
    linear_ = linear.get();
    if (unit.kind != NodeKind::kFused) {
      if (!Part(unit, i)) return nullptr;
    } else {
      if (d.modules[static_cast<size_t>(id)].together == Together::kDisagree)
        return Fail(Code::kPartsDisagree, fmt::format("the parts of `{}` disagree", linear->name));
      for (const int32_t part : unit.parts) {
        const Unit& p = d.units.units[static_cast<size_t>(part)];
        if (d.modules[static_cast<size_t>(p.first + i)].absent) continue;
        if (!Part(p, i)) return nullptr;
      }
    }
    for (const LinearSegment& segment : linear->segments) linear->rows += segment.rows;
    return linear;
  }

 private:
  std::nullptr_t Fail(Code code, std::string message, std::string path = {}) {
    out_->Add(code, std::move(message), {nullptr, std::move(path), 0, 0, 0, ""});
    return nullptr;
  }

  // The module whose weight is read: itself, or the one that `same:` names.
  const Module* Source(const Unit& unit, int32_t i) {
    const Decisions& d = plan_.decisions;
    const Module& own = d.modules[static_cast<size_t>(unit.first + i)];
    if (!own.absent) return &own;
    if (own.reason != Reason::kSame) return nullptr;
    const int32_t other = SameAs(d, unit, i);
    return other < 0 ? nullptr : &d.modules[static_cast<size_t>(other)];
  }

  bool Part(const Unit& unit, int32_t i) {
    const Decisions& d = plan_.decisions;
    const std::string name = unit.PathOf(i);
    const Module* module = Source(unit, i);
    if (module == nullptr || module->weight < 0) {
      Fail(Code::kMissingTensor, fmt::format("`{}` is not stored", name));
      return false;
    }
    const int8_t id = module->scheme < 0 ? module->stored : module->scheme;
    const Scheme& scheme = d.quant.schemes[static_cast<size_t>(std::max<int8_t>(id, 0))];
    if (!scheme.executed() || unit.stack > 0) {
      Fail(Code::kCannotRun,
           unit.stack > 0
               ? fmt::format("`{}` is a stack of {} experts, which has no single product", name,
                             unit.stack)
               : fmt::format("`{}` is {}, which ferrule reports but does not run", name,
                             scheme.name));
      return false;
    }
    const Cut* cut = plan_.CutOf(unit);
    if (cut == nullptr || cut->ranks.empty()) {
      Fail(Code::kUncuttable, fmt::format("`{}` cannot be cut for tp {}", name, plan_.tp));
      return false;
    }
    const Shard& shard = cut->ranks[static_cast<size_t>(rank_)];
    linear_->in = shard.cols.size();
    linear_->first_column = shard.cols.begin;
    if (scheme.rule != nullptr && !Scales(*module, scheme)) return false;
    const Tensor& weight = c_.tensors()[static_cast<size_t>(module->weight)];
    for (const Range& whole : shard.rows) {
      // Where scales begin anew in each stored group, a segment ends there too.
      const int64_t height = unit.node->scales_per_group ? unit.rows / unit.groups : unit.rows;
      for (int64_t begin = whole.begin; begin < whole.end;) {
        const int64_t end = std::min(whole.end, (begin / height + 1) * height);
        if (!Rows(unit, weight, scheme, {begin, end}, shard.cols, height)) return false;
        begin = end;
      }
    }
    return true;
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

  bool Rows(const Unit& unit, const Tensor& weight, const Scheme& scheme, Range rows, Range cols,
            int64_t height) {
    const int64_t element = DTypeBits(weight.dtype) / 8;
    const int64_t width = cols.size() * element;
    const int64_t stride = unit.in * element;
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

    LinearSegment segment;
    segment.weight = memory;
    segment.rows = rows.size();
    segment.weight_stride = cols.size();
    segment.weight_type = weight.dtype == DType::kF32    ? LinearWeight::kF32
                          : weight.dtype == DType::kF16  ? LinearWeight::kF16
                          : weight.dtype == DType::kBF16 ? LinearWeight::kBf16
                                                         : LinearWeight::kE4m3;
    if (scheme.rule != nullptr) Quantized(scheme, rows, cols, height, &segment);
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
    int64_t count = 0, first = -1;
    for (int64_t k = 0; k < rows.size() * cols.size(); ++k) {
      if ((memory[k] & std::byte{0x7F}) != std::byte{0x7F}) continue;
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

  // Reads a scale tensor as float32; every value must be positive, finite and normal. E8M0 alone
  // goes down to 2^-127, which is subnormal in float32.
  bool Floats(int32_t id, std::vector<float>* values) {
    const Tensor& tensor = c_.tensors()[static_cast<size_t>(id)];
    const uint64_t size = tensor.end - tensor.begin;
    std::vector<uint8_t> bytes(size);
    if (!c_.ReadBytes(tensor, 0, size, bytes.data(), out_)) return false;
    const size_t count = size * 8 / DTypeBits(tensor.dtype);
    values->resize(count);
    size_t wrong = 0, first = 0;
    for (size_t k = 0; k < count; ++k) {
      float& value = (*values)[k];
      uint16_t half = 0;
      switch (tensor.dtype) {
        case DType::kF32:
          std::memcpy(&value, &bytes[k * 4], 4);
          break;
        case DType::kBF16:
          std::memcpy(&half, &bytes[k * 2], 2);
          value = Bf16ToFloat(half);
          break;
        case DType::kF16:
          std::memcpy(&half, &bytes[k * 2], 2);
          value = F16ToFloat(half);
          break;
        case DType::kF8E8M0:
          value = E8m0ToFloat(bytes[k]);
          break;
        default:
          Fail(Code::kScaleType, fmt::format("{} is no scale", Quoted(tensor.name)),
               c_.FileOf(tensor));
          return false;
      }
      const bool normal =
          tensor.dtype == DType::kF8E8M0 ? std::isfinite(value) : std::isnormal(value);
      if (normal && value > 0) continue;
      if (wrong++ == 0) first = k;
    }
    if (wrong == 0) return true;
    out_->Add(Code::kBadScaleValue,
              fmt::format("{}[{}] is {}; a scale is a positive number between 1.2e-38 and 3.4e38",
                          Quoted(tensor.name), Index(tensor, first), (*values)[first]),
              c_.LocationOf(tensor))
        .Fact("found", fmt::format("{} of {} values", wrong, count))
        .Fact("effect", "outputs would be zero, of the wrong sign or NaN, and nothing else amiss")
        .Help("such a scale was never filled: fetch the file again, or quantize anew");
    return false;
  }

  // Where the k-th element of a tensor stands: "3, 0" of [4, 2].
  std::string Index(const Tensor& tensor, size_t k) const {
    const std::span<const int64_t> shape = c_.shape(tensor);
    if (shape.size() != 2) return std::to_string(k);
    const size_t columns = static_cast<size_t>(shape[1]);
    return fmt::format("{}, {}", k / columns, k % columns);
  }

  bool Scales(const Module& module, const Scheme& scheme) {
    std::vector<float> values;
    if (module.scale < 0 || !Floats(module.scale, &values)) return false;
    scale_ = reinterpret_cast<float*>(Allocate(values.size() * sizeof(float)));
    if (scale_ == nullptr) return false;
    std::memcpy(scale_, values.data(), values.size() * sizeof(float));
    const std::span<const int64_t> shape =
        c_.shape(c_.tensors()[static_cast<size_t>(module.scale)]);
    scale_stride_ = shape.size() == 2 ? shape[1] : 1;
    input_ = nullptr;
    if (scheme.rule->activation != Activation::kStatic) return true;
    if (module.input < 0 || !Floats(module.input, &values)) return false;
    input_ = reinterpret_cast<float*>(Allocate(sizeof(float)));
    if (input_ == nullptr) return false;
    *input_ = values[0];
    return true;
  }

  void Quantized(const Scheme& scheme, Range rows, Range cols, int64_t height,
                 LinearSegment* segment) {
    segment->ue8m0 = scheme.power_of_two;
    segment->input_scale = input_;
    if (scheme.name == "fp8_tensor") {
      segment->scheme = LinearScheme::kFp8Tensor;
      segment->scale = scale_;
    } else if (scheme.name == "fp8_channel") {
      segment->scheme = LinearScheme::kFp8Channel;
      segment->scale = scale_ + rows.begin;
      segment->scale_stride = 1;
    } else {
      segment->scheme = LinearScheme::kFp8Block;
      segment->block_n = static_cast<int32_t>(scheme.block_n);
      segment->block_k = static_cast<int32_t>(scheme.block_k);
      const int64_t grid = (height + scheme.block_n - 1) / scheme.block_n;
      const int64_t inside = rows.begin % height;
      const int64_t row = rows.begin / height * grid + inside / scheme.block_n;
      segment->scale = scale_ + row * scale_stride_ + cols.begin / scheme.block_k;
      segment->scale_stride = scale_stride_;
      segment->n_phase = static_cast<int32_t>(inside % scheme.block_n);
      segment->k_phase = static_cast<int32_t>(cols.begin % scheme.block_k);
    }
  }

  const Plan& plan_;
  const Checkpoint& c_;
  int rank_;
  Diagnostics* out_;
  LoadedLinear* linear_ = nullptr;
  float* scale_ = nullptr;
  float* input_ = nullptr;
  int64_t scale_stride_ = 0;
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

std::unique_ptr<LoadedLinear> LoadModule(const Plan& plan, int32_t module, int rank,
                                         Diagnostics* out) {
  return Loader(plan, rank, out).Run(module);
}

}  // namespace ferrule
