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

  void Push(const LoadJob& job, uint64_t in_buffer) {
    list_.buffer = std::max(list_.buffer, in_buffer);
    list_.bytes += job.bytes();
    list_.jobs.push_back(job);
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
    const bool one_run = job.width == job.stride && job.width == job.pitch;
    if (one_run) {  // any bytes make a job
      const uint64_t all = job.bytes();
      job.rows = 1;
      for (uint64_t done = 0; done < all; done += buffer_) {
        LoadJob part = job;
        part.width = part.stride = part.pitch = static_cast<int64_t>(std::min(buffer_, all - done));
        part.offset += done;
        part.to += done;
        Push(part, part.bytes());
      }
      return at;
    }
    const int64_t row = RowByRow(job) ? job.width : job.stride;
    const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(buffer_) / row);
    for (int64_t done = 0; done < from.rows.size(); done += most) {
      LoadJob part = job;
      part.rows = std::min(most, from.rows.size() - done);
      part.offset += static_cast<uint64_t>(done * job.stride);
      part.to += static_cast<uint64_t>(done * job.pitch);
      Push(part, static_cast<uint64_t>(part.rows * row));
    }
    return at;
  }

  uint64_t Scales(int32_t id) {
    LoadJob job;
    job.tensor = id;
    job.scales = true;
    const Tensor& tensor = c_.tensors()[static_cast<size_t>(id)];
    job.width = static_cast<int64_t>(c_.table.Elements(tensor)) * 4;
    job.stride = job.pitch = job.width;
    job.to = Reserve(job.bytes());
    Push(job, job.bytes());
    return job.to;
  }

  const Checkpoint& c_;
  const uint64_t buffer_;
  uint64_t before_ = 0;
  LoadList list_;
};

}  // namespace

std::optional<LoadList> ListJobs(const Plan& plan, std::span<const LoadRequest> requests,
                                 uint64_t buffer, Diagnostics* out) {
  Lister lister(plan, std::max<uint64_t>(buffer, 1));
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
  if (job.scales) {
    std::vector<float> values;
    if (!ReadScales(checkpoint, job.tensor, &values, out)) return 0;
    std::memcpy(buffer, values.data(), values.size() * sizeof(float));
    return job.width;
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
