// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/rank_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernels/fp8.h"
#include "kernels/linear_gpu.h"
#include "kernels/round.h"
#include "tests/gpu/agreement.h"

namespace ferrule::test {
namespace {

constexpr int64_t kGuard = 256;  // bytes before, between and behind the places of y
constexpr uint8_t kFill = 0xFB;  // 0xFBFB is no NaN, so that it shows in sums

int64_t SizeOf(LinearOutput type) { return type == LinearOutput::kF32 ? 4 : 2; }

Shape Of(Shape shape, LinearOutput type, bool bias = false) {
  shape.y_type = type;
  shape.bias = bias;
  return shape;
}

}  // namespace

std::vector<RankRow> RankRows() {
  constexpr LinearSplit kRow = LinearSplit::kRow, kColumn = LinearSplit::kColumn;
  constexpr LinearOutput kF32 = LinearOutput::kF32, kHalf = LinearOutput::kBf16;
  const std::string gaps = "outputs that are added up over ranks have no gaps";
  return {
      {"outputs in BF16", 20, kRow, {Of(Fp8(256), kHalf)}, {0}},
      {"outputs in BF16, of BF16, many tokens", 150, kRow, {Of(Bf16(128), kHalf)}, {0}},
      {"a bias", 3, kRow, {Of(Fp8(256), kF32, true)}, {0}},
      {"a bias in BF16", 33, kRow, {Of(Fp8(192), kHalf, true)}, {0}},
      {"two side by side", 20, kRow, {Of(Fp8(128), kF32), Of(Bf16(64), kF32)}, {0, 0}},
      {"two side by side in BF16", 9, kRow, {Of(Fp8(128), kHalf), Of(Bf16(64), kHalf)}, {0, 0}},
      {"three side by side, a bias in the middle",
       150,
       kRow,
       {Of(Fp8(128), kHalf), Of(Fp8(64), kHalf, true), Of(Bf16(8), kHalf)},
       {0, 0, 0}},
      {"two side by side and one apart",
       5,
       kRow,
       {Of(Fp8(128), kF32), Of(Bf16(64), kF32, true), Of(Fp8(64), kF32)},
       {0, 0, 1}},
      {"three apart, of two types",
       40,
       kRow,
       {Of(Fp8(128), kHalf), Of(Bf16(64), kF32), Of(Fp8(64), kHalf)},
       {0, 1, 2}},
      {"outputs that are not aligned",
       7,
       kRow,
       {Of(Bf16(33), kHalf), Of(Fp8(30), kHalf), Of(Bf16(1), kHalf)},
       {0, 0, 0}},
      {"one token, a gap behind", 1, kRow, {Of(Fp8(128), kF32), Of(Bf16(64), kF32)}, {0, 0}, 8},
      {"columns in BF16 with biases, a rank begins inside a scale block",
       20,
       kColumn,
       {Of(Fp8(192), kHalf, true), Of(Bf16(64), kHalf, true)},
       {0, 0}},
      {"columns with a gap", 3, kColumn, {Of(Fp8(256), kF32, true)}, {0}, 8},
      {"whole on every rank", 9, LinearSplit::kReplicated, {Of(Bf16(8), kHalf, true)}, {0}},
      {"a gap", 3, kRow, {Of(Fp8(128), kF32), Of(Bf16(64), kF32)}, {0, 0}, 8, false, gaps},
      {"gaps behind two y",
       3,
       kRow,
       {Of(Fp8(64), kHalf), Of(Bf16(64), kHalf)},
       {0, 1},
       8,
       false,
       gaps},
      {"from the right to the left",
       3,
       kRow,
       {Of(Fp8(128), kF32), Of(Bf16(64), kF32)},
       {0, 0},
       0,
       true,
       gaps},
      {"17 biases", 1, kRow, std::vector<Shape>(17, Of(Bf16(8), kF32, true)),
       std::vector<int>(17, 0), 0, false, "more than 16 row-split segments with a bias"},
  };
}

RankGroup::RankGroup(const LinearGroup& whole, const RankRow& row, int rank, int tp) {
  Cut(whole, row.split, rank, tp);
  device_ = std::make_unique<DeviceGroup>(host_, DeviceGroup::Layout{});
  Place(row);
  workspace_size_ = WorkspaceSizeGpu(group());
  if (cudaMalloc(&workspace_, workspace_size_ + 1) != cudaSuccess || !Poison())
    throw std::runtime_error("no device memory");
}

RankGroup::~RankGroup() {
  cudaFree(y_);
  cudaFree(workspace_);
}

// In host memory, by pointers into `whole`; scales are copied, as their blocks are cut.
void RankGroup::Cut(const LinearGroup& whole, LinearSplit split, int rank, int tp) {
  host_ = whole;
  host_.nonfinite_tokens = nullptr;
  cut_.assign(whole.segments, whole.segments + whole.segment_count);
  const int64_t columns = split == LinearSplit::kRow ? whole.in / tp : whole.in;
  const int64_t first = split == LinearSplit::kRow ? columns * rank : 0;
  host_.x = static_cast<const uint16_t*>(whole.x) + first;
  host_.in = columns;
  for (LinearSegment& s : cut_) {
    const int64_t rows = split == LinearSplit::kColumn ? s.rows / tp : s.rows;
    const int64_t top = split == LinearSplit::kColumn ? rows * rank : 0;
    const int64_t element = s.scheme == LinearScheme::kBf16 ? 2 : 1;
    s.weight = static_cast<const uint8_t*>(s.weight) + (top * s.weight_stride + first) * element;
    s.rows = rows;
    if (s.bias != nullptr) s.bias += top;
    if (s.scheme != LinearScheme::kFp8Block) continue;
    const int64_t width = (columns + 127) / 128;
    std::vector<float>& scales = scales_.emplace_back();
    for (int64_t block = top / 128; block * 128 < top + rows; ++block)
      scales.insert(scales.end(), s.scale + block * s.scale_stride + first / 128,
                    s.scale + block * s.scale_stride + first / 128 + width);
    s.scale = scales.data();
    s.scale_stride = width;
    s.n_phase = static_cast<int32_t>(top % 128);
  }
  host_.segments = cut_.data();
}

void RankGroup::Place(const RankRow& row) {
  const int places = 1 + *std::max_element(row.place.begin(), row.place.end());
  std::vector<int64_t> offset(row.place.size());
  int64_t end = kGuard;
  for (int place = 0; place < places; ++place) {
    int64_t width = 0;
    for (size_t n = 0; n < row.place.size(); ++n) {
      const size_t i = row.reversed ? row.place.size() - 1 - n : n;
      if (row.place[i] != place) continue;
      LinearSegment& s = device_->segment(i);
      s.y_type = row.shapes[i].y_type;
      offset[i] = end + width * SizeOf(s.y_type);
      width += s.rows;
    }
    int64_t bytes = 0;
    for (size_t i = 0; i < row.place.size(); ++i) {
      if (row.place[i] != place) continue;
      LinearSegment& s = device_->segment(i);
      s.y_stride = width + row.gap;
      bytes = row.tokens * s.y_stride * SizeOf(s.y_type);
    }
    end = RoundUp(end + bytes, kGuard) + kGuard;
  }
  y_size_ = static_cast<size_t>(end);
  void* memory = nullptr;
  if (cudaMalloc(&memory, y_size_) != cudaSuccess) throw std::runtime_error("no device memory");
  y_ = static_cast<uint8_t*>(memory);
  for (size_t i = 0; i < offset.size(); ++i) device_->segment(i).y = y_ + offset[i];
}

void RankGroup::DropBiases() {
  for (size_t i = 0; i < device_->size(); ++i) device_->segment(i).bias = nullptr;
}

bool RankGroup::Poison() {
  return cudaMemset(y_, kFill, y_size_) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess;
}

std::vector<uint8_t> RankGroup::Bytes(void* stream) const {
  std::vector<uint8_t> bytes(y_size_);
  if (cudaStreamSynchronize(static_cast<cudaStream_t>(stream)) != cudaSuccess ||
      cudaMemcpy(bytes.data(), y_, y_size_, cudaMemcpyDeviceToHost) != cudaSuccess)
    bytes.clear();
  return bytes;
}

size_t RankGroup::At(size_t segment, int64_t token) const {
  const LinearSegment& s = device_->segment(segment);
  return static_cast<size_t>(static_cast<const uint8_t*>(s.y) - y_ +
                             token * s.y_stride * SizeOf(s.y_type));
}

std::vector<std::vector<float>> RankGroup::Outputs(const std::vector<uint8_t>& bytes) const {
  std::vector<std::vector<float>> outputs(device_->size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const LinearSegment& s = device_->segment(i);
    for (int64_t m = 0; m < group().tokens; ++m)
      for (int64_t n = 0; n < s.rows; ++n) {
        const uint8_t* at = bytes.data() + At(i, m) + n * SizeOf(s.y_type);
        float value = 0;
        uint16_t half = 0;
        if (s.y_type == LinearOutput::kF32) {
          std::memcpy(&value, at, sizeof value);
        } else {
          std::memcpy(&half, at, sizeof half);
          value = Bf16ToFloat(half);
        }
        outputs[i].push_back(value);
      }
  }
  return outputs;
}

bool RankGroup::Untouched(const std::vector<uint8_t>& bytes, bool all) const {
  std::vector<bool> output(bytes.size(), false);
  for (size_t i = 0; i < device_->size() && !all; ++i) {
    const LinearSegment& s = device_->segment(i);
    for (int64_t m = 0; m < group().tokens; ++m)
      std::fill_n(output.begin() + static_cast<int64_t>(At(i, m)), s.rows * SizeOf(s.y_type), true);
  }
  for (size_t at = 0; at < bytes.size(); ++at)
    if (!output[at] && bytes[at] != kFill) return false;
  return !bytes.empty();
}

}  // namespace ferrule::test
