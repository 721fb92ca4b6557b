// SPDX-License-Identifier: Apache-2.0
// A shape and a number of tokens → times and errors of a linear group, its weights made on the GPU.
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/cuda_error.h"
#include "kernels/gpu_bench.h"
#include "kernels/gpu_linear.h"
#include "kernels/launch.cuh"
#include "kernels/linear_gpu.h"

namespace ferrule {
namespace {

constexpr size_t kFp8Bytes = size_t{800} << 20;
constexpr size_t kBf16Bytes = size_t{540} << 20;
constexpr size_t kXBytes = size_t{160} << 20;
constexpr size_t kYBytes = size_t{1300} << 20;
constexpr size_t kScaleFloats = size_t{1} << 20;
constexpr double kRotated = 230e6;  // bytes of weights between two uses of one: four times the L2
constexpr int kReplays = 7;

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

int64_t Bytes(const BenchShape& shape) {
  int64_t bytes = 0;
  for (const BenchSegment& s : shape.segments) bytes += s.rows * shape.in * (s.bf16() ? 2 : 1);
  return bytes;
}
int64_t Rows(const BenchShape& shape) {
  int64_t rows = 0;
  for (const BenchSegment& s : shape.segments) rows += s.rows;
  return rows;
}

}  // namespace

struct GpuBench::Memory {
  uint8_t* fp8 = nullptr;
  __nv_bfloat16* bf16 = nullptr;
  __nv_bfloat16* x = nullptr;
  uint8_t* y = nullptr;
  float* scales = nullptr;
  double* sums = nullptr;
  void* workspace = nullptr;
  size_t workspace_size = size_t{256} << 20;
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;

  ~Memory() {
    for (void* p :
         {static_cast<void*>(fp8), static_cast<void*>(bf16), static_cast<void*>(x),
          static_cast<void*>(y), static_cast<void*>(scales), static_cast<void*>(sums), workspace})
      cudaFree(p);
    if (stream != nullptr) cudaStreamDestroy(stream);
    if (begin != nullptr) cudaEventDestroy(begin);
    if (end != nullptr) cudaEventDestroy(end);
  }
  cudaError_t Take() {
    cudaError_t error = cudaStreamCreate(&stream);
    const auto take = [&error](auto** to, size_t bytes) {
      if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void**>(to), bytes);
    };
    take(&fp8, kFp8Bytes);
    take(&bf16, kBf16Bytes);
    take(&x, kXBytes);
    take(&y, kYBytes);
    take(&scales, kScaleFloats * 4);
    take(&sums, 64);
    take(&workspace, workspace_size);
    if (error == cudaSuccess) error = cudaEventCreate(&begin);
    if (error == cudaSuccess) error = cudaEventCreate(&end);
    if (error != cudaSuccess) return error;
    FillFp8<<<2048, 256, 0, stream>>>(fp8, kFp8Bytes);
    FillBf16<<<2048, 256, 0, stream>>>(bf16, kBf16Bytes / 2, 0.05f);
    FillBf16<<<2048, 256, 0, stream>>>(x, kXBytes / 2, 1.0f);
    FillScales<<<256, 256, 0, stream>>>(scales, kScaleFloats);
    error = cudaStreamSynchronize(stream);
    return error == cudaSuccess ? cudaGetLastError() : error;
  }
};

namespace {

// The segments of one call: copy `i` of the weights.
struct Call {
  std::vector<LinearSegment> segments;
  LinearGroup group;
};

}  // namespace

GpuBench::GpuBench(std::unique_ptr<Memory> memory) : memory_(std::move(memory)) {}
GpuBench::~GpuBench() = default;

namespace {

template <typename M>
void Describe(const M& m, const BenchShape& shape, int64_t tokens, int copy, LinearOutput type,
              uint8_t* y, Call* call) {
  int64_t fp8 = 0, bf16 = 0, at_fp8 = 0, at_bf16 = 0, row = 0;
  for (const BenchSegment& s : shape.segments) (s.bf16() ? bf16 : fp8) += s.rows * shape.in;
  const int64_t width = type == LinearOutput::kF32 ? 4 : 2;
  for (const BenchSegment& b : shape.segments) {
    LinearSegment s;
    s.scheme = b.scheme;
    s.rows = b.rows;
    s.weight_stride = shape.in;
    if (b.bf16()) {
      s.weight = m.bf16 + copy * bf16 + at_bf16;
      at_bf16 += b.rows * shape.in;
    } else {
      s.weight = m.fp8 + copy * fp8 + at_fp8;
      at_fp8 += b.rows * shape.in;
      s.scale = m.scales + copy * 996 % 65536;  // aligned to 16
      s.scale_stride = b.scheme == LinearScheme::kFp8Block ? (shape.in + 127) / 128 : 1;
    }
    // Each segment has its own y.
    s.y = y + row * tokens * width;
    s.y_stride = b.rows;
    s.y_type = type;
    row += b.rows;
    call->segments.push_back(s);
  }
  call->group.x = m.x;
  call->group.tokens = tokens;
  call->group.in = call->group.x_stride = shape.in;
  call->group.segments = call->segments.data();
  call->group.segment_count = static_cast<int32_t>(call->segments.size());
}

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

int CopiesOf(const BenchShape& shape) {
  int64_t fp8 = 0, bf16 = 0;
  for (const BenchSegment& s : shape.segments) (s.bf16() ? bf16 : fp8) += s.rows * shape.in;
  int64_t copies = static_cast<int64_t>(kRotated / static_cast<double>(Bytes(shape))) + 1;
  copies = std::min<int64_t>(copies, 1200);
  if (fp8 > 0) copies = std::min<int64_t>(copies, static_cast<int64_t>(kFp8Bytes) / fp8);
  if (bf16 > 0) copies = std::min<int64_t>(copies, static_cast<int64_t>(kBf16Bytes) / 2 / bf16);
  return static_cast<int>(copies);
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
  bench->device_.driver = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    cudaEventRecord(m.begin, m.stream);
    Read<<<132 * 4, 512, 0, m.stream>>>(reinterpret_cast<const uint4*>(m.fp8), kFp8Bytes / 16,
                                        reinterpret_cast<uint32_t*>(m.sums));
    cudaEventRecord(m.end, m.stream);
    cudaStreamSynchronize(m.stream);
    float ms = 0;
    cudaEventElapsedTime(&ms, m.begin, m.end);
    times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  bench->device_.bandwidth = static_cast<double>(kFp8Bytes) / (times[1] * 1e-3);
  return bench;
}

std::string GpuBench::Refuses(const BenchWay& way, int64_t tokens) {
  Memory& m = *memory_;
  const int64_t rows = Rows(way.shape);
  if (static_cast<size_t>(tokens * way.shape.in) * 2 > kXBytes ||
      static_cast<size_t>(tokens * rows) * 2 > kYBytes || CopiesOf(way.shape) == 0)
    return "too large for the benchmark's memory";
  Call asked;
  Describe(m, way.shape, tokens, 0, LinearOutput::kBf16, m.y, &asked);
  const LinearStatus prepared = PrepareGpu(asked.group, way.choice);
  if (!prepared) return prepared.message;
  return RunsAsAsked(asked.group, way.choice) ? "" : "does not fit";
}

BenchCheck GpuBench::Check(const BenchWay& way, int64_t tokens) {
  Memory& m = *memory_;
  BenchCheck result;
  const auto fail = [&result](const std::string& why) {
    result.failure = why;
    static_cast<void>(cudaGetLastError());
    return result;
  };
  const std::string refused = Refuses(way, tokens);
  if (!refused.empty()) return fail(refused);
  // The first and last few tokens against the plain kernel.
  const int64_t rows = Rows(way.shape), some = std::min<int64_t>(tokens, 32);
  const size_t whole = static_cast<size_t>(tokens * rows), part = static_cast<size_t>(some * rows);
  if (whole * 4 + 2 * part * 4 > kYBytes) return fail("too large to check");
  float* expected = reinterpret_cast<float*>(m.y) + whole;
  Call call, plain;
  Describe(m, way.shape, tokens, 0, LinearOutput::kF32, m.y, &call);
  static_cast<void>(PrepareGpu(call.group, way.choice));
  cudaMemsetAsync(m.y, 0xFF, whole * 4, m.stream);
  GpuChoice slow;
  slow.kernel = GpuKernel::kPlain;
  LinearStatus status = RunGpu(call.group, way.choice, m.workspace, m.workspace_size, m.stream);
  if (!status) return fail(status.message);
  if (cudaStreamSynchronize(m.stream) != cudaSuccess) return fail("the kernel failed");
  cudaMemsetAsync(m.sums, 0, 32, m.stream);
  Describe(m, way.shape, some, 0, LinearOutput::kF32, reinterpret_cast<uint8_t*>(expected), &plain);
  for (const int64_t first : {int64_t{0}, tokens - some}) {
    plain.group.x = m.x + first * way.shape.in;
    status = RunGpu(plain.group, slow, m.workspace, m.workspace_size, m.stream);
    if (!status) return fail(status.message);
    for (size_t i = 0; i < plain.segments.size(); ++i) {
      const LinearSegment& s = call.segments[i];
      Difference<<<256, 256, 0, m.stream>>>(static_cast<const float*>(s.y) + first * s.y_stride,
                                            static_cast<const float*>(plain.segments[i].y),
                                            static_cast<size_t>(some * s.rows), m.sums);
    }
  }
  // Twice the same bits: the first run's outputs are kept where there is room.
  if (whole * 8 + 2 * part * 4 <= kYBytes) {
    uint8_t* kept = m.y + whole * 4 + part * 4;
    cudaMemcpyAsync(kept, m.y, whole * 4, cudaMemcpyDeviceToDevice, m.stream);
    status = RunGpu(call.group, way.choice, m.workspace, m.workspace_size, m.stream);
    if (!status) return fail(status.message);
    CountOther<<<256, 256, 0, m.stream>>>(reinterpret_cast<const uint32_t*>(m.y),
                                          reinterpret_cast<const uint32_t*>(kept), whole,
                                          m.sums + 2);
  }
  double sums[3] = {};
  cudaMemcpyAsync(sums, m.sums, sizeof(sums), cudaMemcpyDeviceToHost, m.stream);
  if (cudaStreamSynchronize(m.stream) != cudaSuccess) return fail("the check failed");
  result.error = std::sqrt(sums[0] / sums[1]);
  result.same_bits = sums[2] == 0;
  return result;
}

// Calls of one way in a graph, and the times of its replays.
struct GpuBench::Replay {
  std::vector<Call> list;  // a call for each copy of the weights
  int calls = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  std::vector<float> times;
  Replay() = default;
  Replay(const Replay&) = delete;
  ~Replay() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
  cudaError_t Run(const Memory& m) {
    cudaEventRecord(m.begin, m.stream);
    cudaError_t error = cudaGraphLaunch(exec, m.stream);
    cudaEventRecord(m.end, m.stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(m.stream);
    float ms = 0;
    cudaEventElapsedTime(&ms, m.begin, m.end);
    times.push_back(ms * 1e3f / static_cast<float>(calls));
    return error;
  }
};

std::string GpuBench::Capture(const BenchWay& way, int64_t tokens, Replay* replay) {
  Memory& m = *memory_;
  const int copies = CopiesOf(way.shape);
  replay->calls = std::max(16, copies);
  replay->list = std::vector<Call>(static_cast<size_t>(copies));
  for (int i = 0; i < copies; ++i)
    Describe(m, way.shape, tokens, i, LinearOutput::kBf16, m.y,
             &replay->list[static_cast<size_t>(i)]);
  if (way.choice.x_is_quantized) {  // other ways then leave their codes of the same x there
    GpuChoice whole = way.choice;
    whole.x_is_quantized = false;
    const LinearStatus status =
        RunGpu(replay->list[0].group, whole, m.workspace, m.workspace_size, m.stream);
    if (!status) return status.message;
  }
  cudaStreamBeginCapture(m.stream, cudaStreamCaptureModeThreadLocal);
  LinearStatus status;
  for (int i = 0; i < replay->calls && status; ++i)
    status = RunGpu(replay->list[static_cast<size_t>(i % copies)].group, way.choice, m.workspace,
                    m.workspace_size, m.stream);
  cudaError_t error = cudaStreamEndCapture(m.stream, &replay->graph);
  if (!status) return status.message;
  if (error == cudaSuccess) error = cudaGraphInstantiate(&replay->exec, replay->graph, 0);
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

double GpuBench::FloorOf(const BenchShape& shape, int64_t tokens) const {
  double flops = 0;
  double bytes =
      static_cast<double>(Bytes(shape) + tokens * shape.in * 2 + tokens * Rows(shape) * 2);
  for (const BenchSegment& s : shape.segments) {
    flops += 2.0 * static_cast<double>(tokens * s.rows * shape.in) * (s.bf16() ? 2 : 1);
    if (!s.bf16()) bytes += static_cast<double>(s.rows * shape.in) / 128 / 128 * 4;
  }
  return 1e6 * std::max(bytes / device_.bandwidth, flops / device_.fp8_rate);
}

std::vector<BenchTime> GpuBench::Time(const std::vector<BenchWay>& ways, int64_t tokens,
                                      double enough) {
  std::vector<BenchTime> results(ways.size());
  std::vector<Replay> replays(ways.size());
  for (size_t i = 0; i < ways.size(); ++i) {
    BenchTime& result = results[i];
    result.copies = CopiesOf(ways[i].shape);
    result.floor_us = FloorOf(ways[i].shape, tokens);
    result.failure = Refuses(ways[i], tokens);
    if (result.failure.empty()) result.failure = Capture(ways[i], tokens, &replays[i]);
  }
  // The first two rounds warm up.
  for (int round = 0; round < kReplays + 2; ++round)
    for (size_t i = 0; i < ways.size(); ++i) {
      BenchTime& result = results[i];
      if (!result.failure.empty() || result.gave_up) continue;
      const cudaError_t error = replays[i].Run(*memory_);
      if (error != cudaSuccess) result.failure = cudaGetErrorString(error);
      result.gave_up = round == 1 && enough > 0 && replays[i].times.back() > enough;
    }
  static_cast<void>(cudaGetLastError());
  for (size_t i = 0; i < ways.size(); ++i) {
    std::vector<float>& times = replays[i].times;
    if (!results[i].failure.empty()) continue;
    times.erase(times.begin(), results[i].gave_up ? times.end() - 1 : times.begin() + 2);
    std::sort(times.begin(), times.end());
    results[i].microseconds = times[times.size() / 2];
    results[i].spread = times.back() / times.front() - 1;
  }
  return results;
}

namespace {

__global__ void Nothing() {}

// Microseconds of host time of a call; below 0: it fails.
template <typename Call>
double HostTime(cudaStream_t stream, const Call& call) {
  constexpr int kCalls = 50;  // fewer than what the queue holds
  double best = 1e9;
  for (int round = 0; round < 40; ++round) {
    cudaStreamSynchronize(stream);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i)
      if (!call()) return -1;
    const std::chrono::duration<double, std::micro> passed =
        std::chrono::steady_clock::now() - begin;
    best = std::min(best, passed.count() / kCalls);
  }
  cudaStreamSynchronize(stream);
  return best;
}

}  // namespace

BenchHostCost GpuBench::HostCost(const BenchShape& shape, int64_t tokens) {
  BenchHostCost cost;
  if (!Refuses({shape, {}}, tokens).empty()) return cost;
  Memory& m = *memory_;
  Call calls[2];
  Describe(m, shape, tokens, 0, LinearOutput::kBf16, m.y, &calls[0]);
  Describe(m, shape, tokens, 0, LinearOutput::kBf16, m.y + kYBytes / 2, &calls[1]);
  calls[1].group.x = m.x + kXBytes / 4;  // half of it
  cost.call = HostTime(m.stream, [&] {
    return static_cast<bool>(LinearGpu(calls[0].group, m.workspace, m.workspace_size, m.stream));
  });
  std::unique_ptr<GpuCall> prepared;
  if (!GpuCall::Create(calls[0].group, m.workspace, m.workspace_size, &prepared)) return cost;
  const auto run = [&](const Call& call) {
    return static_cast<bool>(prepared->Run(call.group, m.workspace, m.workspace_size, m.stream));
  };
  cost.prepared = HostTime(m.stream, [&] { return run(calls[0]); });
  int turn = 0;
  cost.moved = HostTime(m.stream, [&] { return run(calls[++turn % 2]); });
  cudaStreamSynchronize(m.stream);
  return cost;
}

double GpuBench::LaunchCost() {
  return HostTime(memory_->stream,
                  [&] { return LaunchPdl(Nothing, dim3(1), 32, memory_->stream) == cudaSuccess; });
}

}  // namespace ferrule
