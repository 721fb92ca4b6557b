// SPDX-License-Identifier: Apache-2.0
// R1 … R3: y[M, N] = x[M, K] · W[N, K]ᵀ for any M and several segments, FP8 block or BF16.
//
// Shapes.  A tile is R = 128 or 256 rows of W × n = 16, 32, 64 or 128 tokens; W is the m operand of
//   wgmma, so that few tokens waste nothing. One tile for each cluster of S CTAs, which share out K
//   (S = 1: a CTA takes tile after tile).
//   ring     stages × ([R rows][128 bytes] W, [n tokens][128 bytes] x, [n] scales of x), by TMA. W
//   of
//            the first stages is asked for BEFORE the wait for the kernels before (the quantizer)
//   work     two warpgroups, R/2 rows each. FP8: the sum of 128 columns goes into float32 registers
//            times sx·sw; BF16: sums stay in the tensor core
//   staging  S = 1: 2 × [<= 64 tokens][64 rows] BF16, where y is turned so that a token's rows are
//            stored together; S > 1: [n tokens][128 rows] float32 partial sums, of which CTA `rank`
//            adds rows [128/S·rank, …) of all CTAs in their order: deterministic
#include "kernels/gpu_segment.cuh"
#include "kernels/sm90.cuh"
#include "kernels/tile_linear.h"
#include "kernels/wgmma.cuh"

namespace ferrule {
namespace {

using namespace sm90;

constexpr int kConsumers = 256;
constexpr int kTokenGroup = 16;  // token tiles that are walked before the next row tile

template <int n>
constexpr int kThreads = n == 128 ? 384 : 288;  // 128: a producer warpgroup that gives registers

struct Place {                        // of a tile
  int segment, row, row_tile, token;  // row: of W, <= 0 for the first tile of a shard
};

struct Work {
  uint32_t base;
  char* memory;
  int rank, slices, cluster;
  int64_t tiles;
};

__device__ __forceinline__ Work MakeWork(const TileArguments& a, char* raw) {
  Work w;
  w.base = (SharedAddress(raw) + 1023) & ~1023u;
  w.memory = raw + (w.base - SharedAddress(raw));
  w.slices = a.plan.slices;
  w.rank = static_cast<int>(ClusterRank());
  w.cluster = blockIdx.x / a.plan.slices;
  w.tiles = a.plan.token_tiles * a.row_tiles;
  return w;
}

__device__ __forceinline__ Place PlaceOf(const TileArguments& a, int64_t tile) {
  const int64_t group = tile / (int64_t{kTokenGroup} * a.row_tiles);
  const int rest = static_cast<int>(tile - group * kTokenGroup * a.row_tiles);
  const int width =
      static_cast<int>(min(int64_t{kTokenGroup}, a.plan.token_tiles - group * kTokenGroup));
  Place p;
  const int row_tile = rest / width;
  p.token = static_cast<int>(group * kTokenGroup + rest % width) * a.plan.token_tile;
  p.segment = 0;
  while (row_tile >= a.segments[p.segment].tiles_end) ++p.segment;
  const GpuSegment& g = a.segments[p.segment];
  p.row_tile = row_tile - g.first_tile;
  p.row = g.first_row + p.row_tile * a.plan.row_tile;
  return p;
}

struct Range {
  int begin, end;
};
// Boxes of K of this CTA.
__device__ __forceinline__ Range BoxesOf(const TileArguments& a, const Work& w, bool bf16) {
  const int boxes = bf16 ? a.bf16_boxes : a.blocks;
  return {boxes * w.rank / w.slices, boxes * (w.rank + 1) / w.slices};
}

__device__ __forceinline__ void CopyWeights(const TileArguments& a, const Work& w, const Place& p,
                                            bool bf16, int box, int stage, uint64_t policy) {
  const uint32_t full = w.base + a.plan.barriers + 8 * stage;
  const int bytes = a.plan.row_tile * kBoxBytes;
  BarrierExpect(full, a.plan.stage_bytes + (bf16 ? 0 : a.plan.token_tile * 4));
  CopyBox(w.base + stage * bytes, &a.weights[p.segment],
          bf16 ? box * (kBoxBytes / 2) : box * kBlock - a.k_phase, p.row, full, policy);
}

__device__ __forceinline__ void CopyX(const TileArguments& a, const Work& w, const Place& p,
                                      bool bf16, int box, int stage, uint64_t policy) {
  const uint32_t full = w.base + a.plan.barriers + 8 * stage;
  const int n = a.plan.token_tile;
  CopyBox(w.base + a.plan.x_box + stage * n * kBoxBytes, bf16 ? &a.x_bf16 : &a.x_fp8,
          bf16 ? box * (kBoxBytes / 2) : box * kBlock, p.token, full, policy);
  if (!bf16)
    CopyBytes(w.base + a.plan.x_scales + stage * n * 4,
              a.x_scales + static_cast<int64_t>(box) * a.x_scale_stride + p.token, n * 4, full);
}

// One thread.
__device__ __forceinline__ void Produce(const TileArguments& a, const Work& w) {
  const uint64_t keep = EvictNormal(), once = a.plan.token_tiles == 1 ? EvictFirst() : keep;
  const int depth = a.plan.stages;
  const uint32_t empty = w.base + a.plan.barriers + 8 * depth;
  Stage stage{0, 1};  // an empty ring: the phase before the first is over
  bool first = true;
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += a.plan.clusters) {
    const Place p = PlaceOf(a, tile);
    const bool bf16 = a.segments[p.segment].scale == nullptr;
    const Range boxes = BoxesOf(a, w, bf16);
    int begin = boxes.begin;
    if (first) {
      const int early = min(depth, boxes.end - boxes.begin);
      for (int i = 0; i < early; ++i) CopyWeights(a, w, p, bf16, begin + i, i, once);
      WaitForEarlier();
      for (int i = 0; i < early; ++i) {
        CopyX(a, w, p, bf16, begin + i, i, keep);
        stage.Next(depth);
      }
      begin += early;
      first = false;
    }
    const bool last = tile + a.plan.clusters >= w.tiles;
    if (last && begin == boxes.end) LaunchDependents();
#pragma unroll 1
    for (int k = begin; k < boxes.end; ++k) {
      BarrierWait(empty + 8 * stage.index, stage.phase);
      CopyWeights(a, w, p, bf16, k, stage.index, once);
      CopyX(a, w, p, bf16, k, stage.index, keep);
      stage.Next(depth);
      if (last && k + 1 == boxes.end) LaunchDependents();
    }
  }
}

// Row of the tile where 64-row piece `i` of warpgroup `wg` begins.
template <int kPieces>
__device__ __forceinline__ int PieceRow(int wg, int i) {
  return (wg * kPieces + i) * 64;
}

template <int n, int kPieces>
__device__ __forceinline__ void MultiplyFp8(const TileArguments& a, const Work& w, const Place& p,
                                            int wg, Stage* stage, float (&sum)[kPieces][n / 2]) {
  const int lane = threadIdx.x & 31;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * a.plan.stages;
  const Range boxes = BoxesOf(a, w, false);
  const GpuSegment& g = a.segments[p.segment];
  const int scale_row = kPieces == 2 ? 2 * p.row_tile + wg : p.row_tile;
  // The second half of a 256-row tile may lie past the last row, and past the last row of scales.
  const bool any = p.row + PieceRow<kPieces>(wg, 0) < g.rows;
  const float* scales = g.scale + static_cast<int64_t>(any ? scale_row : 0) * g.scale_stride;
  float lanes = 0;
#pragma unroll 1
  for (int k = boxes.begin; k < boxes.end; ++k) {
    const int at = (k - boxes.begin) & 31;
    if (at == 0) lanes = k + lane < boxes.end ? __ldg(scales + k + lane) : 0.0f;
    const float sw = __shfl_sync(~0u, lanes, at);
    BarrierWait(full + 8 * stage->index, stage->phase);
    const float* sx = reinterpret_cast<const float*>(w.memory + a.plan.x_scales) +
                      stage->index * n + (lane & 3) * 2;
    const uint64_t x = Descriptor(w.base + a.plan.x_box + stage->index * n * kBoxBytes);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint64_t weight = Descriptor(
          w.base + (stage->index * a.plan.row_tile + PieceRow<kPieces>(wg, i)) * kBoxBytes);
      float d[n / 2];
      WgmmaFence();
#pragma unroll
      for (int q = 0; q < 4; ++q) WgmmaE4m3<n>(d, weight + 2 * q, x + 2 * q, q);
      WgmmaCommit();
      WgmmaWait<0>();
      Promote<n>(sum[i], d, sw, sx);
    }
    __syncwarp();
    if (lane == 0) BarrierArrive(empty + 8 * stage->index);
    stage->Next(a.plan.stages);
  }
}

template <int n, int kPieces>
__device__ __forceinline__ void MultiplyBf16(const TileArguments& a, const Work& w, int wg,
                                             Stage* stage, float (&sum)[kPieces][n / 2]) {
  const int lane = threadIdx.x & 31;
  const uint32_t full = w.base + a.plan.barriers, empty = full + 8 * a.plan.stages;
  const Range boxes = BoxesOf(a, w, true);
  int before = 0;
#pragma unroll 1
  for (int k = boxes.begin; k < boxes.end; ++k) {
    BarrierWait(full + 8 * stage->index, stage->phase);
    const uint64_t x = Descriptor(w.base + a.plan.x_box + stage->index * n * kBoxBytes);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint64_t weight = Descriptor(
          w.base + (stage->index * a.plan.row_tile + PieceRow<kPieces>(wg, i)) * kBoxBytes);
#pragma unroll
      for (int q = 0; q < 4; ++q) WgmmaBf16<n>(sum[i], weight + 2 * q, x + 2 * q, 1);
    }
    WgmmaCommit();
    WgmmaWait<1>();
    if (lane == 0 && k > boxes.begin) BarrierArrive(empty + 8 * before);
    before = stage->index;
    stage->Next(a.plan.stages);
  }
  WgmmaWait<0>();
  if (lane == 0 && boxes.end > boxes.begin) BarrierArrive(empty + 8 * before);
}

// S = 1: y of one 64-row piece of a warpgroup. BF16 is turned in shared memory, 64 tokens at a
// time; float32 goes out as it lies.
template <int n>
__device__ __forceinline__ void StorePiece(const TileArguments& a, const Work& w, const Place& p,
                                           int wg, int row0, const float (&sum)[n / 2]) {
  constexpr int kChunk = n < 64 ? n : 64;  // tokens
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31, thread = threadIdx.x & 127;
  const int r = warp * 16 + (lane >> 2), c = (lane & 3) * 2;
  const GpuSegment& g = a.segments[p.segment];
  if (g.y_f32 != 0) {
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const int token = p.token + (i >> 2) * 8 + c + (i & 1), row = row0 + r + (i & 2) * 4;
      if (token < a.tokens && row >= 0 && row < g.rows) StoreOne(g, token, row, sum[i]);
    }
    return;
  }
  __nv_bfloat16* stage =
      reinterpret_cast<__nv_bfloat16*>(w.memory + a.plan.staging) + wg * kChunk * kStagingPitch;
  float bias[2] = {0, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row0 + r + 8 * h;
    if (g.bias != nullptr && row >= 0 && row < g.rows) bias[h] = __ldg(g.bias + row);
  }
#pragma unroll
  for (int chunk = 0; chunk < n / kChunk; ++chunk) {
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      const float value = sum[chunk * (kChunk / 2) + i] + bias[i >> 1 & 1];
      stage[((i >> 2) * 8 + c + (i & 1)) * kStagingPitch + r + (i & 2) * 4] =
          __float2bfloat16_rn(value);
    }
    if (wg == 0) {
      NamedBarrier<128>(1);
    } else {
      NamedBarrier<128>(2);
    }
    for (int i = thread; i < kChunk * 8; i += 128) {  // 8 rows of a token a thread
      const int token = p.token + chunk * kChunk + i / 8, row = row0 + i % 8 * 8;
      if (token >= a.tokens) continue;
      const uint4 v = *reinterpret_cast<const uint4*>(stage + i / 8 * kStagingPitch + i % 8 * 8);
      __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row;
      if (row >= 0 && row + 8 <= g.rows && (reinterpret_cast<uintptr_t>(y) & 15) == 0) {
        *reinterpret_cast<uint4*>(y) = v;
      } else {
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (row + j >= 0 && row + j < g.rows)
            y[j] = __ushort_as_bfloat16(static_cast<uint16_t>(words[j / 2] >> j % 2 * 16));
      }
    }
    if (wg == 0) {
      NamedBarrier<128>(1);
    } else {
      NamedBarrier<128>(2);
    }
  }
}

// S > 1: partial sums of the CTA into its own shared memory.
template <int n>
__device__ __forceinline__ void StageSums(const TileArguments& a, const Work& w, int wg,
                                          const float (&sum)[n / 2]) {
  const int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
  float* to = reinterpret_cast<float*>(w.memory + a.plan.staging) + wg * 64 + warp * 16 +
              (lane >> 2) + (lane & 3) * 2 * kTilePitch;
#pragma unroll
  for (int i = 0; i < n / 2; ++i) to[((i >> 2) * 8 + (i & 1)) * kTilePitch + (i & 2) * 4] = sum[i];
}

// S > 1: adds this CTA's rows of all CTAs and stores y, four rows of a token a thread.
__device__ __forceinline__ void SumAndStore(const TileArguments& a, const Work& w, const Place& p) {
  const GpuSegment& g = a.segments[p.segment];
  const int rows = 128 / w.slices, quads = rows / 4;
  const int tokens = min(a.plan.token_tile, a.tokens - p.token);
  const uint32_t sums = w.base + a.plan.staging + w.rank * rows * 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < tokens * quads; i += kConsumers) {
    const int m = i / quads, r = i % quads * 4;
    const uint32_t from = sums + (m * kTilePitch + r) * 4;
    float4 v = LoadCluster(MapShared(from, 0));
#pragma unroll 4
    for (int q = 1; q < w.slices; ++q) {
      const float4 u = LoadCluster(MapShared(from, q));
      v = make_float4(v.x + u.x, v.y + u.y, v.z + u.z, v.w + u.w);
    }
    const int token = p.token + m, row = p.row + w.rank * rows + r;
    __nv_bfloat16* y = static_cast<__nv_bfloat16*>(g.y) + token * g.y_stride + row;
    if (g.y_f32 == 0 && g.bias == nullptr && row >= 0 && row + 4 <= g.rows &&
        (reinterpret_cast<uintptr_t>(y) & 7) == 0) {
      const __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y);
      const __nv_bfloat162 high = __floats2bfloat162_rn(v.z, v.w);
      *reinterpret_cast<uint2*>(y) = make_uint2(*reinterpret_cast<const uint32_t*>(&low),
                                                *reinterpret_cast<const uint32_t*>(&high));
    } else {
      const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (row + j >= 0 && row + j < g.rows) StoreOne(g, token, row + j, values[j]);
    }
  }
}

template <int n, int kPieces>
__device__ __forceinline__ void Consume(const TileArguments& a, const Work& w) {
  const int wg = threadIdx.x >> 7;
  Stage stage;
  bool first = true;
#pragma unroll 1
  for (int64_t tile = w.cluster; tile < w.tiles; tile += a.plan.clusters) {
    const Place p = PlaceOf(a, tile);
    float sum[kPieces][n / 2] = {};
    if (a.segments[p.segment].scale != nullptr) {
      MultiplyFp8<n, kPieces>(a, w, p, wg, &stage, sum);
    } else {
      MultiplyBf16<n, kPieces>(a, w, wg, &stage, sum);
    }
    if (first) WaitForEarlier();  // y may be what an earlier kernel still reads
    first = false;
    if (kPieces == 2 || w.slices == 1) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i)
        StorePiece<n>(a, w, p, wg, p.row + PieceRow<kPieces>(wg, i), sum[i]);
      continue;
    }
    StageSums<n>(a, w, wg, sum[0]);
    __syncwarp();
    ClusterArrive();
    ClusterWait();
    SumAndStore(a, w, p);
    __syncwarp();
    ClusterArrive();  // nobody's memory goes before it was read
    ClusterWait();
  }
}

template <int n, int kPieces>
__global__ void __launch_bounds__(kThreads<n>, n == 128 ? 1 : 2)
    TileLinear(const __grid_constant__ TileArguments a) {
  static_assert(kPieces == 1 || n == 128, "256 rows are for many tokens");
  extern __shared__ char raw[];
  const Work w = MakeWork(a, raw);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0);
  if (threadIdx.x == kConsumers) {
    const uint32_t full = w.base + a.plan.barriers;
    for (int i = 0; i < a.plan.stages; ++i) {
      BarrierInit(full + 8 * i, 1);
      BarrierInit(full + 8 * (a.plan.stages + i), kConsumers / 32);
    }
    BarrierInitFence();
  }
  __syncthreads();
  if (warp >= kConsumers / 32) {
    if constexpr (n == 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kConsumers) Produce(a, w);
    __syncwarp();
    if (w.slices > 1) {
      ClusterArrive();
      ClusterWait();
      ClusterArrive();
      ClusterWait();
    }
  } else {
    if constexpr (n == 128) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    Consume<n, kPieces>(a, w);
  }
}

template <int n, int kPieces>
cudaError_t LaunchShape(const TileArguments& a, cudaStream_t stream) {
  static bool ready[64] = {};  // attributes belong to a device; setting one twice does no harm
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  if (device >= 64 || !ready[device]) {
    const auto set = [&error](cudaFuncAttribute attribute, int value) {
      if (error == cudaSuccess)
        error = cudaFuncSetAttribute(TileLinear<n, kPieces>, attribute, value);
    };
    set(cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024);
    set(cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    if (error != cudaSuccess) return error;
    if (device < 64) ready[device] = true;
  }
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(a.plan.slices), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.gridDim = dim3(static_cast<unsigned>(a.plan.clusters * a.plan.slices));
  config.blockDim = dim3(kThreads<n>);
  config.dynamicSmemBytes = a.plan.shared;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, TileLinear<n, kPieces>, a);
}

}  // namespace

cudaError_t LaunchTile(const TileArguments& a, cudaStream_t stream) {
  if (a.plan.row_tile == 256) return LaunchShape<128, 2>(a, stream);
  switch (a.plan.token_tile) {
    case 16:
      return LaunchShape<16, 1>(a, stream);
    case 32:
      return LaunchShape<32, 1>(a, stream);
    case 64:
      return LaunchShape<64, 1>(a, stream);
    default:
      return LaunchShape<128, 1>(a, stream);
  }
}

}  // namespace ferrule
