// SPDX-License-Identifier: Apache-2.0
// The GPU's quantizers against the CPU's, bit by bit: all BF16 values under many group maxima.
#include "kernels/quantize_gpu.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "kernels/fp8.h"
#include "kernels/gpu_steps.h"
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/choices.h"

using namespace ferrule;

namespace {

struct Quantized {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
};

struct Device {
  explicit Device(size_t bytes) { REQUIRE(cudaMalloc(&memory, bytes) == cudaSuccess); }
  ~Device() { cudaFree(memory); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  void* memory = nullptr;
};

Quantized OnGpu(const std::vector<uint16_t>& x, int tokens, int columns, int64_t stride,
                const XRecipe& recipe) {
  const XLayout layout = LayOutX(recipe, tokens, columns);
  const Device device_x(x.size() * 2), out(layout.bytes);
  REQUIRE(cudaMemcpy(device_x.memory, x.data(), x.size() * 2, cudaMemcpyHostToDevice) ==
          cudaSuccess);
  REQUIRE(cudaMemset(out.memory, 0x55, layout.bytes) == cudaSuccess);
  QuantizeArguments a{};
  a.x = static_cast<const __nv_bfloat16*>(device_x.memory);
  a.x_stride = stride;
  a.tokens = tokens;
  a.columns = columns;
  a.blocks = static_cast<int>(layout.blocks);
  a.recipe = recipe;
  a.codes = static_cast<uint8_t*>(out.memory);
  a.pitch = layout.pitch;
  a.scales = reinterpret_cast<float*>(a.codes + layout.scales);
  a.scale_stride = static_cast<int>(layout.scale_stride);
  REQUIRE(LaunchQuantize(a, nullptr) == cudaSuccess);
  std::vector<uint8_t> bytes(layout.bytes);
  REQUIRE(cudaMemcpy(bytes.data(), out.memory, bytes.size(), cudaMemcpyDeviceToHost) ==
          cudaSuccess);
  Quantized q;
  const int phase = recipe.kind == XKind::kGroup ? recipe.phase : 0;
  for (int m = 0; m < tokens; ++m)
    for (int64_t k = 0; k < layout.pitch; ++k) {
      const uint8_t code = bytes[static_cast<size_t>(m * layout.pitch + k)];
      if (k >= phase && k < phase + columns)
        q.codes.push_back(code);
      else
        REQUIRE(code == 0);  // what pads a block
    }
  for (int m = 0; m < tokens; ++m)
    for (int64_t b = 0; b < layout.blocks; ++b) {
      float scale = 0;
      std::memcpy(
          &scale,
          bytes.data() + layout.scales + static_cast<size_t>(b * layout.scale_stride + m) * 4, 4);
      q.scales.push_back(scale);
    }
  return q;
}

Quantized OnCpu(const std::vector<uint16_t>& x, int tokens, int columns, int64_t stride,
                const XRecipe& recipe) {
  const int64_t blocks = recipe.kind == XKind::kGroup ? BlockCount(recipe, columns) : 1;
  Quantized q;
  q.codes.resize(static_cast<size_t>(tokens) * static_cast<size_t>(columns));
  q.scales.resize(static_cast<size_t>(tokens * blocks));
  for (int m = 0; m < tokens; ++m)
    QuantizeRow(PlainQuantize(), recipe, x.data() + m * stride, columns,
                q.codes.data() + static_cast<size_t>(m) * static_cast<size_t>(columns),
                q.scales.data() + m * blocks);
  return q;
}

void SameBits(const Quantized& a, const Quantized& b) {
  REQUIRE(a.codes == b.codes);
  REQUIRE(a.scales.size() == b.scales.size());
  for (size_t i = 0; i < a.scales.size(); ++i) {
    const bool both = a.scales[i] != a.scales[i] && b.scales[i] != b.scales[i];
    if (!both) REQUIRE(std::memcmp(&a.scales[i], &b.scales[i], 4) == 0);
  }
}

// Rows of one block: 127 of all BF16 values whose magnitude is at most `amax`, and `amax`.
std::vector<uint16_t> AllValues(uint16_t amax) {
  std::vector<uint16_t> x;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    if ((bits & 0x7FFF) > amax) continue;
    if (x.size() % 128 == 0) x.push_back(amax);
    x.push_back(static_cast<uint16_t>(bits));
  }
  while (x.size() % 128 != 0) x.push_back(0x8000);
  return x;
}

// Rows of one block, one for each finite magnitude that BF16 has, 0 … 0x7F7F: that value, somewhere
// and of any sign, and 127 that are not larger.
constexpr int kMaxima = 0x7F80;
std::vector<uint16_t> AllMaxima(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> x(size_t{kMaxima} * 128);
  for (uint32_t amax = 0; amax < kMaxima; ++amax) {
    uint16_t* row = x.data() + size_t{amax} * 128;
    for (int k = 0; k < 128; ++k) {
      const auto bits = static_cast<uint32_t>(random());
      // Half of them within eight powers of two of the largest, where codes are no zeros.
      const uint32_t least = (bits >> 30 & 1) == 0 || amax < 8 * 128 ? 0 : amax - 8 * 128;
      row[k] = static_cast<uint16_t>(least + (bits & 0xFFFFFF) % (amax - least + 1) +
                                     (bits >> 31 << 15));
    }
    row[random() % 128] = static_cast<uint16_t>(amax | (random() & 0x8000));
  }
  return x;
}

// So many BF16 values, any but NaN and Inf.
std::vector<uint16_t> Finite(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> x(count);
  for (uint16_t& bits : x) {
    bits = static_cast<uint16_t>(random());
    if ((bits & 0x7F80) == 0x7F80) bits = static_cast<uint16_t>(bits & 0xBFFF);
  }
  return x;
}

}  // namespace

TEST_CASE("codes and scales of all BF16 values equal the CPU's") {
  std::vector<uint16_t> maxima = {0x0000, 0x0001, 0x007F, 0x0080, 0x2EDB, 0x2EDC, 0x3F80,
                                  0x43E0, 0x43E1, 0x7F7F, 0x7F80, 0x7FC0, 0x7FFF};
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) maxima.push_back(static_cast<uint16_t>(random() % 0x7F80));
  for (const uint16_t amax : maxima)
    for (const bool ue8m0 : {false, true}) {
      const std::vector<uint16_t> x = AllValues(amax);
      const XRecipe recipe{XKind::kGroup, 128, 0, ue8m0, nullptr};
      const int tokens = static_cast<int>(x.size() / 128);
      INFO("largest " << amax);
      SameBits(OnGpu(x, tokens, 128, 128, recipe), OnCpu(x, tokens, 128, 128, recipe));
    }
}

TEST_CASE("codes and scales under every finite maximum equal the CPU's") {
  const std::vector<uint16_t> x = AllMaxima(6);
  for (const bool ue8m0 : {false, true}) {
    const XRecipe recipe{XKind::kGroup, 128, 0, ue8m0, nullptr};
    SameBits(OnGpu(x, kMaxima, 128, 128, recipe), OnCpu(x, kMaxima, 128, 128, recipe));
  }
}

TEST_CASE("all phases, groups and alignments equal the CPU's") {
  const std::vector<uint16_t> x = Finite(7 * 1031, 4);
  for (int phase = 0; phase < 128; ++phase)
    for (const int columns : {1, 120, 128, 129, 1000, 1024}) {
      const XRecipe recipe{XKind::kGroup, 128, phase, false, nullptr};
      INFO("phase " << phase << ", columns " << columns);
      SameBits(OnGpu(x, 7, columns, 1024, recipe), OnCpu(x, 7, columns, 1024, recipe));
      if (phase % 16 == 0)
        SameBits(OnGpu(x, 7, columns, 1031, recipe), OnCpu(x, 7, columns, 1031, recipe));
    }
  for (const int group : {1, 32, 64, 100, 200}) {
    const XRecipe recipe{XKind::kGroup, group, group / 3, false, nullptr};
    SameBits(OnGpu(x, 7, 1000, 1024, recipe), OnCpu(x, 7, 1000, 1024, recipe));
  }
  for (const bool ue8m0 : {false, true}) {
    const XRecipe recipe{XKind::kToken, 128, 0, ue8m0, nullptr};
    SameBits(OnGpu(x, 7, 1000, 1024, recipe), OnCpu(x, 7, 1000, 1024, recipe));
  }
  for (const float scale : {0.013f, 1e-30f, 0.0f}) {
    const Device on_gpu(4);
    REQUIRE(cudaMemcpy(on_gpu.memory, &scale, 4, cudaMemcpyHostToDevice) == cudaSuccess);
    XRecipe recipe{XKind::kStatic, 128, 0, false, static_cast<const float*>(on_gpu.memory)};
    const Quantized gpu = OnGpu(x, 7, 1000, 1024, recipe);
    recipe.static_scale = &scale;
    SameBits(gpu, OnCpu(x, 7, 1000, 1024, recipe));
  }
}

TEST_CASE("whole rows, with a scale each or one for all, equal the CPU's") {
  const std::vector<uint16_t> x = Finite(3 * 32785, 9);
  const Device on_gpu(4);
  // Rows that fill the turns of 16 bytes, rows that end inside one, and the longest.
  for (const int columns :
       {8, 1000, 2048, 4096, 4104, 8192, 8200, 16384, 16392, 28672, 32768, 32776})
    for (const int64_t stride : {32784, 32785}) {  // aligned rows, and others
      INFO(columns << " columns, " << stride << " from row to row");
      for (const bool ue8m0 : {false, true}) {
        const XRecipe recipe{XKind::kToken, 128, 0, ue8m0, nullptr};
        SameBits(OnGpu(x, 3, columns, stride, recipe), OnCpu(x, 3, columns, stride, recipe));
      }
      for (const float scale : {0.013f, -2.5f, 1e-30f, 0.0f, 1e30f}) {
        REQUIRE(cudaMemcpy(on_gpu.memory, &scale, 4, cudaMemcpyHostToDevice) == cudaSuccess);
        XRecipe recipe{XKind::kStatic, 128, 0, false, static_cast<const float*>(on_gpu.memory)};
        const Quantized gpu = OnGpu(x, 3, columns, stride, recipe);
        recipe.static_scale = &scale;
        SameBits(gpu, OnCpu(x, 3, columns, stride, recipe));
      }
    }
}

TEST_CASE("whole rows with every finite maximum, NaN and Inf equal the CPU's") {
  std::vector<uint16_t> x = AllMaxima(11);
  for (size_t i = 0; i < 300; ++i)  // NaN and Inf of either sign, one in a row
    x[i * 128 + i % 128] =
        static_cast<uint16_t>((i % 2 == 0 ? 0x7F80 : 0x7FC0) | (i % 4 / 2) << 15);
  const float one = 1;
  const Device on_gpu(4);
  REQUIRE(cudaMemcpy(on_gpu.memory, &one, 4, cudaMemcpyHostToDevice) == cudaSuccess);
  for (const bool ue8m0 : {false, true}) {
    const XRecipe recipe{XKind::kToken, 128, 0, ue8m0, nullptr};
    SameBits(OnGpu(x, kMaxima, 128, 128, recipe), OnCpu(x, kMaxima, 128, 128, recipe));
  }
  XRecipe recipe{XKind::kStatic, 128, 0, false, static_cast<const float*>(on_gpu.memory)};
  const Quantized gpu = OnGpu(x, kMaxima, 128, 128, recipe);
  recipe.static_scale = &one;
  SameBits(gpu, OnCpu(x, kMaxima, 128, 128, recipe));
}

TEST_CASE("as many blocks as are quantized in runs, and one less, equal the CPU's") {
  const std::vector<uint16_t> x = Finite(16384 * 512, 6);
  for (const auto& [tokens, columns] :
       {std::pair{1023, 2048}, {1024, 2048}, {4095, 512}, {4096, 512}, {16384, 384}, {7, 300032}})
    for (const int phase : {0, 40}) {
      const XRecipe recipe{XKind::kGroup, 128, phase, false, nullptr};
      INFO("phase " << phase << ", " << tokens << " tokens, " << columns << " columns");
      SameBits(OnGpu(x, tokens, columns, columns, recipe),
               OnCpu(x, tokens, columns, columns, recipe));
    }
}

TEST_CASE("a hundred thousand blocks equal the CPU's") {
  const std::vector<uint16_t> x = Finite(1577 * 8200, 5);
  for (const int columns : {8064, 8192, 8200})  // an odd number of blocks, an even one, a part
    for (const int phase : {0, 40}) {
      const XRecipe recipe{XKind::kGroup, 128, phase, false, nullptr};
      INFO("phase " << phase << ", columns " << columns);
      SameBits(OnGpu(x, 1577, columns, 8200, recipe), OnCpu(x, 1577, columns, 8200, recipe));
    }
}

namespace {

// Kernels that quantize x themselves.
const GpuChoice kInside[] = {test::InSmall({.quantized = 0}), test::InFewRows({})};

// y = x · 1 of one block in float32, W the identity with scale 1: code · scale, exactly. By the
// kernel that is chosen, which quantizes, `together` tokens of x a launch.
std::vector<float> Inside(const GpuChoice& choice, const uint16_t* x, int64_t tokens,
                          int64_t together, bool ue8m0) {
  std::vector<uint8_t> identity(128 * 128, 0);
  for (size_t i = 0; i < 128; ++i) identity[i * 128 + i] = 0x38;
  const float one = 1;
  const auto values = static_cast<size_t>(tokens) * 128;
  const Device device_x(values * 2), weight(identity.size()), scale(4), y(values * 4);
  cudaMemcpy(device_x.memory, x, values * 2, cudaMemcpyHostToDevice);
  cudaMemcpy(weight.memory, identity.data(), identity.size(), cudaMemcpyHostToDevice);
  cudaMemcpy(scale.memory, &one, 4, cudaMemcpyHostToDevice);
  LinearSegment s;
  s.scheme = LinearScheme::kFp8Block;
  s.weight = weight.memory;
  s.rows = s.weight_stride = s.y_stride = 128;
  s.scale = static_cast<const float*>(scale.memory);
  s.scale_stride = 1;
  s.ue8m0 = ue8m0;
  LinearGroup g;
  g.in = g.x_stride = 128;
  g.segments = &s;
  g.segment_count = 1;
  g.tokens = together;
  g.x = device_x.memory;
  s.y = y.memory;
  CHECK(test::Unheard(g, choice) == "");
  const size_t bytes = WorkspaceSizeGpu(g);
  const Device workspace(bytes);
  for (int64_t first = 0; first < tokens; first += together) {
    g.tokens = std::min(together, tokens - first);
    g.x = static_cast<const uint16_t*>(device_x.memory) + first * 128;
    s.y = static_cast<float*>(y.memory) + first * 128;
    REQUIRE(RunGpu(g, choice, workspace.memory, bytes, nullptr));
  }
  std::vector<float> got(values);
  REQUIRE(cudaMemcpy(got.data(), y.memory, got.size() * 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  return got;
}

}  // namespace

TEST_CASE("the quantizers inside kernels equal the CPU's") {
  const XRecipe recipe{XKind::kGroup, 128, 0, false, nullptr};
  std::mt19937 random(8);
  for (int round = 0; round < 40; ++round) {
    const auto amax = static_cast<uint16_t>(round < 4 ? 0x2EDA + round : random() % 0x7F00);
    const std::vector<uint16_t> x = AllValues(amax);
    const int64_t all = static_cast<int64_t>(x.size() / 128);
    const int64_t tokens = std::min<int64_t>(all, 1 + round % 32);
    const int64_t first = static_cast<int64_t>(random() % static_cast<uint64_t>(all - tokens + 1));
    const std::vector<uint16_t> part(x.begin() + first * 128, x.begin() + (first + tokens) * 128);
    const Quantized q = OnCpu(part, static_cast<int>(tokens), 128, 128, recipe);
    for (const GpuChoice& choice : kInside) {
      const std::vector<float> got = Inside(choice, part.data(), tokens, tokens, false);
      for (size_t i = 0; i < got.size(); ++i)
        REQUIRE(got[i] == E4m3ToFloat(q.codes[i]) * q.scales[i / 128]);
    }
  }
}

TEST_CASE("the quantizers inside kernels equal the CPU's under every finite maximum") {
  const std::vector<uint16_t> x = AllMaxima(7);
  for (const bool ue8m0 : {false, true}) {
    const XRecipe recipe{XKind::kGroup, 128, 0, ue8m0, nullptr};
    const Quantized q = OnCpu(x, kMaxima, 128, 128, recipe);
    for (const int64_t together : {8, 16, 32, 4096}) {  // each tile of tokens, and several
      INFO(together << " tokens" << (ue8m0 ? ", powers of two" : ""));
      for (const GpuChoice& choice : kInside) {
        const std::vector<float> got = Inside(choice, x.data(), kMaxima, together, ue8m0);
        size_t other = 0;
        for (size_t i = 0; i < got.size(); ++i)
          other += got[i] == E4m3ToFloat(q.codes[i]) * q.scales[i / 128] ? 0 : 1;
        CHECK(other == 0);
      }
    }
  }
}
