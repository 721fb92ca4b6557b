// SPDX-License-Identifier: Apache-2.0
// Modules of a plan → where each of their bytes lies in one piece of memory, and the reads that
// bring them there. Plain arithmetic and pread, no CUDA: kernels/device_model.h copies on to a GPU.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/placement.h"

namespace ferrule {

// What is done with the bytes of a job: nothing, or they are widened to float32.
enum class LoadKind : uint8_t { kWeight, kScales, kBias };

// One read, small enough for a buffer, and where its rows go.
struct LoadJob {
  int32_t tensor = -1;
  LoadKind kind = LoadKind::kWeight;
  uint64_t offset = 0;  // of the first byte that is wanted, in the tensor
  int64_t rows = 1;     // 1 of what is widened
  int64_t width = 0;    // bytes of a row that are wanted, as they are in memory
  int64_t stride = 0;   // bytes from a row to the next in the file
  uint64_t to = 0;      // offset in memory
  int64_t pitch = 0;    // bytes from a row to the next there
  uint64_t bytes() const { return static_cast<uint64_t>(rows * width); }
};

struct LoadRequest {
  int32_t module = 0;
  int rank = 0;
};

// A segment as it will lie: offsets in memory in the place of pointers.
struct LaidSegment {
  LinearSegment segment;  // rows 16 bytes apart, as fast kernels want
  uint64_t weight = 0, scale = 0, input = 0, bias = 0;
};
struct LaidModule {
  PlacedModule placed;
  std::vector<LaidSegment> segments;
  uint64_t bytes = 0;  // of weights, scales and biases
};

struct LoadList {
  std::vector<LaidModule> modules;  // in the order of the requests
  std::vector<LoadJob> jobs;
  uint64_t memory = 0;  // bytes, gaps included
  uint64_t bytes = 0;   // that jobs bring
  uint64_t buffer = 0;  // bytes that a buffer must hold, and a job writes at most, gaps included
};

// Host memory that loading may take for its readers, two buffers and half a MB each: with lists and
// what else there is, less than 256 MB.
constexpr uint64_t kMostPinned = 240'000'000;
// Bytes of a buffer where `wanted` are asked for: as many, or what so many readers may have.
uint64_t BufferSize(int readers, uint64_t wanted);

// `buffer`: the size that every job fits, whole rows or a piece of one; at least 64. Empty with
// findings where a module cannot be placed.
std::optional<LoadList> ListJobs(const Plan& plan, std::span<const LoadRequest> requests,
                                 uint64_t buffer, Diagnostics* out);

// Reads a job into `buffer` (list.buffer bytes, aligned to 4); the distance of its rows there, 0
// with a finding where it failed.
int64_t ReadJob(const Checkpoint& checkpoint, const LoadJob& job, std::byte* buffer,
                Diagnostics* out);

}  // namespace ferrule
