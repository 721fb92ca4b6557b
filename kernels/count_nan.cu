// SPDX-License-Identifier: Apache-2.0
// E4M3 [rows, columns] → the number of NaN codes: 16 codes a thread and step, on the null stream.
#include <algorithm>

#include "kernels/count_nan.h"

namespace ferrule {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    CountNan(const uint8_t* matrix, int64_t rows, int columns, int64_t stride, uint32_t* count) {
  const int64_t pieces = (columns + 15) / 16, all = rows * pieces;
  uint32_t found = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / pieces;
    const int column = static_cast<int>(i - row * pieces) * 16;
    const uint4 v = *reinterpret_cast<const uint4*>(matrix + row * stride + column);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      // 0xFF in each byte that is NaN, those past the last column aside.
      uint32_t nan = __vcmpeq4(words[w] & 0x7F7F7F7Fu, 0x7F7F7F7Fu);
      const int left = columns - column - 4 * w;
      if (left < 4) nan &= left <= 0 ? 0u : (1u << 8 * left) - 1;
      found += __popc(nan) / 8;
    }
  }
  found = __reduce_add_sync(~0u, found);
  if ((threadIdx.x & 31) == 0 && found > 0) atomicAdd(count, found);
}

}  // namespace

cudaError_t LaunchCountNan(const uint8_t* matrix, int64_t rows, int64_t columns, int64_t stride,
                           uint32_t* count) {
  const int64_t blocks = (rows * ((columns + 15) / 16) + kThreads - 1) / kThreads;
  if (blocks == 0) return cudaSuccess;
  CountNan<<<static_cast<unsigned>(std::min<int64_t>(blocks, 2048)), kThreads>>>(
      matrix, rows, static_cast<int>(columns), stride, count);
  return cudaGetLastError();
}

}  // namespace ferrule
