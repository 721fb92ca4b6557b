// SPDX-License-Identifier: Apache-2.0
// With batch_invariant a token's bits are its own: alone, among others, first or last of them.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

Shape Of(LinearScheme scheme, int64_t rows, int32_t n_phase = 0, int32_t k_phase = 0) {
  Shape s;
  s.scheme = scheme;
  s.rows = rows;
  s.n_phase = n_phase;
  s.k_phase = k_phase;
  return s;
}

}  // namespace

TEST_CASE("with batch_invariant a token gets the same bits among 1 to 300 tokens") {
  constexpr int64_t kAll = 300;
  const LinearScheme fp8 = LinearScheme::kFp8Block, bf16 = LinearScheme::kBf16;
  struct Row {
    const char* sentence;
    int64_t in;
    std::vector<Shape> shapes;
  };
  const std::vector<Row> rows = {
      {"few rows, K in eight slices", 2048, {Of(fp8, 64)}},
      {"many rows, K in one", 512, {Of(fp8, 17000)}},
      {"BF16 alone", 1000, {Of(bf16, 300)}},
      {"a group of both with a shard", 1536, {Of(fp8, 1024), Of(bf16, 64), Of(fp8, 192, 64)}},
      {"columns that begin inside a block", 320, {Of(fp8, 200, 96, 64)}},
      {"without a fast kernel", 333, {Of(LinearScheme::kFp8Channel, 40), Of(fp8, 33, 127, 5)}},
  };
  for (const Row& row : rows) {
    INFO(row.sentence);
    TestGroup host(11, kAll, row.in, row.shapes);
    DeviceGroup device(host.group(), {});
    LinearGroup& group = device.group();
    group.batch_invariant = true;
    const void* x = group.x;
    REQUIRE(device.Run() == "");
    std::vector<std::vector<float>> all;
    for (size_t i = 0; i < row.shapes.size(); ++i) all.push_back(device.Y(i));
    for (int64_t tokens = 1; tokens <= kAll; ++tokens)
      for (const int64_t first : {int64_t{0}, kAll - tokens}) {
        if (tokens > 130 && tokens % 37 != 0 && tokens != kAll) continue;
        INFO(tokens << " tokens from the " << first << "th on");
        device.Poison();
        group.tokens = tokens;
        group.x = static_cast<const uint16_t*>(x) + first * group.x_stride;
        REQUIRE(device.Run() == "");
        for (size_t i = 0; i < row.shapes.size(); ++i) {
          const std::vector<float> some = device.Y(i);
          const int64_t width = row.shapes[i].rows;
          REQUIRE(std::equal(some.begin(), some.end(), all[i].begin() + first * width));
        }
      }
  }
}
