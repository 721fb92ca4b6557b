// SPDX-License-Identifier: Apache-2.0
// A shape and a number of tokens → times of a linear group, the GPU's and the host's.
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>

#include "kernels/cuda_error.h"
#include "kernels/gpu_bench.h"
#include "kernels/gpu_bench_memory.h"
#include "kernels/gpu_linear.h"
#include "kernels/launch.cuh"
#include "kernels/linear_gpu.h"
#include "kernels/quantize_gpu.h"

namespace ferrule {
namespace {

constexpr int kReplays = 7;
// Where ways are heated for long, since that takes the time.
constexpr double kLongHeat = 0.05;
constexpr int kTurns = 2, kReplaysOfTurn = 4;
constexpr int kQuantizerCalls = 500;  // in a graph
// A call that takes longer than so many microseconds comes under the GPU's power limit, and what
// ran before decides its clocks.
constexpr float kLongCall = 50;

}  // namespace

// Calls of one way in a graph, and the times of its replays.
struct GpuBench::Replay {
  std::vector<BenchCall> list;  // a call for each copy of the weights
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

// What `submit` of each call in turn leaves in a graph.
template <typename Replay, typename Submit>
std::string CaptureCalls(cudaStream_t stream, Replay* replay, const Submit& submit) {
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  LinearStatus status;
  for (int i = 0; i < replay->calls && status; ++i)
    status = submit(replay->list[static_cast<size_t>(i) % replay->list.size()].group);
  cudaError_t error = cudaStreamEndCapture(stream, &replay->graph);
  if (!status) return status.message;
  if (error == cudaSuccess) error = cudaGraphInstantiate(&replay->exec, replay->graph, 0);
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

std::string GpuBench::Capture(const BenchWay& way, int64_t tokens, Replay* replay) {
  if (way.tokens > 0) tokens = way.tokens;
  if (way.quantizer) return CaptureQuantizer(way, tokens, replay);
  const Memory& m = *memory_;
  const int copies = BenchCopies(way.shape);
  replay->calls = std::max(16, copies);
  replay->list = std::vector<BenchCall>(static_cast<size_t>(copies));
  for (int i = 0; i < copies; ++i)
    m.Describe(way.shape, tokens, i, LinearOutput::kBf16, m.y,
               &replay->list[static_cast<size_t>(i)]);
  if (way.choice.x_is_quantized) {  // other ways then leave their codes of the same x there
    GpuChoice whole = way.choice;
    whole.x_is_quantized = false;
    const LinearStatus status =
        RunGpu(replay->list[0].group, whole, m.workspace, m.workspace_size, m.stream);
    if (!status) return status.message;
  }
  return CaptureCalls(m.stream, replay, [&](const LinearGroup& group) {
    return RunGpu(group, way.choice, m.workspace, m.workspace_size, m.stream);
  });
}

std::string GpuBench::CaptureQuantizer(const BenchWay& way, int64_t tokens, Replay* replay) {
  const Memory& m = *memory_;
  replay->calls = kQuantizerCalls;
  replay->list = std::vector<BenchCall>(1);
  BenchCall& call = replay->list[0];
  m.Describe(way.shape, tokens, 0, LinearOutput::kBf16, m.y, &call);
  const auto fp8 =
      std::find_if(call.segments.begin(), call.segments.end(),
                   [](const LinearSegment& s) { return s.scheme != LinearScheme::kBf16; });
  if (fp8 == call.segments.end()) return "nothing of it wants a quantized x";
  QuantizeArguments a{};
  a.recipe = RecipeOf(*fp8);
  const XLayout layout = LayOutX(a.recipe, tokens, call.group.in);
  if (layout.bytes > m.workspace_size) return "too large for the benchmark's memory";
  a.x = reinterpret_cast<const __nv_bfloat16*>(m.x);
  a.x_stride = call.group.x_stride;
  a.tokens = static_cast<int>(tokens);
  a.columns = static_cast<int>(call.group.in);
  a.blocks = static_cast<int>(layout.blocks);
  a.codes = static_cast<uint8_t*>(m.workspace);
  a.pitch = layout.pitch;
  a.scales = reinterpret_cast<float*>(a.codes + layout.scales);
  a.scale_stride = static_cast<int>(layout.scale_stride);
  return CaptureCalls(m.stream, replay,
                      [&](const LinearGroup&) { return CudaStatus(LaunchQuantize(a, m.stream)); });
}

void GpuBench::AddFloors(const BenchWay& way, int64_t tokens, BenchTime* time) const {
  const BenchShape& shape = way.shape;
  double flops = 0, bytes = static_cast<double>(tokens * shape.in * 2);
  if (way.quantizer) {
    bytes += static_cast<double>(tokens * shape.in);
  } else {
    bytes += static_cast<double>(tokens * shape.rows() * 2);
    for (const BenchSegment& s : shape.segments) {
      bytes += static_cast<double>(s.rows * shape.in * s.element());
      flops += 2.0 * static_cast<double>(tokens * s.rows * shape.in) * (s.bf16() ? 2 : 1);
      if (!s.bf16()) bytes += static_cast<double>(s.rows * shape.in) / 128 / 128 * 4;
    }
  }
  time->bytes_us = 1e6 * bytes / device_.bandwidth;
  if (device_.fp8_rate > 0) time->flops_us = 1e6 * flops / device_.fp8_rate;
}

std::vector<BenchTime> GpuBench::Time(const std::vector<BenchWay>& ways, int64_t tokens,
                                      BenchHeat heat, double enough) {
  std::vector<BenchTime> results(ways.size());
  std::vector<Replay> replays(ways.size());
  for (size_t i = 0; i < ways.size(); ++i) {
    BenchTime& result = results[i];
    result.copies = BenchCopies(ways[i].shape);
    AddFloors(ways[i], tokens, &result);
    result.failure = Refuses(ways[i], tokens);
    if (result.failure.empty()) result.failure = Capture(ways[i], tokens, &replays[i]);
  }
  const auto run = [&](size_t i) {
    const cudaError_t error = replays[i].Run(*memory_);
    if (error != cudaSuccess) results[i].failure = cudaGetErrorString(error);
    return error == cudaSuccess;
  };
  const auto warm = [&](size_t i) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    std::vector<float>& times = replays[i].times;
    while (std::chrono::duration<double>(Clock::now() - begin).count() < heat.seconds && run(i))
      times.pop_back();
  };
  const auto is_out = [&](size_t i) { return !results[i].failure.empty() || results[i].gave_up; };
  // One that is heated would leave its clocks to the others: then all are.
  const auto any_long = [&] {
    for (size_t i = 0; i < ways.size(); ++i)
      if (replays[i].times.size() > 1 && replays[i].times[1] > kLongCall) return true;
    return false;
  };
  // The first two rounds warm up.
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < ways.size(); ++i)
      if (!is_out(i))
        results[i].gave_up = run(i) && round == 1 && enough > 0 && replays[i].times.back() > enough;
  const bool heats = heat.seconds > 0 && (heat.always || any_long());
  const bool several = heats && heat.seconds >= kLongHeat;
  for (int turn = 0; turn < (several ? kTurns : kReplays); ++turn)
    for (size_t i = 0; i < ways.size(); ++i) {
      if (heats && !is_out(i)) warm(i);
      for (int replay = 0; replay < (several ? kReplaysOfTurn : 1) && !is_out(i); ++replay) run(i);
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
  BenchCall calls[4];
  for (int i = 0; i < 4; ++i) {
    m.Describe(shape, tokens, 0, LinearOutput::kBf16, m.y + kBenchYBytes / 4 * i, &calls[i]);
    calls[i].group.x = m.x + kBenchXBytes / 4 * i;
  }
  cost.call = HostTime(m.stream, [&] {
    return static_cast<bool>(LinearGpu(calls[0].group, m.workspace, m.workspace_size, m.stream));
  });
  std::unique_ptr<GpuCall> prepared;
  if (!GpuCall::Create(calls[0].group, m.workspace, m.workspace_size, &prepared)) return cost;
  const auto run = [&](const BenchCall& call) {
    return static_cast<bool>(prepared->Run(call.group, m.workspace, m.workspace_size, m.stream));
  };
  cost.prepared = HostTime(m.stream, [&] { return run(calls[0]); });
  int turn = 0;
  cost.moved = HostTime(m.stream, [&] { return run(calls[2 + ++turn % 2]); });
  if (!prepared->Add(calls[0].group, m.workspace, m.workspace_size) ||
      !prepared->Add(calls[1].group, m.workspace, m.workspace_size))
    return cost;
  cost.added = HostTime(m.stream, [&] { return run(calls[++turn % 2]); });
  cudaStreamSynchronize(m.stream);
  return cost;
}

double GpuBench::LaunchCost() {
  return HostTime(memory_->stream,
                  [&] { return LaunchPdl(Nothing, dim3(1), 32, memory_->stream) == cudaSuccess; });
}

}  // namespace ferrule
