// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_bench_memory.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>

namespace ferrule {
namespace {

constexpr double kRotated = 230e6;  // bytes of weights between two uses of one: four times the L2

__device__ uint32_t Hash(uint64_t i) {
  i = (i ^ (i >> 30)) * 0xBF58476D1CE4E5B9ull;
  i = (i ^ (i >> 27)) * 0x94D049BB133111EBull;
  return static_cast<uint32_t>(i >> 32);
}
__device__ float Normal(uint64_t i) {
  const float u = (Hash(2 * i) + 1.0f) * 0x1p-32f, v = Hash(2 * i + 1) * 0x1p-32f;
  return sqrtf(-2 * logf(u)) * cospif(2 * v);
}

// Codes as a block of normal weights has them: 448 at four standard deviations.
__global__ void FillFp8(uint8_t* to, size_t count) {
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < count; i += gridDim.x * size_t{256})
    to[i] = __nv_cvt_float_to_fp8(Normal(i) * 112, __NV_SATFINITE, __NV_E4M3);
}
__global__ void FillBf16(__nv_bfloat16* to, size_t count, float size) {
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < count; i += gridDim.x * size_t{256})
    to[i] = __float2bfloat16_rn(Normal(i + 77) * size);
}
__global__ void FillScales(float* to, size_t count) {
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < count; i += gridDim.x * size_t{256})
    to[i] = 2e-4f * (1 + (Hash(i) & 1023) / 256.0f);
}

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// Elements between rows of weights.
int64_t Stride(const BenchShape& shape, const BenchSegment& s) {
  return RoundUp(shape.in, 16 / s.element());
}
// Of a copy of the weights.
size_t WeightBytes(const BenchShape& shape, bool wide) {
  int64_t bytes = 0;
  for (const BenchSegment& s : shape.segments)
    if (s.bf16() == wide) bytes += s.rows * Stride(shape, s) * s.element();
  return static_cast<size_t>(bytes);
}

}  // namespace

GpuBench::Memory::~Memory() {
  for (void* p :
       {static_cast<void*>(fp8), static_cast<void*>(wide), static_cast<void*>(x),
        static_cast<void*>(y), static_cast<void*>(scales), static_cast<void*>(sums), workspace})
    cudaFree(p);
  if (stream != nullptr) cudaStreamDestroy(stream);
  if (begin != nullptr) cudaEventDestroy(begin);
  if (end != nullptr) cudaEventDestroy(end);
}

cudaError_t GpuBench::Memory::Take() {
  cudaError_t error = cudaStreamCreate(&stream);
  const auto take = [&error](auto** to, size_t bytes) {
    if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void**>(to), bytes);
  };
  take(&fp8, kBenchFp8Bytes);
  take(&wide, kBenchWideBytes);
  take(&x, kBenchXBytes);
  take(&y, kBenchYBytes);
  take(&scales, kBenchScales * 4);
  take(&sums, 64);
  take(&workspace, workspace_size);
  if (error == cudaSuccess) error = cudaEventCreate(&begin);
  if (error == cudaSuccess) error = cudaEventCreate(&end);
  if (error != cudaSuccess) return error;
  FillFp8<<<2048, 256, 0, stream>>>(fp8, kBenchFp8Bytes);
  FillBf16<<<2048, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(wide), kBenchWideBytes / 2,
                                     0.05f);
  FillBf16<<<2048, 256, 0, stream>>>(reinterpret_cast<__nv_bfloat16*>(x), kBenchXBytes / 2, 1.0f);
  FillScales<<<256, 256, 0, stream>>>(scales, kBenchScales);
  const float static_scale = 0.01f;  // normal x, with 448 at 4.48
  error =
      cudaMemcpyAsync(scales + kBenchScales - 1, &static_scale, 4, cudaMemcpyHostToDevice, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  return error == cudaSuccess ? cudaGetLastError() : error;
}

void GpuBench::Memory::Describe(const BenchShape& shape, int64_t tokens, int copy,
                                LinearOutput type, uint8_t* y_at, BenchCall* call) const {
  const int64_t width = type == LinearOutput::kF32 ? 4 : 2;
  const uint8_t* at_fp8 = fp8 + static_cast<size_t>(copy) * WeightBytes(shape, false);
  const uint8_t* at_wide = wide + static_cast<size_t>(copy) * WeightBytes(shape, true);
  for (const BenchSegment& b : shape.segments) {
    LinearSegment s;
    s.scheme = b.scheme;
    s.rows = b.rows;
    s.weight_stride = Stride(shape, b);
    const uint8_t** from = b.bf16() ? &at_wide : &at_fp8;
    s.weight = *from;
    *from += s.rows * s.weight_stride * b.element();
    if (b.bf16()) {
      s.weight_type = b.weight_type;
    } else {
      s.scale = scales + copy * 996 % 65536;  // aligned to 16
      s.scale_stride = 1;
      s.ue8m0 = b.ue8m0;
      if (b.static_x) s.input_scale = scales + kBenchScales - 1;
    }
    if (b.scheme == LinearScheme::kFp8Block) {
      s.scale_stride = b.scale_stride > 0 ? b.scale_stride : b.ScaleColumns(shape.in);
      s.n_phase = b.n_phase;
      s.k_phase = b.k_phase;
    }
    s.y = y_at;
    s.y_stride = b.rows;
    s.y_type = type;
    y_at += RoundUp(b.rows * tokens * width, 16);
    call->segments.push_back(s);
  }
  call->group.x = x;
  call->group.tokens = tokens;
  call->group.in = shape.in;
  call->group.x_stride = RoundUp(shape.in, 8);
  call->group.segments = call->segments.data();
  call->group.segment_count = static_cast<int32_t>(call->segments.size());
}

size_t BenchYBytes(const BenchShape& shape, int64_t tokens, LinearOutput type) {
  int64_t bytes = 0;
  for (const BenchSegment& s : shape.segments)
    bytes += RoundUp(s.rows * tokens * (type == LinearOutput::kF32 ? 4 : 2), 16);
  return static_cast<size_t>(bytes);
}

size_t BenchXBytes(const BenchShape& shape, int64_t tokens) {
  return static_cast<size_t>(RoundUp(shape.in, 8) * tokens) * 2;
}

int BenchCopies(const BenchShape& shape) {
  const size_t in_fp8 = WeightBytes(shape, false), in_wide = WeightBytes(shape, true);
  int64_t copies = static_cast<int64_t>(kRotated / static_cast<double>(in_fp8 + in_wide)) + 1;
  copies = std::min<int64_t>(copies, 1200);
  if (in_fp8 > 0) copies = std::min<int64_t>(copies, kBenchFp8Bytes / in_fp8);
  if (in_wide > 0) copies = std::min<int64_t>(copies, kBenchWideBytes / in_wide);
  // Scales are read from many places; all must be there.
  for (const BenchSegment& s : shape.segments) {
    const int64_t stride = s.scale_stride > 0 ? s.scale_stride : s.ScaleColumns(shape.in);
    const int64_t count =
        s.scheme == LinearScheme::kFp8Block ? ((s.n_phase + s.rows) / 128 + 1) * stride : s.rows;
    if (!s.bf16() && count + 65536 >= static_cast<int64_t>(kBenchScales)) return 0;
  }
  return static_cast<int>(copies);
}

}  // namespace ferrule
