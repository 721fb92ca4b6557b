// SPDX-License-Identifier: Apache-2.0
// How much of one core's memory bandwidth the CPU linears use at few tokens, when reading the
// weights is all that counts. The bandwidth is measured in the same run, by adding up the same
// weights.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/linear.h"
#include "tests/bench/bench.h"

using namespace ferrule;
using namespace ferrule::bench;

namespace {

constexpr int kRuns = 9;
constexpr int64_t kIn = 4096, kRows = 131072;  // 512 MB in FP8, 1 GB in BF16: more than a cache

double Gbps(double bytes, double ms) { return bytes / ms / 1e6; }

// The best of several ways to add all words up: a core that reads in some places at once has more
// in flight than one that reads from front to end.
double ReadGbps(const std::vector<uint8_t>& memory, uint64_t* sink) {
  using Words = uint64_t __attribute__((vector_size(16)));
  double best = 0;
  for (const size_t places : {1u, 4u, 16u}) {
    const size_t part = memory.size() / places / 128 * 128;
    std::vector<double> times;
    for (int run = 0; run < kRuns; ++run) {
      const double start = CpuMs();
      Words sums[8] = {}, words[8];
      for (size_t at = 0; at + sizeof words <= part; at += sizeof words)
        for (size_t place = 0; place < places; ++place) {
          std::memcpy(words, memory.data() + place * part + at, sizeof words);
#pragma GCC unroll 8
          for (int i = 0; i < 8; ++i) sums[i] += words[i];
        }
      for (const Words sum : sums) *sink += sum[0] + sum[1];
      times.push_back(CpuMs() - start);
    }
    best = std::max(best, Gbps(static_cast<double>(part * places), Median(times)));
  }
  return best;
}

double LinearGbps(LinearScheme scheme, const std::vector<uint8_t>& weights, int64_t tokens) {
  const bool fp8 = scheme == LinearScheme::kFp8Block;
  const std::vector<uint16_t> x(static_cast<size_t>(tokens * kIn), 0x3F80);
  const std::vector<float> scales(static_cast<size_t>(kRows / 128 * (kIn / 128)), 0.01f);
  std::vector<float> y(static_cast<size_t>(tokens * kRows));
  LinearSegment segment;
  segment.scheme = scheme;
  segment.weight = weights.data();
  segment.rows = kRows;
  segment.weight_stride = kIn;
  if (fp8) {
    segment.scale = scales.data();
    segment.scale_stride = kIn / 128;
  }
  segment.y = y.data();
  segment.y_stride = kRows;
  LinearGroup group;
  group.x = x.data();
  group.tokens = tokens;
  group.in = kIn;
  group.x_stride = kIn;
  group.segments = &segment;
  group.segment_count = 1;
  std::vector<uint8_t> workspace(WorkspaceSize(group) + kWorkspaceAlignment);
  const size_t shift =
      kWorkspaceAlignment - reinterpret_cast<uintptr_t>(workspace.data()) % kWorkspaceAlignment;
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const double start = CpuMs();
    const LinearStatus status =
        LinearCpu(group, workspace.data() + shift, workspace.size() - kWorkspaceAlignment);
    times.push_back(CpuMs() - start);
    if (!status) return fmt::print(stderr, "{}\n", status.message), 0;
  }
  return Gbps(static_cast<double>(kRows * kIn * (fp8 ? 1 : 2)), Median(times));
}

}  // namespace

int main() {
  std::vector<uint8_t> weights(static_cast<size_t>(kRows * kIn * 2));
  std::mt19937_64 random(1);
  for (size_t i = 0; i < weights.size(); i += 8) {
    // As BF16 between 0.007 and 0.032 (subnormal numbers, which weights are not, take a CPU long);
    // as FP8 any code but NaN.
    const uint64_t word = (random() & 0x80BF80BF80BF80BF) | 0x3C003C003C003C00;
    std::memcpy(weights.data() + i, &word, 8);
  }
  uint64_t sink = 0;
  const double read = ReadGbps(weights, &sink);
  Table table(fmt::format("CPU linears, [{}, {}], one thread; median of {} runs{}", kRows, kIn,
                          kRuns, sink == 1 ? " " : ""));
  table.Shown("memory read by this core", read, "GB/s");
  for (const auto& [scheme, name] : {std::pair(LinearScheme::kFp8Block, "FP8 128 x 128"),
                                     std::pair(LinearScheme::kBf16, "BF16")})
    for (const int64_t tokens : {1, 2, 3, 4}) {
      const double gbps = LinearGbps(scheme, weights, tokens);
      table.Shown(fmt::format("{}, {} tokens: weights read", name, tokens), gbps, "GB/s");
      table.AtLeast(fmt::format("{}, {} tokens: of the bandwidth", name, tokens), 100 * gbps / read,
                    30, "%");
    }
  return 0;
}
