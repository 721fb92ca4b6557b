// SPDX-License-Identifier: Apache-2.0
// R0 for few rows: y[M, N] = x[M, K] · W[N, K]ᵀ, several segments, all FP8 block or all BF16, one
// launch.
//
// Shapes.  Tiles of 8 rows of W (the n operand of mma.m16n8k16) × 8, 16 or 32 tokens (the m
//   operand, half of it zeros with 8). A CTA takes one tile and one slice of K, the CTAs of a
//   cluster the slices; its warps share out the slice's blocks of 128 columns, up to kEach a warp.
//   W        in registers, 16 bytes a lane, asked for BEFORE the wait for the kernels before, since
//            weights are constant; it does not pass through shared memory
//   x        from L2 into registers; of FP8 a block of a token is in four lanes, which quantize it
//   sums     [warps][tokens][8 rows] float32 in shared memory, added in the order of the warps
//   parts    [slices][tokens][8 rows] in the first CTA of a cluster, added in the order of the
//            slices: deterministic, and the same for each number of tokens in a tile
//
// Rows past the last of a segment and tokens past the last repeat it or are zeros; they are not
// stored.
#include "kernels/few_rows_linear.h"

#include "kernels/launch.cuh"
#include "kernels/mma.cuh"
#include "kernels/quantize.cuh"
#include "kernels/sm90.cuh"

namespace ferrule {
namespace {

using namespace sm90;

// 16 bytes that no other CTA reads soon.
__device__ __forceinline__ uint4 LoadWeight(const uint8_t* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// Of products that do not wait for one another. Measured on H200 (2026-11-30): 2048 -> 8 at one
// token took 1.7 us with one, 1.4 with two, and 1.3 with four and sums that are read at once.
constexpr int kChains = 4;

// What a CTA has to do.
struct Part {
  int row0;           // of the tile
  int token0, slice;  // first token; of K
  int warp, warps;
};

// x of one block and one token in BF16: 16 bytes of each 64, four lanes together.
__device__ __forceinline__ void LoadX(const FewRowsArguments& a, int token, int column,
                                      uint4 (&x)[4]) {
  const __nv_bfloat16* row = a.x + token * a.x_stride;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const int at = column + p * 32 + (threadIdx.x & 3) * 8;
    x[p] = token < a.tokens && at < a.columns ? *reinterpret_cast<const uint4*>(row + at)
                                              : make_uint4(0, 0, 0, 0);
  }
}

// The same, quantized: 16 codes of each 64. `column` may be below 0, with k_phase.
__device__ __forceinline__ float QuantizeX(const FewRowsArguments& a, int token, int column,
                                           uint4 (&codes)[2]) {
  const __nv_bfloat16* row = a.x + token * a.x_stride;
  uint4 x[4];
  uint32_t amax = 0;
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const int at = column + p / 2 * 64 + (threadIdx.x & 3) * 16 + p % 2 * 8;
    x[p] = token < a.tokens && at >= 0 && at < a.columns ? *reinterpret_cast<const uint4*>(row + at)
                                                         : make_uint4(0, 0, 0, 0);
    amax = Amax(amax, x[p]);
  }
  amax = __vmaxu2(amax, __shfl_xor_sync(~0u, amax, 1));
  amax = __vmaxu2(amax, __shfl_xor_sync(~0u, amax, 2));
  const float scale = ScaleOf(max(amax & 0xFFFF, amax >> 16), a.ue8m0 != 0);
  const ScaleInverse inverse = InverseOf(scale);
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const uint2 low = Encode(x[2 * p], inverse), high = Encode(x[2 * p + 1], inverse);
    codes[p] = make_uint4(low.x, low.y, high.x, high.y);
  }
  return scale;
}

// The sums of one warp, into its place.
template <int kTokens, int kEach, bool fp8>
__device__ __forceinline__ void Multiply(const FewRowsArguments& a, const FewRowsSegment& s,
                                         const Part& part, float* sums) {
  constexpr int kPieces = fp8 ? 2 : 4;        // of 64 bytes of a row
  constexpr int kPairs = fp8 ? 8 : 4;         // of operands in a lane's 16 bytes
  constexpr int kEights = kTokens / 8;        // tokens of a lane
  constexpr int kTiles = (kTokens + 8) / 16;  // m operands
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const int phase = fp8 ? a.k_phase : 0, blocks = a.blocks;
  const int begin = blocks * part.slice / a.plan.slices;
  const int end = blocks * (part.slice + 1) / a.plan.slices;
  const int bytes = a.columns * (fp8 ? 1 : 2);
  const uint8_t* row = s.weight + min(part.row0 + g, s.rows - 1) * s.row_bytes;
  const auto block_of = [&](int c) { return begin + part.warp + c * part.warps; };
  uint4 w[kEach][kPieces];
  float sw[kEach][2] = {};
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int b = block_of(c);
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int at = (b * kBlock - phase) * (fp8 ? 1 : 2) + p * 64 + t * 16;
      w[c][p] = b < end && at >= 0 && at < bytes ? LoadWeight(row + at) : make_uint4(0, 0, 0, 0);
    }
    if (fp8 && b < end)
#pragma unroll
      for (int j = 0; j < 2; ++j)
        sw[c][j] = __ldg(s.scale + b +
                         static_cast<int64_t>(s.scale_stride) *
                             ((min(part.row0 + 2 * t + j, s.rows - 1) + s.n_phase) / kBlock));
  }
  LaunchDependents();
  WaitForEarlier();
  float sum[kTiles][4] = {};
#pragma unroll
  for (int c = 0; c < kEach; ++c) {
    const int b = block_of(c);
    if (b >= end) break;
    float d[kChains][kTiles][4] = {};
    float sx[kEights];
    uint4 x[kEights][kPieces];
#pragma unroll
    for (int h = 0; h < kEights; ++h) {
      const int token = part.token0 + h * 8 + g;
      if constexpr (fp8) {
        sx[h] = QuantizeX(a, token, b * kBlock - phase, x[h]);
      } else {
        LoadX(a, token, b * kBlock, x[h]);
      }
    }
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
#pragma unroll
      for (int i = 0; i < kPairs; i += 2) {
        const uint32_t b0 = Pair<fp8>(w[c][p], i), b1 = Pair<fp8>(w[c][p], i + 1);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          uint32_t left[4] = {Pair<fp8>(x[2 * m][p], i), 0, Pair<fp8>(x[2 * m][p], i + 1), 0};
          if constexpr (kTokens > 8) {
            left[1] = Pair<fp8>(x[2 * m + 1][p], i);
            left[3] = Pair<fp8>(x[2 * m + 1][p], i + 1);
          }
          Mma<fp8>(d[(p * kPairs + i) / 2 % kChains][m], left, b0, b1);
        }
      }
#pragma unroll
    for (int h = 0; h < kEights; ++h)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int m = h / 2, i = h % 2 * 2 + j;
        const float all = (d[0][m][i] + d[1][m][i]) + (d[2][m][i] + d[3][m][i]);
        sum[m][i] += fp8 ? sw[c][j] * sx[h] * all : all;
      }
  }
#pragma unroll
  for (int h = 0; h < kEights; ++h)
    *reinterpret_cast<float2*>(sums + (part.warp * kTokens + h * 8 + g) * kFewRowsTile + 2 * t) =
        make_float2(sum[h / 2][h % 2 * 2], sum[h / 2][h % 2 * 2 + 1]);
}

__device__ __forceinline__ void Store(const FewRowsSegment& s, int token, int row, float value) {
  const int64_t at = token * s.y_stride + row;
  if (s.bias != nullptr) value += __ldg(s.bias + row);
  if (s.y_f32 != 0) {
    static_cast<float*>(s.y)[at] = value;
  } else {
    static_cast<__nv_bfloat16*>(s.y)[at] = __float2bfloat16_rn(value);
  }
}

template <int kTokens, int kEach, bool fp8>
__global__ void __launch_bounds__(32 * kFewRowsWarps)
    FewRowsLinear(const __grid_constant__ FewRowsArguments a) {
  constexpr int kSums = kTokens * kFewRowsTile;
  extern __shared__ float sums[];
  float* const parts = sums + a.plan.warps * kSums;
  const int slices = a.plan.slices, tile = static_cast<int>(blockIdx.x) / slices;
  const bool alone = slices == 1;
  if (!alone) ClusterArriveRelaxed();  // all CTAs are there before one is written to
  int i = 0;
  while (tile >= a.segments[i].tiles_end) ++i;
  const FewRowsSegment& s = a.segments[i];
  Part part;
  part.row0 = (tile - (i == 0 ? 0 : a.segments[i - 1].tiles_end)) * kFewRowsTile;
  part.token0 = static_cast<int>(blockIdx.y) * kTokens;
  part.slice = alone ? 0 : static_cast<int>(ClusterRank());
  part.warp = static_cast<int>(threadIdx.x >> 5);
  part.warps = a.plan.warps;
  Multiply<kTokens, kEach, fp8>(a, s, part, sums);
  __syncthreads();
  if (!alone) ClusterWait();
  const int threads = 32 * part.warps;
  const auto store = [&](int at, float value) {
    const int token = part.token0 + at / kFewRowsTile, row = part.row0 + at % kFewRowsTile;
    if (token < a.tokens && row < s.rows) Store(s, token, row, value);
  };
  for (int at = static_cast<int>(threadIdx.x); at < kSums; at += threads) {
    float from[kFewRowsWarps];
#pragma unroll
    for (int q = 0; q < kFewRowsWarps; ++q) from[q] = q < part.warps ? sums[q * kSums + at] : 0.0f;
    float sum = from[0];
#pragma unroll
    for (int q = 1; q < kFewRowsWarps; ++q) sum += from[q];
    if (alone) {
      store(at, sum);
    } else {
      StoreCluster(MapShared(SharedAddress(parts + part.slice * kSums + at), 0), sum);
    }
  }
  if (alone) return;
  ClusterArrive();
  ClusterWait();
  if (part.slice != 0) return;
  for (int at = static_cast<int>(threadIdx.x); at < kSums; at += threads) {
    float sum = parts[at];
    for (int q = 1; q < slices; ++q) sum += parts[q * kSums + at];
    store(at, sum);
  }
}

template <int kTokens, int kEach, bool fp8>
cudaError_t LaunchShape(const FewRowsArguments& a, const LaunchTarget& to) {
  static DeviceFlags ready;
  const auto kernel = FewRowsLinear<kTokens, kEach, fp8>;
  const cudaError_t error = AllowAllShared(kernel, &ready, false);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(a.tiles * a.plan.slices),
                  static_cast<unsigned>(a.plan.token_tiles));
  const int parts = a.plan.slices > 1 ? a.plan.slices : 0;
  const size_t shared = sizeof(float) * kTokens * kFewRowsTile * (a.plan.warps + parts);
  return LaunchCluster(kernel, grid, 32 * a.plan.warps, static_cast<unsigned>(a.plan.slices),
                       shared, to, a);
}

template <int kTokens, bool fp8>
cudaError_t LaunchEach(const FewRowsArguments& a, const LaunchTarget& to) {
  return a.plan.each == 1 ? LaunchShape<kTokens, 1, fp8>(a, to)
                          : LaunchShape<kTokens, kFewRowsEach, fp8>(a, to);
}

template <int kTokens>
cudaError_t LaunchOf(const FewRowsArguments& a, const LaunchTarget& to) {
  return a.fp8 ? LaunchEach<kTokens, true>(a, to) : LaunchEach<kTokens, false>(a, to);
}

}  // namespace

cudaError_t LaunchFewRows(const FewRowsArguments& a, const LaunchTarget& to) {
  switch (a.plan.token_tile) {
    case 8:
      return LaunchOf<8>(a, to);
    case 16:
      return LaunchOf<16>(a, to);
    default:
      return LaunchOf<32>(a, to);
  }
}

}  // namespace ferrule
