// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_model.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "kernels/count_nan.h"
#include "kernels/loader.h"

namespace ferrule {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool Fail(cudaError_t error, std::string_view what, Diagnostics* out) {
  static_cast<void>(cudaGetLastError());
  out->Add(Code::kIo, fmt::format("{}: {}", what, cudaGetErrorString(error)));
  return false;
}

// Two pinned buffers and the stream that empties them. Made and used by one thread.
class Reader {
 public:
  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    for (int i = 0; i < 2; ++i) {
      if (sent_[i] != nullptr) cudaEventDestroy(sent_[i]);
    }
    cudaFreeHost(memory_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  cudaError_t Create(int device, uint64_t size) {
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaMallocHost(&memory_, 2 * size);
    for (int i = 0; i < 2; ++i) {
      buffer_[i] = static_cast<std::byte*>(memory_) + i * size;
      if (error == cudaSuccess) error = cudaEventCreateWithFlags(&sent_[i], cudaEventDisableTiming);
    }
    return error;
  }

  // The buffer that is to be filled next, when it is empty.
  cudaError_t Next(std::byte** buffer) {
    at_ ^= 1;
    *buffer = buffer_[at_];
    return cudaEventSynchronize(sent_[at_]);
  }

  cudaError_t Send(const LoadJob& job, int64_t stride, uint8_t* to) {
    const cudaError_t error =
        job.rows == 1
            ? cudaMemcpyAsync(to, buffer_[at_], static_cast<size_t>(job.width),
                              cudaMemcpyHostToDevice, stream_)
            : cudaMemcpy2DAsync(to, static_cast<size_t>(job.pitch), buffer_[at_],
                                static_cast<size_t>(stride), static_cast<size_t>(job.width),
                                static_cast<size_t>(job.rows), cudaMemcpyHostToDevice, stream_);
    return error == cudaSuccess ? cudaEventRecord(sent_[at_], stream_) : error;
  }

  cudaError_t Finish() { return cudaStreamSynchronize(stream_); }

 private:
  cudaStream_t stream_ = nullptr;
  void* memory_ = nullptr;
  std::byte* buffer_[2] = {};
  cudaEvent_t sent_[2] = {};
  int at_ = 1;
};

int ReadersOf(const DeviceLoadOptions& options) { return std::clamp(options.readers, 1, 64); }

enum class Work : uint8_t { kAll, kRead, kCopy };

// Runs jobs on several threads. `memory`: where they go; of kCopy a buffer for each thread.
class Crew {
 public:
  Crew(const Checkpoint& checkpoint, std::span<const LoadJob> jobs, uint64_t buffer,
       uint8_t* memory, Work work)
      : checkpoint_(checkpoint), jobs_(jobs), buffer_(buffer), memory_(memory), work_(work) {
    for (const LoadJob& job : jobs) all_ += job.bytes();
  }

  // False with findings. `seconds` without making the buffers.
  bool Run(const DeviceLoadOptions& options, double* seconds, Diagnostics* out) {
    int device = 0;
    const cudaError_t error = cudaGetDevice(&device);
    if (error != cudaSuccess) return Fail(error, "CUDA", out);
    const int count = ReadersOf(options);
    waiting_ = running_ = count;
    std::vector<Diagnostics> findings(static_cast<size_t>(count));
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i)
      threads.emplace_back([this, device, i, &own = findings[static_cast<size_t>(i)]] {
        RunJobs(device, static_cast<uint64_t>(i) * buffer_, &own);
        const std::lock_guard<std::mutex> lock(mutex_);
        --running_;
        changed_.notify_all();
      });
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return waiting_ == 0; });
      const Clock::time_point begin = Clock::now();
      open_ = true;
      changed_.notify_all();
      while (!changed_.wait_for(lock, std::chrono::milliseconds(100),
                                [this] { return running_ == 0; })) {
        if (options.progress) options.progress(done_, all_);
      }
      *seconds = Since(begin);
    }
    for (std::thread& thread : threads) thread.join();
    if (options.progress && !failed_) options.progress(all_, all_);
    for (const Diagnostics& own : findings) out->Append(own);
    return !failed_;
  }

  uint64_t bytes() const { return all_; }

 private:
  // Everybody begins at once, when all have their buffers.
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    --waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }

  void RunJobs(int device, uint64_t own, Diagnostics* out) {
    Reader reader;
    cudaError_t error = reader.Create(device, buffer_);
    Wait();
    while (error == cudaSuccess && !failed_) {
      const size_t next = next_.fetch_add(1);
      if (next >= jobs_.size()) break;
      const LoadJob& job = jobs_[next];
      std::byte* buffer = nullptr;
      error = reader.Next(&buffer);
      if (error != cudaSuccess) break;
      const int64_t stride =
          work_ != Work::kCopy ? ReadJob(checkpoint_, job, buffer, out) : job.width;
      if (stride == 0) {
        failed_ = true;
        return;
      }
      if (work_ != Work::kRead)
        error = reader.Send(job, stride, memory_ + (work_ == Work::kCopy ? own : job.to));
      done_ += job.bytes();
    }
    if (error == cudaSuccess) error = reader.Finish();
    if (error == cudaSuccess) return;
    failed_ = true;
    Fail(error, "copying to the GPU", out);
  }

  const Checkpoint& checkpoint_;
  const std::span<const LoadJob> jobs_;
  const uint64_t buffer_;
  uint8_t* const memory_;
  const Work work_;
  uint64_t all_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0, running_ = 0;
  bool open_ = false;
};

DeviceModule Place(const LaidModule& laid, const uint8_t* memory) {
  DeviceModule module;
  module.name = laid.placed.name;
  module.rows = laid.placed.rows;
  module.in = laid.placed.in;
  module.first_column = laid.placed.first_column;
  module.bytes = laid.bytes;
  for (size_t i = 0; i < laid.segments.size(); ++i) {
    const LaidSegment& from = laid.segments[i];
    LinearSegment s = from.segment;
    s.weight = memory + from.weight;
    if (laid.placed.segments[i].scale >= 0)
      s.scale = reinterpret_cast<const float*>(memory + from.scale);
    if (laid.placed.segments[i].input >= 0)
      s.input_scale = reinterpret_cast<const float*>(memory + from.input);
    if (laid.placed.segments[i].bias >= 0)
      s.bias = reinterpret_cast<const float*>(memory + from.bias);
    module.segments.push_back(s);
  }
  return module;
}

// A weight with NaN codes is found on the GPU; what is said of it, by reading it again.
bool NoNan(const Plan& plan, const std::vector<DeviceModule>& modules,
           std::span<const LoadRequest> requests, Diagnostics* out) {
  void* memory = nullptr;
  const size_t size = modules.size() * sizeof(uint32_t);
  cudaError_t error = cudaMalloc(&memory, size);
  if (error == cudaSuccess) error = cudaMemset(memory, 0, size);
  auto* counts = static_cast<uint32_t*>(memory);
  for (size_t i = 0; i < modules.size() && error == cudaSuccess; ++i)
    for (const LinearSegment& s : modules[i].segments) {
      if (s.scheme == LinearScheme::kBf16 || error != cudaSuccess) continue;
      error = LaunchCountNan(static_cast<const uint8_t*>(s.weight), s.rows, modules[i].in,
                             s.weight_stride, counts + i);
    }
  std::vector<uint32_t> found(modules.size());
  if (error == cudaSuccess) error = cudaMemcpy(found.data(), counts, size, cudaMemcpyDeviceToHost);
  cudaFree(memory);
  if (error != cudaSuccess) return Fail(error, "looking for NaN", out);
  bool sound = true;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] == 0) continue;
    sound = false;
    if (LoadModule(plan, requests[i].module, requests[i].rank, out) != nullptr)
      out->Add(Code::kIo, fmt::format("`{}` held NaN on the GPU and holds none in its file now",
                                      modules[i].name));
  }
  return sound;
}

}  // namespace

std::unique_ptr<DeviceModel> DeviceModel::Load(const Plan& plan,
                                               std::span<const LoadRequest> requests,
                                               const DeviceLoadOptions& options, Diagnostics* out) {
  const Clock::time_point begin = Clock::now();
  const std::optional<LoadList> list =
      ListJobs(plan, requests, BufferSize(ReadersOf(options), options.buffer), out);
  if (!list) return nullptr;
  std::unique_ptr<DeviceModel> model(new DeviceModel);
  const cudaError_t error = cudaMalloc(&model->memory_, std::max<uint64_t>(list->memory, 1));
  if (error != cudaSuccess) {
    Fail(error, fmt::format("{:.1f} GB on the GPU", static_cast<double>(list->memory) * 1e-9), out);
    return nullptr;
  }
  auto* memory = static_cast<uint8_t*>(model->memory_);
  Crew crew(*plan.checkpoint, list->jobs, list->buffer, memory, Work::kAll);
  LoadSpeed& speed = model->speed_;
  double seconds = 0;
  if (!crew.Run(options, &seconds, out)) return nullptr;
  speed.bytes = list->bytes;
  speed.both = static_cast<double>(speed.bytes) / std::max(seconds, 1e-9);
  speed.pinned = static_cast<uint64_t>(ReadersOf(options)) * 2 * list->buffer;
  for (const LaidModule& laid : list->modules) model->modules_.push_back(Place(laid, memory));
  if (!NoNan(plan, model->modules_, requests, out)) return nullptr;
  speed.seconds = Since(begin);
  return model;
}

bool DeviceModel::MeasureLimits(const Plan& plan, std::span<const LoadRequest> requests,
                                const DeviceLoadOptions& options, uint64_t most, Diagnostics* out) {
  const std::optional<LoadList> list =
      ListJobs(plan, requests, BufferSize(ReadersOf(options), options.buffer), out);
  if (!list) return false;
  size_t count = 0;
  for (uint64_t bytes = 0; count < list->jobs.size() && bytes < most; ++count)
    bytes += list->jobs[count].bytes();
  const std::span<const LoadJob> jobs(list->jobs.data(), count);
  DeviceLoadOptions quiet = options;
  quiet.progress = nullptr;
  double seconds = 0;
  Crew reading(*plan.checkpoint, jobs, list->buffer, nullptr, Work::kRead);
  if (!reading.Run(quiet, &seconds, out)) return false;
  speed_.page_cache = static_cast<double>(reading.bytes()) / std::max(seconds, 1e-9);
  // What is copied is what the buffers hold: to memory of its own, not over the weights.
  void* scratch = nullptr;
  const cudaError_t error =
      cudaMalloc(&scratch, static_cast<uint64_t>(ReadersOf(options)) * list->buffer);
  if (error != cudaSuccess) return Fail(error, "no memory to measure the copying", out);
  Crew copying(*plan.checkpoint, jobs, list->buffer, static_cast<uint8_t*>(scratch), Work::kCopy);
  const bool copied = copying.Run(quiet, &seconds, out);
  cudaFree(scratch);
  speed_.pcie = static_cast<double>(copying.bytes()) / std::max(seconds, 1e-9);
  return copied;
}

DeviceModel::~DeviceModel() { cudaFree(memory_); }

uint64_t DeviceModel::FreeMemory() {
  size_t free = 0, all = 0;
  return cudaMemGetInfo(&free, &all) == cudaSuccess ? free : 0;
}

}  // namespace ferrule
