// SPDX-License-Identifier: Apache-2.0
// K shared out over a cluster of two or four, one tile: sums → y without a barrier of the cluster.
// Each warp keeps a part of what it holds and sends the rest to the same warp of the other CTAs,
// which keep those parts; a lane sends in the order in which the other one holds it.
#pragma once

#include "kernels/large_m_rows.cuh"

namespace ferrule::large_m {

// What CTA `kRank` of so many keeps of 16 tokens × n columns: eight tokens, and of four CTAs half
// of the columns.
template <int kPeers, int kRank, int n>
struct Part {
  static constexpr int kUnits = n / 16 / (kPeers / 2);  // of 16 columns
  static constexpr int kFirst = kRank / 2 * kUnits;
  static constexpr int kEighth = kRank % 2;  // which eight tokens
  static constexpr int kColumns = 16 * kUnits;
  static_assert(n / 16 % (kPeers / 2) == 0);

  // Four sums of unit `q` of it; of each two the second first, see StorePair.
  static __device__ __forceinline__ float4 Of(const float (&sum)[n / 2], int q) {
    const float* v = sum + 8 * (kFirst + q) + 2 * kEighth;
    return make_float4(v[1], v[0], v[5], v[4]);
  }
};

// Bytes that a warp receives from each of the others: of 64 tokens × n columns of a warpgroup.
__host__ __device__ constexpr int PartBytes(int peers, int n) { return n * 64 / peers; }

// One thread, before the cluster meets; nobody sends before that.
template <int kPeers, int n, int kWarps>
__device__ __forceinline__ void AwaitSums(const auto& a, const Work& w) {
  for (int i = 0; i < kWarps; ++i) {
    BarrierInit(w.base + a.plan.exchange + 8 * i, 1);
    BarrierExpect(w.base + a.plan.exchange + 8 * i, (kPeers - 1) * PartBytes(kPeers, n));
  }
}

template <int kPeers, int kRank, int n>
class Exchange {
 public:
  __device__ __forceinline__ Exchange(const auto& a, const Work& w)
      : barrier_(w.base + a.plan.exchange + 8 * Warp()),
        slots_(w.base + a.plan.exchange + kExchangeBarriers + Warp() * (kPeers - 1) * kBytes) {}

  template <int kTo>
  __device__ __forceinline__ void Send(const float (&sum)[n / 2]) const {
    if constexpr (kTo < kPeers) {
      if constexpr (kTo != kRank) {
        constexpr int kSlot = kRank < kTo ? kRank : kRank - 1;  // among those of the others
        const uint32_t to = MapShared(slots_ + kSlot * kBytes + Lane() * 16, kTo);
        const uint32_t barrier = MapShared(barrier_, kTo);
        using Theirs = Part<kPeers, kTo, n>;
#pragma unroll
        for (int q = 0; q < Theirs::kUnits; ++q)
          StoreAsync(to + q * 512, Theirs::Of(sum, q), barrier);
      }
      Send<kTo + 1>(sum);
    }
  }

  // Sums of all CTAs in their order, then y.
  __device__ __forceinline__ void Finish(const auto& a, const Place& p, int token0,
                                         const float (&sum)[n / 2]) const {
    BarrierWait(barrier_, 0);
    float kept[Own::kColumns / 4];
#pragma unroll
    for (int q = 0; q < Own::kUnits; ++q) {
      float4 all = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int from = 0; from < kPeers; ++from) {
        const int slot = from < kRank ? from : from - 1;
        const float4 one = from == kRank
                               ? Own::Of(sum, q)
                               : LoadSharedFloats(slots_ + slot * kBytes + q * 512 + Lane() * 16);
        all.x += one.x, all.y += one.y, all.z += one.z, all.w += one.w;
      }
      kept[4 * q] = all.y, kept[4 * q + 1] = all.x;
      kept[4 * q + 2] = all.w, kept[4 * q + 3] = all.z;
    }
    // By way of a slot that has been read: 1024 bytes at least.
    StoreTokens<8, Own::kColumns, std::decay_t<decltype(a)>::kTokenScales>(
        a.segments[p.segment], a.tokens, p.token + token0 + (Warp() & 3) * 16 + 8 * Own::kEighth,
        p.row + 16 * Own::kFirst, RowEnd(a, p), slots_, kept);
  }

 private:
  using Own = Part<kPeers, kRank, n>;
  static constexpr int kBytes = PartBytes(kPeers, n);
  static __device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x >> 5); }
  static __device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x & 31); }

  uint32_t barrier_, slots_;
};

template <int kPeers, int kRank, int n>
__device__ __forceinline__ void ExchangeAs(const auto& a, const Work& w, const Place& p, int token0,
                                           const float (&sum)[n / 2]) {
  if (kRank < kPeers - 1 && w.rank != kRank) {
    if constexpr (kRank < kPeers - 1) ExchangeAs<kPeers, kRank + 1, n>(a, w, p, token0, sum);
    return;
  }
  const Exchange<kPeers, kRank, n> exchange(a, w);
  exchange.template Send<0>(sum);
  exchange.Finish(a, p, token0, sum);
}

}  // namespace ferrule::large_m
