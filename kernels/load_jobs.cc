// SPDX-License-Identifier: Apache-2.0
#include "kernels/load_jobs.h"

#include <algorithm>
#include <cstring>

#include "kernels/loader.h"
#include "kernels/round.h"

namespace ferrule {
namespace {

constexpr int64_t kRowAlignment = 16;  // what TMA asks of rows
constexpr uint64_t kAlignment = 256;   // of tensors, as cudaMalloc aligns
constexpr int64_t kLeastRead = 2048;   // below it a call costs more than the bytes beside
// 128 buffers of 1.6 MB took 268 MB: CUDA seems to pin memory in such steps (2026-11-30).
constexpr uint64_t kPinnedStep = 2 << 20;
constexpr uint64_t kOfReader = 512 << 10;  // beside its buffers: 64 took 32 MB, 2026-11-30
constexpr uint64_t kLeastBuffer = 64;

// Where less than half of a row is wanted, rows are read one by one.
bool RowByRow(const LoadJob& job) { return job.width >= kLeastRead && 2 * job.width < job.stride; }

class Lister {
 public:
  Lister(const Plan& plan, uint64_t buffer) : c_(*plan.checkpoint), buffer_(buffer) {
    list_.buffer = buffer;
  }

  void Add(PlacedModule placed) {
    LaidModule module;
    int32_t scale = -1, input = -1;  // segments of one stored linear share them
    uint64_t scale_at = 0, input_at = 0;
    for (const PlacedSegment& from : placed.segments) {
      LaidSegment laid;
      laid.segment = from.segment;
      laid.weight = Weight(from, &laid.segment);
      if (from.scale >= 0 && from.scale != scale) scale_at = Scales(from.scale);
      if (from.input >= 0 && from.input != input) input_at = Scales(from.input);
      if (from.bias >= 0)
        laid.bias = Floats(LoadKind::kBias, from.bias, from.rows.begin, from.rows.size());
      scale = from.scale;
      input = from.input;
      laid.scale = scale_at + static_cast<uint64_t>(from.first_scale) * sizeof(float);
      laid.input = input_at;
      module.segments.push_back(laid);
    }
    module.placed = std::move(placed);
    module.bytes = list_.bytes - before_;
    before_ = list_.bytes;
    list_.modules.push_back(std::move(module));
  }

  LoadList Take() { return std::move(list_); }

 private:
  uint64_t Reserve(uint64_t bytes) {
    const uint64_t at = list_.memory;
    list_.memory += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }

  void Push(const LoadJob& job) {
    list_.bytes += job.bytes();
    list_.jobs.push_back(job);
  }

  // Bytes that follow one another in the file and in memory: any number makes a job.
  void PushRun(const LoadJob& job, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes; done += buffer_) {
      LoadJob part = job;
      part.rows = 1;
      part.width = part.stride = part.pitch = static_cast<int64_t>(std::min(buffer_, bytes - done));
      part.offset += done;
      part.to += done;
      Push(part);
    }
  }

  uint64_t Weight(const PlacedSegment& from, LinearSegment* segment) {
    const Tensor& tensor = c_.tensors()[static_cast<size_t>(from.weight)];
    const std::span<const int64_t> shape = c_.shape(tensor);
    const int64_t element = DTypeBits(tensor.dtype) / 8;
    LoadJob job;
    job.tensor = from.weight;
    job.width = from.cols.size() * element;
    job.stride = shape[shape.size() - 1] * element;
    job.pitch = RoundUp(job.width, kRowAlignment);
    job.rows = from.rows.size();
    job.offset = static_cast<uint64_t>(from.rows.begin * job.stride + from.cols.begin * element);
    job.to = Reserve(static_cast<uint64_t>(job.rows * job.pitch));
    segment->weight_stride = job.pitch / element;
    const uint64_t at = job.to;
    if (job.width == job.stride && job.width == job.pitch) {
      PushRun(job, job.bytes());
      return at;
    }
    const int64_t row = std::max(RowByRow(job) ? job.width : job.stride, job.pitch);
    const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(buffer_) / row);
    for (int64_t done = 0; done < from.rows.size(); done += most) {
      LoadJob part = job;
      part.rows = std::min(most, from.rows.size() - done);
      part.offset += static_cast<uint64_t>(done * job.stride);
      part.to += static_cast<uint64_t>(done * job.pitch);
      if (part.rows > 1)
        Push(part);
      else
        PushRun(part, static_cast<uint64_t>(job.width));
    }
    return at;
  }

  // `count` elements from the `first` on, widened.
  uint64_t Floats(LoadKind kind, int32_t id, int64_t first, int64_t count) {
    const int64_t element = DTypeBits(c_.tensors()[static_cast<size_t>(id)].dtype) / 8;
    const int64_t most = static_cast<int64_t>(buffer_ / sizeof(float));
    const uint64_t at = Reserve(static_cast<uint64_t>(count) * sizeof(float));
    for (int64_t done = 0; done < count; done += most) {
      LoadJob job;
      job.tensor = id;
      job.kind = kind;
      job.offset = static_cast<uint64_t>((first + done) * element);
      job.width = std::min(most, count - done) * 4;
      job.stride = job.pitch = job.width;
      job.to = at + static_cast<uint64_t>(done) * sizeof(float);
      Push(job);
    }
    return at;
  }

  uint64_t Scales(int32_t id) {
    const Tensor& tensor = c_.tensors()[static_cast<size_t>(id)];
    return Floats(LoadKind::kScales, id, 0, static_cast<int64_t>(c_.table.Elements(tensor)));
  }

  const Checkpoint& c_;
  const uint64_t buffer_;
  uint64_t before_ = 0;
  LoadList list_;
};

}  // namespace

uint64_t BufferSize(int readers, uint64_t wanted) {
  const auto count = static_cast<uint64_t>(std::clamp(readers, 1, 64));
  const uint64_t both = (kMostPinned - count * kOfReader) / count / kPinnedStep * kPinnedStep;
  return std::min(wanted, both / 2);
}

std::optional<LoadList> ListJobs(const Plan& plan, std::span<const LoadRequest> requests,
                                 uint64_t buffer, Diagnostics* out) {
  Lister lister(plan, std::max(buffer, kLeastBuffer));
  for (const LoadRequest& request : requests) {
    std::optional<PlacedModule> placed = PlaceModule(plan, request.module, request.rank, out);
    if (!placed) return std::nullopt;
    lister.Add(std::move(*placed));
  }
  return lister.Take();
}

int64_t ReadJob(const Checkpoint& checkpoint, const LoadJob& job, std::byte* buffer,
                Diagnostics* out) {
  const Tensor& tensor = checkpoint.tensors()[static_cast<size_t>(job.tensor)];
  if (job.kind != LoadKind::kWeight) {
    const std::span<float> values(reinterpret_cast<float*>(buffer),
                                  static_cast<size_t>(job.width) / sizeof(float));
    const uint64_t first = job.offset * 8 / DTypeBits(tensor.dtype);
    const auto read = job.kind == LoadKind::kScales ? ReadScales : ReadFloats;
    return read(checkpoint, job.tensor, first, values, out) ? job.width : 0;
  }
  if (RowByRow(job)) {
    for (int64_t row = 0; row < job.rows; ++row)
      if (!checkpoint.ReadBytes(tensor, job.offset + static_cast<uint64_t>(row * job.stride),
                                static_cast<size_t>(job.width), buffer + row * job.width, out))
        return 0;
    return job.width;
  }
  // The last row ends where its wanted bytes do: there may be none behind it.
  const int64_t size = (job.rows - 1) * job.stride + job.width;
  return checkpoint.ReadBytes(tensor, job.offset, static_cast<size_t>(size), buffer, out)
             ? job.stride
             : 0;
}

}  // namespace ferrule
