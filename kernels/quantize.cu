// SPDX-License-Identifier: Apache-2.0
// The activation quantizer. Three kernels: blocks of 128 aligned columns, 8 lanes each, and whole
// rows of aligned columns, a CTA each, which is what checkpoints want; and whatever else the rule
// allows, a CTA each.
#include "kernels/fast_divide.h"
#include "kernels/launch.cuh"
#include "kernels/quantize.cuh"
#include "kernels/quantize_gpu.h"
#include "kernels/round.h"
#include "kernels/sm90.cuh"

namespace ferrule {
namespace {

using namespace sm90;

constexpr int kThreads = 256;
constexpr int kBlock = 128;
constexpr int kGroupLanes = 8;
// From so many on a warp reads longer runs of a row, and the cache is not given up for shared
// memory. Measured on H200, 2026-11-30: 2048 columns of 4096 tokens took 4.2 us so, 4.7 as fewer
// are; the linear behind it, which wants the other split, as long or up to 2 % less.
constexpr int64_t kManyGroups = 16384;

struct BlocksArguments : QuantizeArguments {
  FastDivisor by_tokens;
};

// A token's block of 128 columns.
struct Group {
  int token, block;
};
// In runs: a warp has four blocks of a token, a CTA eight tokens. Else groups are tokens one after
// the other, so that scales lie side by side.
constexpr int kRunBlocks = 32 / kGroupLanes, kRunTokens = kThreads / 32;
template <bool kRuns>
__device__ __forceinline__ Group GroupOfThread(const BlocksArguments& a) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (kRuns)
    return {static_cast<int>(blockIdx.x) * kRunTokens + warp,
            static_cast<int>(blockIdx.y) * kRunBlocks + lane / kGroupLanes};
  const int group = static_cast<int>((blockIdx.x * kThreads + threadIdx.x) / kGroupLanes);
  const int block = Divide(group, a.by_tokens);
  return {group - block * a.tokens, block};
}

// Eight lanes a group, each with eight columns of each half: neighbours then read and write whole
// sectors. x, x_stride, columns and phase are multiples of 8 (x: of 16 bytes). With x in L2
// instructions are the limit: 4096 tokens of 2048 columns are half a million threads.
template <bool kRuns>
__global__ void __launch_bounds__(kThreads)
    QuantizeBlocks(const __grid_constant__ BlocksArguments a) {
  LaunchDependents();
  const auto [token, block] = GroupOfThread<kRuns>(a);
  const int part = threadIdx.x % kGroupLanes, column = block * kBlock + part * 8 - a.recipe.phase;
  const bool active = block < a.blocks && token < a.tokens;
  const char* row = reinterpret_cast<const char*>(a.x) + Far(token, a.x_stride * 2);
  const uint4* from = reinterpret_cast<const uint4*>(row + int64_t{column} * 2);
  asm volatile("" : "+l"(from));  // worked out while x is awaited
  WaitForEarlier();
  uint4 v = make_uint4(0, 0, 0, 0), w = v;
  if (active && Inside(column, a.columns)) v = __ldcg(from);
  if (active && Inside(column + kBlock / 2, a.columns)) w = __ldcg(from + kBlock / 16);
  uint32_t pair = Amax(Amax(0, v), w);
#pragma unroll
  for (int o = kGroupLanes / 2; o > 0; o >>= 1)
    pair = __vmaxu2(pair, __shfl_xor_sync(~0u, pair, o));
  if (!active) return;
  const float scale = ScaleOf(max(pair & 0xFFFF, pair >> 16), a.recipe.ue8m0);
  const ScaleInverse inverse = InverseOf(scale);
  uint8_t* to = a.codes + Far(token, a.pitch) + block * kBlock + part * 8;
  *reinterpret_cast<uint2*>(to) = Encode(v, inverse);
  *reinterpret_cast<uint2*>(to + kBlock / 2) = Encode(w, inverse);
  if (part > 0) return;
  float* scales = a.scales + static_cast<int64_t>(block) * a.scale_stride;
  scales[token] = scale;
  if (token == a.tokens - 1)  // copies of scales are multiples of 16 bytes
    for (int j = a.tokens; j % 4 != 0; ++j) scales[j] = 0;
}

template <bool kRuns>
cudaError_t LaunchBlocks(const QuantizeArguments& a, const LaunchTarget& to) {
  const int64_t groups = int64_t{a.tokens} * a.blocks;
  if (groups < 1 || groups > 0x7FFFFFFF / kGroupLanes) return cudaErrorInvalidValue;
  const dim3 grid = kRuns ? dim3(static_cast<unsigned>(DivideUp(a.tokens, kRunTokens)),
                                 static_cast<unsigned>(DivideUp(a.blocks, kRunBlocks)))
                          : dim3(static_cast<unsigned>(DivideUp(groups, kThreads / kGroupLanes)));
  if constexpr (!kRuns) {
    static DeviceFlags ready;
    const cudaError_t error = AllowAllShared(QuantizeBlocks<kRuns>, &ready, false);
    if (error != cudaSuccess) return error;
  }
  return LaunchPdl(QuantizeBlocks<kRuns>, grid, kThreads, to,
                   BlocksArguments{a, FastDivisor(a.tokens)});
}

__device__ __forceinline__ uint32_t Bits(const __nv_bfloat16* x) {
  return *reinterpret_cast<const uint16_t*>(x);
}

// What is to be repeated beside codes and scales, by CTAs with one token each.
__device__ __forceinline__ void RepeatValue(const QuantizeArguments& a) {
  if (a.repeats == 0) return;
  const float value = __ldg(a.value);
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.repeats; i += step)
    a.repeated[i] = value;
}

constexpr int kMostThreads = 1024;
constexpr int kTurns = 4;
constexpr int kVector = 8;  // columns of 16 bytes

// Eight values → eight codes by the caller's one scale, which may be any number.
__device__ __forceinline__ uint2 EncodeStatic(const uint4& v, float scale) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
  uint32_t codes[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const uint32_t bits = i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xFFFF0000u;
    const uint8_t code =
        __nv_cvt_float_to_fp8(__fdiv_rn(__uint_as_float(bits), scale), __NV_SATFINITE, __NV_E4M3);
    const bool finite = (bits & 0x7FFFFFFFu) <= 0x7F7F0000u;
    codes[i / 4] |= static_cast<uint32_t>(finite ? code : 0x7F) << i % 4 * 8;
  }
  return make_uint2(codes[0], codes[1]);
}

// One CTA for each token, whose row it reads once: every thread 16 bytes a turn, kTurns of them. x,
// x_stride and columns are multiples of 8 (x: of 16 bytes).
__global__ void __launch_bounds__(kMostThreads)
    QuantizeTokens(const __grid_constant__ QuantizeArguments a) {
  __shared__ uint32_t largest[kMostThreads / 32];
  const int token = blockIdx.x, threads = blockDim.x, vectors = a.columns / kVector;
  const bool fixed = a.recipe.kind == XKind::kStatic;
  LaunchDependents();
  WaitForEarlier();
  const uint4* from = reinterpret_cast<const uint4*>(a.x + token * a.x_stride);
  uint4 v[kTurns];
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int at = i * threads + threadIdx.x;
    v[i] = at < vectors ? __ldcg(from + at) : make_uint4(0, 0, 0, 0);
  }
  float scale;
  if (fixed) {
    scale = __ldg(a.recipe.static_scale);
  } else {
    uint32_t pair = 0;
#pragma unroll
    for (int i = 0; i < kTurns; ++i) pair = Amax(pair, v[i]);
    uint32_t amax = __reduce_max_sync(~0u, max(pair & 0xFFFF, pair >> 16));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = amax;
    __syncthreads();
    for (int i = 0; i < threads / 32; ++i) amax = max(amax, largest[i]);
    scale = ScaleOf(amax, a.recipe.ue8m0);
  }
  const ScaleInverse inverse = InverseOf(scale);  // not used where the caller gives the scale
  uint2* to = reinterpret_cast<uint2*>(a.codes + token * a.pitch);
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int at = i * threads + threadIdx.x;
    if (at < vectors) {
      to[at] = fixed ? EncodeStatic(v[i], scale) : Encode(v[i], inverse);
    } else if (at < a.pitch / kVector) {
      to[at] = make_uint2(0, 0);
    }
  }
  RepeatValue(a);
  if (threadIdx.x > 0) return;
  a.scales[token] = scale;
  if (token == a.tokens - 1)
    for (int i = a.tokens; i % 4 != 0; ++i) a.scales[i] = 0;
}

cudaError_t LaunchTokens(const QuantizeArguments& a, const LaunchTarget& to) {
  const int64_t threads = RoundUp(DivideUp(a.pitch / kVector, kTurns), 32);
  return LaunchPdl(QuantizeTokens, dim3(static_cast<unsigned>(a.tokens)), static_cast<int>(threads),
                   to, a);
}

// One CTA for each (block, token): any group, phase and alignment; also whole rows.
__global__ void __launch_bounds__(kThreads)
    QuantizeAny(const __grid_constant__ QuantizeArguments a) {
  __shared__ uint32_t largest[kThreads / 32];
  const int token = blockIdx.x, block = blockIdx.y;
  const bool rows = a.recipe.kind != XKind::kGroup;
  const int begin = rows ? 0 : max(0, block * a.recipe.group - a.recipe.phase);
  const int end = rows ? a.columns : min(a.columns, (block + 1) * a.recipe.group - a.recipe.phase);
  LaunchDependents();
  WaitForEarlier();
  const __nv_bfloat16* x = a.x + token * a.x_stride;
  uint32_t amax = 0;
  for (int k = begin + threadIdx.x; k < end; k += kThreads) amax = max(amax, Bits(x + k) & 0x7FFF);
  amax = __reduce_max_sync(~0u, amax);
  if ((threadIdx.x & 31) == 0) largest[threadIdx.x / 32] = amax;
  __syncthreads();
  for (int i = 0; i < kThreads / 32; ++i) amax = max(amax, largest[i]);
  const float scale = a.recipe.kind == XKind::kStatic ? __ldg(a.recipe.static_scale)
                                                      : ScaleOf(amax, a.recipe.ue8m0);
  uint8_t* codes = a.codes + token * a.pitch;
  const int phase = rows ? 0 : a.recipe.phase;
  for (int k = begin + threadIdx.x; k < end; k += kThreads) {
    const uint32_t bits = Bits(x + k);
    const float quotient = __fdiv_rn(__uint_as_float(bits << 16), scale);
    const uint8_t code = __nv_cvt_float_to_fp8(quotient, __NV_SATFINITE, __NV_E4M3);
    codes[phase + k] = (bits & 0x7FFF) > 0x7F7F ? 0x7F : code;
  }
  if (threadIdx.x == 0) {
    float* scales = a.scales + static_cast<int64_t>(block) * a.scale_stride;
    scales[token] = scale;
    if (token == a.tokens - 1)
      for (int i = a.tokens; i % 4 != 0; ++i) scales[i] = 0;
  }
  if (rows) RepeatValue(a);
  // Zeros before the first column and after the last.
  if (block == 0)
    for (int k = threadIdx.x; k < phase; k += kThreads) codes[k] = 0;
  if (block == a.blocks - 1)
    for (int64_t k = phase + a.columns + threadIdx.x; k < a.pitch; k += kThreads) codes[k] = 0;
}

// One CTA; tokens in turn.
__global__ void __launch_bounds__(kThreads)
    CountNonfinite(const __nv_bfloat16* x, int64_t stride, int tokens, int columns,
                   int64_t* count) {
  LaunchDependents();
  WaitForEarlier();
  int64_t sum = 0;
  for (int m = 0; m < tokens; ++m) {
    bool found = false;
    for (int k = threadIdx.x; k < columns; k += kThreads)
      found |= (Bits(x + m * stride + k) & 0x7F80) == 0x7F80;
    sum += __syncthreads_or(found) != 0;
  }
  if (threadIdx.x == 0) *count = sum;
}

__global__ void __launch_bounds__(kThreads) Repeat(const float* value, int64_t count, float* to) {
  LaunchDependents();
  WaitForEarlier();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) to[i] = __ldg(value);
}

}  // namespace

cudaError_t LaunchRepeat(const float* value, int64_t count, float* repeated,
                         const LaunchTarget& to) {
  const auto grid = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  return LaunchPdl(Repeat, dim3(grid), kThreads, to, value, count, repeated);
}

bool HasQuantize() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, QuantizeAny) == cudaSuccess) return true;
  static_cast<void>(cudaGetLastError());
  return false;
}

cudaError_t LaunchQuantize(const QuantizeArguments& a, const LaunchTarget& to) {
  const bool aligned = reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.x_stride % 8 == 0 &&
                       a.columns % 8 == 0 && a.recipe.phase % 8 == 0;
  if (a.recipe.kind == XKind::kGroup && a.recipe.group == kBlock && aligned) {
    const bool runs = int64_t{a.tokens} * a.blocks >= kManyGroups && a.blocks >= kRunBlocks &&
                      a.tokens >= kRunTokens;  // else lanes or warps would have nothing to do
    return runs ? LaunchBlocks<true>(a, to) : LaunchBlocks<false>(a, to);
  }
  if (a.recipe.kind != XKind::kGroup && a.columns % kVector == 0 && a.x_stride % kVector == 0 &&
      reinterpret_cast<uintptr_t>(a.x) % 16 == 0 && a.pitch <= kMostThreads * kTurns * kVector)
    return LaunchTokens(a, to);
  const dim3 grid(static_cast<unsigned>(a.tokens), static_cast<unsigned>(a.blocks));
  return LaunchPdl(QuantizeAny, grid, kThreads, to, a);
}

cudaError_t LaunchCountNonfinite(const __nv_bfloat16* x, int64_t x_stride, int tokens, int columns,
                                 int64_t* count, const LaunchTarget& to) {
  return LaunchPdl(CountNonfinite, dim3(1), kThreads, to, x, x_stride, tokens, columns, count);
}

}  // namespace ferrule
