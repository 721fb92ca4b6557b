// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/device_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernels/fp8.h"
#include "kernels/linear_gpu.h"
#include "kernels/round.h"

namespace ferrule::test {
namespace {

constexpr int64_t kGuard = 256;  // bytes
constexpr uint8_t kFill = 0xFB;  // 0xFBFB is no NaN, so that it shows in sums; gaps of inputs: 0x7F

void Check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

int64_t ElementSize(const LinearSegment& s) {
  if (s.scheme != LinearScheme::kBf16) return 1;
  return s.weight_type == LinearWeight::kF32 ? 4 : 2;
}

int64_t OutputSize(const LinearSegment& s) { return s.y_type == LinearOutput::kF32 ? 4 : 2; }

int64_t OutputBytes(const LinearGroup& g, const LinearSegment& s) {
  return g.tokens * s.y_stride * OutputSize(s);
}

// Device memory → host memory that copies are fast into; it holds until the next download.
const uint8_t* Download(const void* from, size_t bytes) {
  static void* memory = nullptr;
  static size_t size = 0;
  if (bytes > size) {
    Check(cudaFreeHost(memory));
    memory = nullptr;
    size = 0;
    Check(cudaMallocHost(&memory, bytes));
    size = bytes;
  }
  Check(cudaMemcpy(memory, from, bytes, cudaMemcpyDeviceToHost));
  return static_cast<const uint8_t*>(memory);
}

bool Untouched(const uint8_t* guard) {
  return std::all_of(guard, guard + kGuard, [](uint8_t byte) { return byte == kFill; });
}

}  // namespace

DeviceGroup::DeviceGroup(const LinearGroup& host, const Layout& layout) : group_(host) {
  group_.x_stride = layout.aligned ? RoundUp(host.in, 8) + 8 : host.x_stride;
  x_ = Allocate(static_cast<size_t>(host.tokens * group_.x_stride) * 2);
  group_.x = x_;
  inputs_.push_back({"x", x_, {}});
  SetX(host);
  if (host.nonfinite_tokens != nullptr)
    group_.nonfinite_tokens =
        static_cast<int64_t*>(AllocateGuarded("nonfinite_tokens", sizeof(int64_t)));
  for (int32_t i = 0; i < host.segment_count; ++i) {
    const LinearSegment& from = host.segments[i];
    LinearSegment s = from;
    const int64_t element = ElementSize(s);
    if (layout.aligned) s.weight_stride = RoundUp(host.in * element, 16) / element + 16 / element;
    s.weight = Upload("a weight", from.weight, s.rows, host.in * element,
                      from.weight_stride * element, s.weight_stride * element);
    if (s.scheme != LinearScheme::kBf16) {
      int64_t floats = 1;
      if (s.scheme == LinearScheme::kFp8Block)
        floats = (s.rows + s.n_phase + s.block_n - 1) / s.block_n * s.scale_stride;
      if (s.scheme == LinearScheme::kFp8Channel)
        floats = (s.rows - 1) * (s.scale_stride == 0 ? 1 : s.scale_stride) + 1;
      s.scale =
          static_cast<const float*>(Upload("a scale", from.scale, 1, floats * 4, 0, floats * 4));
      if (s.input_scale != nullptr)
        s.input_scale =
            static_cast<const float*>(Upload("an input scale", from.input_scale, 1, 4, 0, 4));
    }
    if (s.bias != nullptr)
      s.bias = static_cast<const float*>(Upload("a bias", from.bias, 1, s.rows * 4, 0, s.rows * 4));
    s.y_type = layout.y_type;
    s.y_stride = layout.y_gap < 0 ? s.rows : RoundUp(s.rows, 8) + layout.y_gap;
    const int64_t bytes = OutputBytes(group_, s) + 2 * kGuard;
    s.y = static_cast<uint8_t*>(Allocate(static_cast<size_t>(bytes))) + kGuard;
    poison_.emplace_back(static_cast<size_t>(bytes), kFill);
    segments_.push_back(s);
  }
  group_.segments = segments_.data();
  AllocateWorkspace(WorkspaceSizeGpu(group_));
  Poison();
}

DeviceGroup::~DeviceGroup() {
  for (void* memory : memory_) cudaFree(memory);
}

void* DeviceGroup::Allocate(size_t bytes) {
  void* memory = nullptr;
  Check(cudaMalloc(&memory, bytes == 0 ? 1 : bytes));
  memory_.push_back(memory);
  return memory;
}

void* DeviceGroup::AllocateGuarded(const char* name, size_t bytes) {
  auto* memory = static_cast<uint8_t*>(Allocate(bytes + 2 * kGuard)) + kGuard;
  guarded_.push_back({name, memory, bytes});
  return memory;
}

void DeviceGroup::AllocateWorkspace(size_t bytes) {
  workspace_size_ = bytes;
  workspace_ = bytes > 0 ? AllocateGuarded("the workspace", bytes) : nullptr;
}

std::string DeviceGroup::Prepare(const GpuChoice& choice) {
  const LinearStatus status = PrepareGpu(group_, choice);
  if (!status) return status.message;
  AllocateWorkspace(WorkspaceSizeGpu(group_, choice));
  Poison();
  return "";
}

const void* DeviceGroup::Upload(const char* name, const void* host, int64_t rows, int64_t row_bytes,
                                int64_t host_stride, int64_t stride) {
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * stride), 0x7F);  // NaN as E4M3 and BF16
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(bytes.data() + r * stride, static_cast<const uint8_t*>(host) + r * host_stride,
                static_cast<size_t>(row_bytes));
  void* memory = Allocate(bytes.size());
  Check(cudaMemcpy(memory, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  inputs_.push_back({name, memory, std::move(bytes)});
  return memory;
}

void DeviceGroup::SetX(const LinearGroup& host) {
  std::vector<uint16_t> x(static_cast<size_t>(host.tokens * group_.x_stride), 0x7FC1);
  for (int64_t m = 0; m < host.tokens; ++m)
    std::memcpy(x.data() + m * group_.x_stride,
                static_cast<const uint16_t*>(host.x) + m * host.x_stride,
                static_cast<size_t>(host.in) * 2);
  Check(cudaMemcpy(x_, x.data(), x.size() * 2, cudaMemcpyHostToDevice));
  inputs_[0].bytes.resize(x.size() * 2);
  std::memcpy(inputs_[0].bytes.data(), x.data(), x.size() * 2);
}

void DeviceGroup::Poison() {
  for (size_t i = 0; i < segments_.size(); ++i)
    Check(cudaMemset(static_cast<uint8_t*>(segments_[i].y) - kGuard, kFill, poison_[i].size()));
  for (const Guarded& g : guarded_) {
    Check(cudaMemset(g.memory - kGuard, kFill, g.size + 2 * kGuard));
    Check(cudaMemset(g.memory, 0x7F, g.size));
  }
  Check(cudaDeviceSynchronize());
}

std::string DeviceGroup::Run(const GpuChoice& choice) {
  const LinearStatus status = RunGpu(group_, choice, workspace_, workspace_size_, nullptr);
  if (!status) return status.message;
  const cudaError_t error = cudaDeviceSynchronize();
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

std::vector<uint8_t> DeviceGroup::Raw(size_t i) const {
  std::vector<uint8_t> bytes(poison_[i].size());
  Check(cudaMemcpy(bytes.data(), static_cast<const uint8_t*>(segments_[i].y) - kGuard, bytes.size(),
                   cudaMemcpyDeviceToHost));
  return bytes;
}

std::vector<float> DeviceGroup::Y(size_t i) const {
  const LinearSegment& s = segments_[i];
  const std::vector<uint8_t> raw = Raw(i);
  std::vector<float> y;
  for (int64_t m = 0; m < group_.tokens; ++m)
    for (int64_t n = 0; n < s.rows; ++n) {
      const uint8_t* at = raw.data() + kGuard + (m * s.y_stride + n) * OutputSize(s);
      float value = 0;
      uint16_t half = 0;
      if (s.y_type == LinearOutput::kF32) {
        std::memcpy(&value, at, 4);
      } else {
        std::memcpy(&half, at, 2);
        value = Bf16ToFloat(half);
      }
      y.push_back(value);
    }
  return y;
}

std::string DeviceGroup::Damage() const {
  for (size_t i = 0; i < segments_.size(); ++i) {
    const LinearSegment& s = segments_[i];
    const std::vector<uint8_t> raw = Raw(i);
    for (size_t b = 0; b < raw.size(); ++b) {
      const int64_t at = static_cast<int64_t>(b) - kGuard;
      const bool inside =
          at >= 0 && at < OutputBytes(group_, s) && at / OutputSize(s) % s.y_stride < s.rows;
      if (!inside && raw[b] != kFill)
        return "segment " + std::to_string(i) + ", byte " + std::to_string(at);
    }
  }
  for (const Guarded& g : guarded_) {
    if (!Untouched(Download(g.memory - kGuard, kGuard))) return std::string("before ") + g.name;
    if (!Untouched(Download(g.memory + g.size, kGuard))) return std::string("behind ") + g.name;
  }
  for (const Input& input : inputs_) {
    const uint8_t* bytes = Download(input.memory, input.bytes.size());
    if (std::memcmp(bytes, input.bytes.data(), input.bytes.size()) == 0) continue;
    const auto other = std::mismatch(input.bytes.begin(), input.bytes.end(), bytes).first;
    return input.name + (", byte " + std::to_string(other - input.bytes.begin()));
  }
  return "";
}

int64_t DeviceGroup::Nonfinite() const {
  int64_t count = -1;
  Check(cudaMemcpy(&count, group_.nonfinite_tokens, sizeof(count), cudaMemcpyDeviceToHost));
  return count;
}

}  // namespace ferrule::test
