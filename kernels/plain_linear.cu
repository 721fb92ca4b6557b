// SPDX-License-Identifier: Apache-2.0
// y[M, N] = x[M, K] · W[N, K]ᵀ + bias, one warp for each (row of W, 4 tokens): the law of
// kernels/linear.h with float32 sums. Lanes share out the columns of a block; the order of
// additions depends on K alone.
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/launch.cuh"
#include "kernels/plain_linear.h"
#include "kernels/sm90.cuh"

namespace ferrule {
namespace {

using namespace sm90;

constexpr int kThreads = 256;
constexpr int kTokens = 4;
constexpr int kRows = kThreads / 32;

__device__ __forceinline__ float FromE4m3(uint8_t code) {
  return __half2float(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3));
}

__device__ __forceinline__ float WeightAt(const LinearSegment& s, int64_t at) {
  if (s.scheme != LinearScheme::kBf16) return FromE4m3(static_cast<const uint8_t*>(s.weight)[at]);
  if (s.weight_type == LinearWeight::kF32) return static_cast<const float*>(s.weight)[at];
  if (s.weight_type == LinearWeight::kF16)
    return __half2float(static_cast<const __half*>(s.weight)[at]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(s.weight)[at]);
}

__global__ void __launch_bounds__(kThreads) PlainLinear(const __grid_constant__ PlainArguments a) {
  const LinearSegment& s = a.segment;
  const int lane = threadIdx.x & 31;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + (threadIdx.x >> 5);
  const int token0 = static_cast<int>(blockIdx.y) * kTokens;
  LaunchDependents();
  WaitForEarlier();
  if (row >= s.rows) return;
  const bool fp8 = s.scheme != LinearScheme::kBf16, blocks = s.scheme == LinearScheme::kFp8Block;
  const int size = blocks ? s.block_k : a.columns, phase = blocks ? s.k_phase : 0;
  const int count = (a.columns + phase + size - 1) / size;
  float sums[kTokens] = {};
  for (int b = 0; b < count; ++b) {
    const int begin = max(0, b * size - phase), end = min(a.columns, (b + 1) * size - phase);
    float part[kTokens] = {};
    for (int k = begin + lane; k < end; k += 32) {
      const float w = WeightAt(s, row * s.weight_stride + k);
#pragma unroll
      for (int i = 0; i < kTokens; ++i) {
        const int64_t m = min(token0 + i, a.tokens - 1);
        const float x = fp8 ? FromE4m3(a.codes[m * a.pitch + phase + k])
                            : __bfloat162float(a.x[m * a.x_stride + k]);
        part[i] += x * w;
      }
    }
    float sw = 1;
    if (blocks) sw = s.scale[(row + s.n_phase) / s.block_n * s.scale_stride + b];
    if (s.scheme == LinearScheme::kFp8Channel)
      sw = s.scale[row * (s.scale_stride == 0 ? 1 : s.scale_stride)];
    if (s.scheme == LinearScheme::kFp8Tensor) sw = s.scale[0];
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int m = min(token0 + i, a.tokens - 1);
      // Not by the product of the scales, which may overflow where y does not.
      sums[i] +=
          fp8 ? part[i] * a.x_scales[static_cast<int64_t>(b) * a.x_scale_stride + m] * sw : part[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) sums[i] += __shfl_xor_sync(~0u, sums[i], o);
    if (lane != i || token0 + i >= a.tokens) continue;
    const float y = s.bias == nullptr ? sums[i] : sums[i] + s.bias[row];
    const int64_t at = (token0 + i) * s.y_stride + row;
    if (s.y_type == LinearOutput::kF32) {
      static_cast<float*>(s.y)[at] = y;
    } else {
      static_cast<__nv_bfloat16*>(s.y)[at] = __float2bfloat16_rn(y);
    }
  }
}

}  // namespace

cudaError_t LaunchPlain(const PlainArguments& a, const LaunchTarget& to) {
  const int64_t rows = (a.segment.rows + kRows - 1) / kRows;
  const int64_t tokens = (static_cast<int64_t>(a.tokens) + kTokens - 1) / kTokens;
  if (tokens > 65535) return cudaErrorInvalidValue;  // of a grid's second dimension
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(tokens));
  return LaunchPdl(PlainLinear, grid, kThreads, to, a);
}

}  // namespace ferrule
