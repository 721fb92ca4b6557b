// SPDX-License-Identifier: Apache-2.0
// The benchmark's GPU, and whether what a way gives there is right.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda_error.h"
#include "kernels/gpu_bench.h"
#include "kernels/gpu_bench_memory.h"
#include "kernels/gpu_linear.h"
#include "kernels/linear_gpu.h"

namespace ferrule {
namespace {

constexpr double kHopperFp8Rate = 1476e12;

__global__ void Read(const uint4* from, size_t count, uint32_t* to) {
  uint32_t sum = 0;
  const size_t step = gridDim.x * size_t{512};
  for (size_t i = blockIdx.x * size_t{512} + threadIdx.x; i + 3 * step < count; i += 4 * step) {
    const uint4 a = __ldcs(from + i), b = __ldcs(from + i + step), c = __ldcs(from + i + 2 * step),
                d = __ldcs(from + i + 3 * step);
    sum ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^
           d.w;
  }
  if (sum == 0x12345678) *to = sum;
}
// |a - b|² and |b|² of float32 outputs; NaN anywhere makes the first NaN.
__global__ void Difference(const float* a, const float* b, size_t count, double* sums) {
  double difference = 0, norm = 0;
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < count; i += gridDim.x * size_t{256}) {
    const double d = static_cast<double>(a[i]) - b[i];
    difference += d * d;
    norm += static_cast<double>(b[i]) * b[i];
  }
  atomicAdd(sums, difference);
  atomicAdd(sums + 1, norm);
}
__global__ void CountOther(const uint32_t* a, const uint32_t* b, size_t count, double* other) {
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < count; i += gridDim.x * size_t{256})
    if (a[i] != b[i]) atomicAdd(other, 1.0);
}

}  // namespace

GpuBench::GpuBench(std::unique_ptr<Memory> memory) : memory_(std::move(memory)) {}
GpuBench::~GpuBench() = default;

namespace {

// Whether the kernel that was asked for runs: it may not fit. Segments that it is not for may run
// in others beside it.
bool RunsAsAsked(const LinearGroup& group, const GpuChoice& choice) {
  struct Asked {
    GpuKernel kernel;
    bool runs;
  } asked{choice.kernel, choice.kernel == GpuKernel::kAny};
  const auto take = [](const GpuStep& step, void* context) {
    Asked* a = static_cast<Asked*>(context);
    a->runs = a->runs || step.kernel == a->kernel;
    return LinearStatus();
  };
  static_cast<void>(ForEachStep(group, choice, CurrentGpu(), take, &asked));
  return asked.runs;
}

}  // namespace

std::unique_ptr<GpuBench> GpuBench::Create(std::string* failure) {
  const char* refused = GpuRefuses();
  if (refused != nullptr) {
    *failure = refused;
    return nullptr;
  }
  std::unique_ptr<GpuBench> bench(new GpuBench(std::make_unique<Memory>()));
  Memory& m = *bench->memory_;
  const cudaError_t error = m.Take();
  if (error != cudaSuccess) {
    *failure = CudaStatus(error).message;
    return nullptr;
  }
  cudaDeviceProp properties;
  int device = 0, driver = 0;
  cudaGetDevice(&device);
  cudaGetDeviceProperties(&properties, device);
  cudaDriverGetVersion(&driver);
  bench->device_.name = properties.name;
  if (properties.major == 9) bench->device_.fp8_rate = kHopperFp8Rate;
  bench->device_.cuda = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    cudaEventRecord(m.begin, m.stream);
    Read<<<132 * 4, 512, 0, m.stream>>>(reinterpret_cast<const uint4*>(m.fp8), kBenchFp8Bytes / 16,
                                        reinterpret_cast<uint32_t*>(m.sums));
    cudaEventRecord(m.end, m.stream);
    cudaStreamSynchronize(m.stream);
    float ms = 0;
    cudaEventElapsedTime(&ms, m.begin, m.end);
    times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  bench->device_.bandwidth = static_cast<double>(kBenchFp8Bytes) / (times[1] * 1e-3);
  return bench;
}

std::string GpuBench::Refuses(const BenchWay& way, int64_t tokens) {
  const Memory& m = *memory_;
  if (way.tokens > 0) tokens = way.tokens;
  if (BenchXBytes(way.shape, tokens) > kBenchXBytes ||
      BenchYBytes(way.shape, tokens, LinearOutput::kBf16) > kBenchYBytes ||
      BenchCopies(way.shape) == 0)
    return "too large for the benchmark's memory";
  if (way.quantizer) return "";
  BenchCall asked;
  m.Describe(way.shape, tokens, 0, LinearOutput::kBf16, m.y, &asked);
  const LinearStatus prepared = PrepareGpu(asked.group, way.choice);
  if (!prepared) return prepared.message;
  return RunsAsAsked(asked.group, way.choice) ? "" : "does not fit";
}

BenchCheck GpuBench::Check(const BenchWay& way, int64_t tokens) {
  const Memory& m = *memory_;
  BenchCheck result;
  const auto fail = [&result](const std::string& why) {
    result.failure = why;
    static_cast<void>(cudaGetLastError());
    return result;
  };
  const std::string refused = Refuses(way, tokens);
  if (!refused.empty()) return fail(refused);
  if (way.tokens > 0) tokens = way.tokens;
  // The first and last few tokens against the plain kernel.
  const int64_t some = std::min<int64_t>(tokens, 32);
  const size_t whole = BenchYBytes(way.shape, tokens, LinearOutput::kF32);
  const size_t part = BenchYBytes(way.shape, some, LinearOutput::kF32);
  if (whole + part > kBenchYBytes) {
    result.too_large = true;
    return result;
  }
  BenchCall call, plain;
  m.Describe(way.shape, tokens, 0, LinearOutput::kF32, m.y, &call);
  static_cast<void>(PrepareGpu(call.group, way.choice));
  GpuChoice slow;
  slow.kernel = GpuKernel::kPlain;
  // A run into poisoned outputs.
  const auto run = [&](const LinearGroup& group, size_t bytes) {
    cudaMemsetAsync(m.y, 0xFF, bytes, m.stream);
    return RunGpu(group, way.choice, m.workspace, m.workspace_size, m.stream);
  };
  LinearStatus status = run(call.group, whole);
  if (!status) return fail(status.message);
  if (cudaStreamSynchronize(m.stream) != cudaSuccess) return fail("the kernel failed");
  cudaMemsetAsync(m.sums, 0, 32, m.stream);
  m.Describe(way.shape, some, 0, LinearOutput::kF32, m.y + whole, &plain);
  for (const int64_t first : {int64_t{0}, tokens - some}) {
    plain.group.x = m.x + first * plain.group.x_stride * 2;
    status = RunGpu(plain.group, slow, m.workspace, m.workspace_size, m.stream);
    if (!status) return fail(status.message);
    for (size_t i = 0; i < plain.segments.size(); ++i) {
      const LinearSegment& s = call.segments[i];
      Difference<<<256, 256, 0, m.stream>>>(static_cast<const float*>(s.y) + first * s.y_stride,
                                            static_cast<const float*>(plain.segments[i].y),
                                            static_cast<size_t>(some * s.rows), m.sums);
    }
  }
  // Twice the same bits, of outputs in float32 where there is room, and in BF16.
  for (const LinearOutput type : {LinearOutput::kF32, LinearOutput::kBf16}) {
    const size_t bytes = BenchYBytes(way.shape, tokens, type);
    if (2 * bytes > kBenchYBytes) continue;
    BenchCall again;
    m.Describe(way.shape, tokens, 0, type, m.y, &again);
    static_cast<void>(PrepareGpu(again.group, way.choice));
    status = run(again.group, bytes);
    if (!status) return fail(status.message);
    cudaMemcpyAsync(m.y + bytes, m.y, bytes, cudaMemcpyDeviceToDevice, m.stream);
    status = run(again.group, bytes);
    if (!status) return fail(status.message);
    CountOther<<<256, 256, 0, m.stream>>>(reinterpret_cast<const uint32_t*>(m.y),
                                          reinterpret_cast<const uint32_t*>(m.y + bytes), bytes / 4,
                                          m.sums + 2);
  }
  double sums[3] = {};
  cudaMemcpyAsync(sums, m.sums, sizeof(sums), cudaMemcpyDeviceToHost, m.stream);
  if (cudaStreamSynchronize(m.stream) != cudaSuccess) return fail("the check failed");
  result.error = std::sqrt(sums[0] / sums[1]);
  result.same_bits = sums[2] == 0;
  return result;
}

}  // namespace ferrule
