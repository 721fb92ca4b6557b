// SPDX-License-Identifier: Apache-2.0
// The strip for any CPU: weights of one block decoded through the tables, then dot products in
// eight lanes, which compilers turn into whatever vectors they have.
#include "kernels/cpu_linear.h"
#include "kernels/fp8.h"

namespace ferrule {
namespace {

constexpr int kLanes = 8;
constexpr int64_t kPiece = 256;  // columns decoded at a time

void DecodeWeights(const Strip& s, const uint8_t* row, int64_t begin, int64_t count, float* out) {
  switch (s.type) {
    case LinearWeight::kE4m3:
      for (int64_t i = 0; i < count; ++i) out[i] = E4m3ToFloat(row[begin + i]);
      return;
    case LinearWeight::kF32:
      for (int64_t i = 0; i < count; ++i) out[i] = reinterpret_cast<const float*>(row)[begin + i];
      return;
    case LinearWeight::kF16:
      for (int64_t i = 0; i < count; ++i)
        out[i] = F16ToFloat(reinterpret_cast<const uint16_t*>(row)[begin + i]);
      return;
    case LinearWeight::kBf16:
      for (int64_t i = 0; i < count; ++i)
        out[i] = Bf16ToFloat(reinterpret_cast<const uint16_t*>(row)[begin + i]);
      return;
  }
}

// Both padded with zeros to a multiple of kLanes.
float Dot(const float* x, const float* w, int64_t count) {
  float lanes[kLanes] = {};
  for (int64_t k = 0; k < count; k += kLanes)
    for (int i = 0; i < kLanes; ++i) lanes[i] += x[k + i] * w[k + i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void RunStrip(const Strip& s) {
  for (int i = 0; i < s.rows * s.tokens; ++i) s.sum[i] = 0;
  for (int r = 0; r < s.rows; ++r) {
    const uint8_t* row = s.weight + r * s.row_bytes;
    float* sum = s.sum + r * s.tokens;
    for (int64_t b = 0; b < s.blocks; ++b) {
      const int64_t begin = b == 0 ? 0 : s.first + (b - 1) * s.block;
      const int64_t end = b == 0 ? s.first : begin + s.block;
      const int64_t count = (end < s.columns ? end : s.columns) - begin;
      for (int64_t p = 0; p < count; p += kPiece) {
        alignas(32) float w[kPiece];
        const int64_t size = count - p < kPiece ? count - p : kPiece;
        const int64_t padded = (size + kLanes - 1) / kLanes * kLanes;
        DecodeWeights(s, row, begin + p, size, w);
        for (int64_t i = size; i < padded; ++i) w[i] = 0;
        for (int t = 0; t < s.tokens; ++t) {
          const float part = Dot(s.x + (b * s.tokens + t) * s.width + p, w, padded);
          sum[t] += s.sx == nullptr ? part : part * s.sx[t * s.blocks + b] * s.sw[r][b];
        }
      }
    }
  }
}

}  // namespace

const CpuKernel& PortableKernel() {
  static const CpuKernel kernel{PlainQuantize(), RunStrip};
  return kernel;
}

}  // namespace ferrule
