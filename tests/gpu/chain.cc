// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/chain.h"

#include <cmath>

#include "kernels/linear_gpu.h"
#include "tests/catch.h"

namespace ferrule::test {
namespace {

constexpr int kPoison = 0xFB;  // as BF16 no NaN, so that it shows in sums

// Values neither grow nor vanish from link to link.
LinearGroup& Tamed(TestGroup* test) {
  LinearGroup& group = test->group();
  for (int32_t i = 0; i < group.segment_count; ++i) {
    const LinearSegment& s = test->segment(static_cast<size_t>(i));
    if (s.scheme == LinearScheme::kBf16) continue;
    const int64_t scales = s.scheme == LinearScheme::kFp8Block
                               ? (s.rows + s.n_phase + 127) / 128 * s.scale_stride
                               : s.rows;
    for (int64_t n = 0; n < scales; ++n)
      const_cast<float*>(s.scale)[n] = 1 / (112 * std::sqrt(static_cast<float>(group.in)));
  }
  if (group.tokens > 1) test->x(group.tokens - 1)[5] = 0x7FC0;
  return group;
}

DeviceGroup::Layout Bf16Outputs() {
  DeviceGroup::Layout layout;
  layout.y_type = LinearOutput::kBf16;
  return layout;
}

}  // namespace

Chain::Chain(int64_t tokens, int64_t size, const std::vector<Shape>& shapes)
    : tokens_(tokens),
      size_(size),
      stride_(size + 8),
      test_(13, tokens, size, shapes),
      device_(Tamed(&test_), Bf16Outputs()) {
  REQUIRE(device_.group().x_stride == stride_);
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&buffers_), (kLinks + 1) * elements() * 2) ==
          cudaSuccess);
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&counts_), kLinks * sizeof(int64_t)) == cudaSuccess);
  REQUIRE(cudaStreamCreate(&stream_) == cudaSuccess);
}

Chain::~Chain() {
  cudaStreamDestroy(stream_);
  cudaFree(counts_);
  cudaFree(buffers_);
}

LinearGroup Chain::Link(const Way& way, int i, std::vector<LinearSegment>* segments) {
  LinearGroup group = device_.group();
  group.x = buffers_ + static_cast<size_t>(i % way.buffers) * elements();
  group.nonfinite_tokens = way.counts ? counts_ + i : nullptr;
  uint16_t* y = buffers_ + static_cast<size_t>((i + 1) % way.buffers) * elements();
  segments->clear();
  for (size_t n = 0; n < device_.size(); ++n) {
    segments->push_back(device_.segment(n));
    segments->back().y = y;
    segments->back().y_stride = stride_;
    y += device_.segment(n).rows;
  }
  group.segments = segments->data();
  return group;
}

void Chain::Run(const Way& way, bool waits) {
  const size_t bytes = elements() * 2;
  REQUIRE(cudaMemsetAsync(buffers_, kPoison, static_cast<size_t>(way.buffers) * bytes, stream_) ==
          cudaSuccess);
  REQUIRE(cudaMemsetAsync(counts_, kPoison, kLinks * sizeof(int64_t), stream_) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(buffers_, device_.group().x, bytes, cudaMemcpyDeviceToDevice, stream_) ==
          cudaSuccess);
  std::vector<LinearSegment> segments;
  for (int i = 0; i < kLinks; ++i) {
    REQUIRE(RunGpu(Link(way, i, &segments), way.choice, device_.workspace(),
                   device_.workspace_size(), stream_));
    if (waits) REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
  }
}

cudaGraphExec_t Chain::Capture(const Way& way) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal) == cudaSuccess);
  Run(way, false);
  REQUIRE(cudaStreamEndCapture(stream_, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  return exec;
}

void Chain::Replay(cudaGraphExec_t graph) {
  REQUIRE(cudaGraphLaunch(graph, stream_) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
}

std::vector<uint16_t> Chain::Last(const Way& way) const {
  std::vector<uint16_t> y(elements());
  const uint16_t* from = buffers_ + static_cast<size_t>(kLinks % way.buffers) * elements();
  REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
  REQUIRE(cudaMemcpy(y.data(), from, y.size() * 2, cudaMemcpyDeviceToHost) == cudaSuccess);
  return y;
}

std::vector<uint16_t> Chain::All(const Way& way) const {
  std::vector<uint16_t> all(static_cast<size_t>(way.buffers) * elements());
  REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
  REQUIRE(cudaMemcpy(all.data(), buffers_, all.size() * 2, cudaMemcpyDeviceToHost) == cudaSuccess);
  return all;
}

std::vector<int64_t> Chain::Counts() const {
  std::vector<int64_t> counts(kLinks);
  REQUIRE(cudaStreamSynchronize(stream_) == cudaSuccess);
  REQUIRE(cudaMemcpy(counts.data(), counts_, counts.size() * sizeof(int64_t),
                     cudaMemcpyDeviceToHost) == cudaSuccess);
  return counts;
}

bool Chain::Alive(const std::vector<uint16_t>& y) const {
  int64_t zeros = 0;
  const int64_t tokens = tokens_ - nonfinite();
  for (int64_t m = 0; m < tokens; ++m)
    for (int64_t n = 0; n < size_; ++n) {
      const uint16_t bits = y[static_cast<size_t>(m * stride_ + n)] & 0x7FFF;
      if (bits >= 0x7F80) return false;
      zeros += bits == 0 ? 1 : 0;
    }
  return zeros < tokens * size_ / 100;
}

}  // namespace ferrule::test
