// SPDX-License-Identifier: Apache-2.0
// y[M, N] = x[M, K] · W[N, K]ᵀ + bias for one segment on any GPU from sm_80 on.
//
// Shapes.  A warp has 16 rows of W (the m operand of mma.m16n8k16) × 8·kEights tokens. A CTA is
//   kRowWarps × kDepthWarps such warps: next to each other in N, and sharing out the 128-column
//   blocks of K, one after the other in turn. Operands come from global memory into registers, 16
//   bytes a lane (kernels/mma.cuh). The next block of W is asked for before this one is
//   multiplied.
//   sums     [kDepthWarps][8·kEights tokens][16·kRowWarps rows] float32 in shared memory, added in
//            the order of the warps: the order of additions depends on K and the tile alone
#include "kernels/launch.cuh"
#include "kernels/mma.cuh"
#include "kernels/mma_linear.h"
#include "kernels/quantize.h"
#include "kernels/sm90.cuh"

namespace ferrule {
namespace {

using namespace sm90;

constexpr int kColumns = 128;  // of a block

// 16 bytes of a row from byte `at` on; zeros before its begin and past its end.
__device__ __forceinline__ uint4 Load16(const uint8_t* row, int at, int bytes) {
  if (at >= 0 && at + 16 <= bytes) return __ldg(reinterpret_cast<const uint4*>(row + at));
  uint32_t words[4] = {0, 0, 0, 0};
  if (at > -16 && at < bytes)
    for (int i = 0; i < 16; ++i)
      if (at + i >= 0 && at + i < bytes)
        words[i / 4] |= static_cast<uint32_t>(row[at + i]) << i % 4 * 8;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <bool fp8, int kEights, int kRowWarps, int kDepthWarps>
__global__ void __launch_bounds__(32 * kRowWarps * kDepthWarps)
    MmaLinear(const __grid_constant__ PlainArguments a) {
  constexpr int kRows = 16 * kRowWarps, kTokens = 8 * kEights;
  constexpr int kPitch = kRows + 4;                       // against bank conflicts
  constexpr int kPieces = kColumns * (fp8 ? 1 : 2) / 64;  // 64 bytes of a row by four lanes
  constexpr int kPairs = fp8 ? 8 : 4;                     // of operands in a lane's 16 bytes
  __shared__ float sums[kDepthWarps][kTokens][kPitch];
  const LinearSegment& s = a.segment;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int g = lane >> 2, t = lane & 3;
  const int row_warp = warp % kRowWarps, depth = warp / kRowWarps;
  const int64_t row0 = int64_t{blockIdx.x} * kRows + row_warp * 16;
  const int token0 = static_cast<int>(blockIdx.y) * kTokens;
  const bool blocks = s.scheme == LinearScheme::kFp8Block;
  const int phase = blocks ? s.k_phase : 0;
  const int count = (a.columns + phase + kColumns - 1) / kColumns;
  constexpr int kElement = fp8 ? 1 : 2;
  const int bytes = a.columns * kElement;
  // Rows and tokens past the last repeat it: their sums are not stored.
  const uint8_t* w[2];
#pragma unroll
  for (int h = 0; h < 2; ++h)
    w[h] = static_cast<const uint8_t*>(s.weight) +
           min(row0 + g + 8 * h, s.rows - 1) * s.weight_stride * kElement;
  const auto at = [&](int b, int piece) {
    return (b * kColumns - phase) * kElement + piece * 64 + t * 16;
  };
  uint4 next[2][kPieces];
  const auto ask = [&](int b) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        next[h][p] = b < count ? Load16(w[h], at(b, p), bytes) : make_uint4(0, 0, 0, 0);
  };
  ask(depth);
  LaunchDependents();
  WaitForEarlier();
  float sum[kEights][4] = {};
#pragma unroll 1
  for (int b = depth; b < count; b += kDepthWarps) {
    uint4 v[2][kPieces];
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int p = 0; p < kPieces; ++p) v[h][p] = next[h][p];
    ask(b + kDepthWarps);
    float d[kEights][4] = {};
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      uint4 x[kEights];
#pragma unroll
      for (int e = 0; e < kEights; ++e) {
        const int64_t m = min(token0 + e * 8 + g, a.tokens - 1);
        const uint8_t* row = fp8 ? a.codes + m * a.pitch + phase
                                 : reinterpret_cast<const uint8_t*>(a.x + m * a.x_stride);
        const int from = at(b, p);
        // Written by a kernel before: not by way of the read-only cache.
        x[e] = make_uint4(0, 0, 0, 0);
        if (from >= 0 && from + 16 <= bytes) {
          x[e] = *reinterpret_cast<const uint4*>(row + from);
        } else if (fp8 && from > -16 && from < bytes) {
          x[e] = *reinterpret_cast<const uint4*>(row + from);  // zeros around the codes
        } else if (from > -16 && from < bytes) {
          x[e] = Load16(row, from, bytes);
        }
      }
#pragma unroll
      for (int i = 0; i < kPairs; i += 2) {
        const uint32_t left[4] = {Pair<fp8>(v[0][p], i), Pair<fp8>(v[1][p], i),
                                  Pair<fp8>(v[0][p], i + 1), Pair<fp8>(v[1][p], i + 1)};
#pragma unroll
        for (int e = 0; e < kEights; ++e)
          Mma<fp8>(d[e], left, Pair<fp8>(x[e], i), Pair<fp8>(x[e], i + 1));
      }
    }
    float scale[2] = {1, 1};
    if (blocks)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        scale[h] =
            __ldg(s.scale +
                  (min(row0 + g + 8 * h, s.rows - 1) + s.n_phase) / kColumns * s.scale_stride + b);
#pragma unroll
    for (int e = 0; e < kEights; ++e)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float factor = 1;
        if (blocks) {
          const int m = min(token0 + e * 8 + t * 2 + (i & 1), a.tokens - 1);
          factor = a.x_scales[static_cast<int64_t>(b) * a.x_scale_stride + m] * scale[i >> 1];
        }
        sum[e][i] += d[e][i] * factor;
      }
  }
#pragma unroll
  for (int e = 0; e < kEights; ++e)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sums[depth][e * 8 + t * 2 + (i & 1)][row_warp * 16 + g + (i >> 1) * 8] = sum[e][i];
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * kTokens; i += 32 * kRowWarps * kDepthWarps) {
    const int64_t row = int64_t{blockIdx.x} * kRows + i % kRows;
    const int m = token0 + i / kRows;
    if (row >= s.rows || m >= a.tokens) continue;
    float y = sums[0][i / kRows][i % kRows];
#pragma unroll
    for (int k = 1; k < kDepthWarps; ++k) y += sums[k][i / kRows][i % kRows];
    if (fp8 && !blocks) {
      const int64_t stride = s.scale_stride == 0 ? 1 : s.scale_stride;
      y *= a.x_scales[m] * s.scale[s.scheme == LinearScheme::kFp8Channel ? row * stride : 0];
    }
    if (s.bias != nullptr) y += s.bias[row];
    const int64_t to = m * s.y_stride + row;
    if (s.y_type == LinearOutput::kF32) {
      static_cast<float*>(s.y)[to] = y;
    } else {
      static_cast<__nv_bfloat16*>(s.y)[to] = __float2bfloat16_rn(y);
    }
  }
}

template <bool fp8, int kEights, int kRowWarps, int kDepthWarps>
cudaError_t Launch(const PlainArguments& a, const LaunchTarget& to) {
  const int64_t rows = (a.segment.rows + 16 * kRowWarps - 1) / (16 * kRowWarps);
  const int64_t tokens = (int64_t{a.tokens} + 8 * kEights - 1) / (8 * kEights);
  if (tokens > 65535) return cudaErrorInvalidValue;  // of a grid's second dimension
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(tokens));
  return LaunchPdl(MmaLinear<fp8, kEights, kRowWarps, kDepthWarps>, grid,
                   32 * kRowWarps * kDepthWarps, to, a);
}

template <bool fp8>
cudaError_t LaunchType(const PlainArguments& a, const LaunchTarget& to) {
  if (a.invariant) return Launch<fp8, 8, 1, 8>(a, to);
  if (a.tokens <= 8) return Launch<fp8, 1, 1, 8>(a, to);
  if (a.tokens <= 16) return Launch<fp8, 2, 1, 8>(a, to);
  if (a.tokens <= 32) return Launch<fp8, 4, 1, 8>(a, to);
  // Few tiles: share out K rather than leave multiprocessors idle.
  if (a.tokens <= 256) return Launch<fp8, 8, 1, 8>(a, to);
  return Launch<fp8, 8, 4, 2>(a, to);
}

}  // namespace

cudaError_t LaunchMma(const PlainArguments& a, const LaunchTarget& to) {
  return a.segment.scheme == LinearScheme::kBf16 ? LaunchType<false>(a, to)
                                                 : LaunchType<true>(a, to);
}

}  // namespace ferrule
