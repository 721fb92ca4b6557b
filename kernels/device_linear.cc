// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_linear.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda_error.h"
#include "kernels/linear_gpu.h"
#include "kernels/round.h"
#include "kernels/validate.h"

namespace ferrule {
namespace {

int64_t WeightSize(const LinearSegment& s) {
  if (s.scheme != LinearScheme::kBf16) return 1;
  return s.weight_type == LinearWeight::kF32 ? 4 : 2;
}

// Floats from the first scale of a segment to its last.
int64_t ScaleCount(const LinearSegment& s, int64_t in) {
  switch (s.scheme) {
    case LinearScheme::kBf16:
      return 0;
    case LinearScheme::kFp8Block:
      return (DivideUp(s.rows + s.n_phase, s.block_n) - 1) * s.scale_stride +
             DivideUp(in + s.k_phase, s.block_k);
    case LinearScheme::kFp8Channel:
      return (s.rows - 1) * (s.scale_stride == 0 ? 1 : s.scale_stride) + 1;
    case LinearScheme::kFp8Tensor:
      break;
  }
  return 1;
}

// Device memory that is given back unless it is kept.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { cudaFree(memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  cudaError_t Take(int64_t bytes) {
    return cudaMalloc(&memory_, static_cast<size_t>(bytes > 0 ? bytes : 1));
  }
  void* get() const { return memory_; }
  void* Keep() {
    void* memory = memory_;
    memory_ = nullptr;
    return memory;
  }

 private:
  void* memory_ = nullptr;
};

// `rows` rows of `width` bytes, `pitch` apart there.
cudaError_t Upload(const void* from, int64_t rows, int64_t width, int64_t stride, int64_t pitch,
                   std::vector<void*>* memory) {
  Buffer buffer;
  const cudaError_t error = buffer.Take(rows * pitch);
  if (error != cudaSuccess) return error;
  memory->push_back(buffer.Keep());
  return cudaMemcpy2D(memory->back(), static_cast<size_t>(pitch), from, static_cast<size_t>(stride),
                      static_cast<size_t>(width), static_cast<size_t>(rows),
                      cudaMemcpyHostToDevice);
}

}  // namespace

LinearStatus DeviceLinear::Create(const LoadedLinear& linear,
                                  std::unique_ptr<DeviceLinear>* device) {
  device->reset();
  const char* refused = GpuRefuses();
  if (refused != nullptr) return {LinearCode::kUnsupported, -1, refused};
  std::unique_ptr<DeviceLinear> made(new DeviceLinear);
  made->rows_ = linear.rows;
  made->in_ = linear.in;
  for (const LinearSegment& from : linear.segments) {
    LinearSegment s = from;
    const int64_t element = WeightSize(s);
    const int64_t pitch = RoundUp(linear.in * element, 16);
    cudaError_t error = Upload(from.weight, s.rows, linear.in * element,
                               from.weight_stride * element, pitch, &made->memory_);
    const auto floats = [&](const float* values, int64_t count) -> const float* {
      if (values == nullptr || error != cudaSuccess) return nullptr;
      error = Upload(values, 1, count * 4, count * 4, count * 4, &made->memory_);
      return static_cast<const float*>(made->memory_.back());
    };
    if (error == cudaSuccess) s.weight = made->memory_.back();
    s.weight_stride = pitch / element;
    if (s.scheme != LinearScheme::kBf16) s.scale = floats(from.scale, ScaleCount(s, linear.in));
    s.input_scale = floats(from.input_scale, 1);
    s.bias = floats(from.bias, s.rows);
    if (error != cudaSuccess) return CudaStatus(error);
    made->segments_.push_back(s);
  }
  *device = std::move(made);
  return {};
}

DeviceLinear::~DeviceLinear() {
  for (void* memory : memory_) cudaFree(memory);
}

LinearStatus RunFromHost(const std::vector<LinearSegment>& segments, int64_t rows, int64_t in,
                         const void* x, int64_t tokens, int64_t x_stride, float* y,
                         int64_t y_stride, LinearStatus* prepared) {
  if (prepared != nullptr) *prepared = {};
  if (tokens <= 0) return {};
  const LinearStatus fits = ValidateWhole(rows, y_stride);
  if (!fits) return fits;
  Buffer device_x, device_y, workspace;
  LinearGroup group;
  group.tokens = tokens;
  group.in = in;
  group.x_stride = RoundUp(in, 8);
  std::vector<LinearSegment> bound = segments;
  group.segments = bound.data();
  group.segment_count = static_cast<int32_t>(bound.size());
  cudaError_t error = device_x.Take(tokens * group.x_stride * 2);
  if (error == cudaSuccess) error = device_y.Take(tokens * rows * 4);
  if (error == cudaSuccess)
    error = cudaMemcpy2D(device_x.get(), static_cast<size_t>(group.x_stride) * 2, x,
                         static_cast<size_t>(x_stride) * 2, static_cast<size_t>(in) * 2,
                         static_cast<size_t>(tokens), cudaMemcpyHostToDevice);
  if (error != cudaSuccess) return CudaStatus(error);
  group.x = device_x.get();
  int64_t row = 0;
  for (LinearSegment& segment : bound) {
    segment.y = static_cast<float*>(device_y.get()) + row;
    segment.y_stride = rows;
    segment.y_type = LinearOutput::kF32;
    row += segment.rows;
  }
  const LinearStatus ready = PrepareGpu(group);  // chooses once for each shape
  if (prepared != nullptr) *prepared = ready;
  const size_t size = WorkspaceSizeGpu(group);
  error = workspace.Take(static_cast<int64_t>(size));
  if (error != cudaSuccess) return CudaStatus(error);
  const LinearStatus status = LinearGpu(group, workspace.get(), size, nullptr);
  if (!status) return status;
  return CudaStatus(cudaMemcpy2D(y, static_cast<size_t>(y_stride) * 4, device_y.get(),
                                 static_cast<size_t>(rows) * 4, static_cast<size_t>(rows) * 4,
                                 static_cast<size_t>(tokens), cudaMemcpyDeviceToHost));
}

}  // namespace ferrule
