// SPDX-License-Identifier: Apache-2.0
// The instructions of Hopper that CUDA C++ has no words for: mbarriers, bulk tensor copies (TMA),
// clusters, programmatic dependent launch (PDL). One instruction a function; shared-memory
// addresses are 32-bit offsets (`SharedAddress`). Device code for sm_90a only, but for PDL, which
// is nothing on older GPUs: there kernels follow one another anyway.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace ferrule::sm90 {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// True in one lane of a warp that is whole; the compiler knows that it is one.
__device__ __forceinline__ bool ElectOne() {
  uint32_t one;
  asm volatile("{.reg .pred p; elect.sync _|p,0xffffffff; selp.u32 %0,1,0,p;}" : "=r"(one));
  return one != 0;
}

// ---- mbarriers ----
__device__ __forceinline__ void BarrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0],%1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void BarrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// One arrival, and so many bytes more to come.
__device__ __forceinline__ void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _,[%0],%1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _,[%0];" ::"r"(barrier) : "memory");
}
// At another CTA's barrier (an address of MapShared). What the caller READ before is read; it makes
// no write of the caller visible: the form that does costs a device-wide fence.
__device__ __forceinline__ void BarrierArriveRemote(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _,[%0];" ::"r"(barrier) : "memory");
}
// The same two where `condition` holds, without a branch.
__device__ __forceinline__ void BarrierArriveIf(uint32_t barrier, bool condition) {
  asm volatile(
      "{.reg .pred p; setp.ne.u32 p,%1,0; @p mbarrier.arrive.shared.b64 _,[%0];}" ::"r"(barrier),
      "r"(static_cast<uint32_t>(condition))
      : "memory");
}
__device__ __forceinline__ void BarrierArriveRemoteIf(uint32_t barrier, bool condition) {
  asm volatile(
      "{.reg .pred p; setp.ne.u32 p,%1,0; @p mbarrier.arrive.shared::cluster.b64 _,[%0];}" ::"r"(
          barrier),
      "r"(static_cast<uint32_t>(condition))
      : "memory");
}
// Until the phase of this parity is over. Not bounded: the kernel before may run for long. The loop
// must not be unrolled: the code would outgrow the instruction cache.
__device__ __forceinline__ void BarrierWait(uint32_t barrier, uint32_t parity) {
  uint32_t done = 0;
#pragma unroll 1
  for (unsigned tries = 0; done == 0; ++tries) {
    asm volatile(
        "{.reg .pred q; mbarrier.try_wait.parity.shared::cta.b64 q,[%1],%2; selp.u32 %0,1,0,q;}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
#ifdef FERRULE_WAIT_LIMIT  // for bringing up a kernel: a hang becomes an error
    if (tries > FERRULE_WAIT_LIMIT) __trap();
#endif
  }
}

// Whether it is over now.
__device__ __forceinline__ bool BarrierReady(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{.reg .pred q; mbarrier.test_wait.parity.shared::cta.b64 q,[%1],%2; selp.u32 %0,1,0,q;}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

// ---- clusters ----
__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ uint32_t ClusterId() {  // without clusters that of the CTA
  uint32_t id;
  asm volatile("mov.u32 %0,%%clusterid.x;" : "=r"(id));
  return id;
}
// The address in CTA `rank` of what is at `address` here.
__device__ __forceinline__ uint32_t MapShared(uint32_t address, uint32_t rank) {
  uint32_t mapped;
  asm volatile("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(mapped) : "r"(address), "r"(rank));
  return mapped;
}
__device__ __forceinline__ void ClusterArriveRelaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ float4 LoadCluster(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3},[%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
// Into another CTA's shared memory; seen there after the next barrier of the cluster.
__device__ __forceinline__ void StoreCluster(uint32_t address, float value) {
  asm volatile("st.shared::cluster.f32 [%0],%1;" ::"r"(address), "f"(value) : "memory");
}
// 16 bytes into another CTA's shared memory; they count at its barrier.
__device__ __forceinline__ void StoreAsync(uint32_t address, float4 v, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0],{%1,%2,%3,%4},"
      "[%5];" ::"r"(address),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(barrier)
      : "memory");
}
// Ordinary writes to shared memory before, copies and matrix instructions that read it after.
__device__ __forceinline__ void FenceAsync() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- bulk copies ----
__device__ __forceinline__ uint64_t EvictFirst() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0,1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t EvictLast() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0,1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t EvictNormal() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0,1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ void PrefetchMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// One box of a tensor map. Elements outside the tensor, also at negative coordinates, are zeros and
// count as bytes all the same.
__device__ __forceinline__ void CopyBox(uint32_t to, const CUtensorMap* map, int column, int row,
                                        uint32_t barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0],[%1,{%2,%3}],[%4],%5;" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "l"(policy)
      : "memory");
}
// The other way: a box of this CTA's shared memory, of which what lies beyond the matrix is left
// out. An H200 counts in 16 bytes: `column` and the matrix's columns are multiples of that; and it
// takes a negative `row` or `column` for an illegal instruction. What a thread asked for since its
// last BulkCommit is one group; BulkWaitRead: all groups of the thread have read their shared
// memory.
__device__ __forceinline__ void SendBox(const CUtensorMap* map, int column, int row,
                                        uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0,{%1,%2}],[%3];" ::"l"(map),
      "r"(column), "r"(row), "r"(from)
      : "memory");
}
__device__ __forceinline__ void BulkCommit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
__device__ __forceinline__ void BulkWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
// As CopyBox, into the CTAs of the cluster whose bits are set in `mask`, at the same place in each;
// the barrier at the same place counts in each.
__device__ __forceinline__ void CopyBoxToMany(uint32_t to, const CUtensorMap* map, int column,
                                              int row, uint32_t barrier, uint16_t mask,
                                              uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0],[%1,{%2,%3}],[%4],%5,%6;" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(mask), "l"(policy)
      : "memory");
}
// Plain bytes; both addresses and the size are multiples of 16.
__device__ __forceinline__ void CopyBytes(uint32_t to, const void* from, uint32_t bytes,
                                          uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(
          to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// By itself: ptxas makes one store of two neighbours, but not of volatile ones.
__device__ __forceinline__ void StoreSharedAlone(uint32_t address, float v) {
  asm volatile("st.volatile.shared.f32 [%0],%1;" ::"r"(address), "f"(v) : "memory");
}
__device__ __forceinline__ float LoadSharedFloat(uint32_t address) {
  float v;
  asm volatile("ld.shared.f32 %0,[%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}
__device__ __forceinline__ float4 LoadSharedFloats(uint32_t address) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3},[%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ uint4 LoadShared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3},[%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
// Four 8×8 matrices of BF16 that a warp holds as products do, lane l rows l/4 and columns 2·(l%4);
// lanes 8i … 8i + 7 give the addresses of the rows of matrix i, 16 bytes each.
__device__ __forceinline__ void StoreMatrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c,
                                              uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};" ::"r"(address),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}
// Two of them; lanes 0 … 15 give addresses.
__device__ __forceinline__ void StoreTwoMatrices(uint32_t address, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0],{%1,%2};" ::"r"(address), "r"(a),
               "r"(b)
               : "memory");
}

// ---- wgmma (the products themselves: wgmma.cuh) ----
// K-major operand in shared memory, rows of 128 bytes, 128-byte swizzle: 8-row groups lie 1024
// bytes apart. `address` is a multiple of 1024, plus 32 for each step of K inside the row.
__device__ __forceinline__ uint64_t Descriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
// The same in two steps: addresses only change the lower half.
__device__ __forceinline__ uint32_t DescriptorLow(uint32_t address) {
  return (address & 0x3FFFF) >> 4 | 1u << 16;
}
__device__ __forceinline__ uint64_t DescriptorOf(uint32_t low) {
  uint64_t descriptor;
  asm("mov.b64 %0,{%1,%2};" : "=l"(descriptor) : "r"(low), "n"(64 | 1 << 30));
  return descriptor;
}
__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// After the wait for products: what is made of them is not worked out before it.
template <int kCount>
__device__ __forceinline__ void KeepBehind(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// ---- programmatic dependent launch ----
// The kernel after this one may start; it sees nothing of this one's writes before its own wait.
__device__ __forceinline__ void LaunchDependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Until the kernels before are over and their writes are visible.
__device__ __forceinline__ void WaitForEarlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

template <int kThreads>
__device__ __forceinline__ void NamedBarrier(int id) {
  asm volatile("bar.sync %0,%1;" ::"r"(id), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ __forceinline__ void NamedBarrierArrive(int id) {
  asm volatile("bar.arrive %0,%1;" ::"r"(id), "n"(kThreads) : "memory");
}

}  // namespace ferrule::sm90
