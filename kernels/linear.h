// SPDX-License-Identifier: Apache-2.0
// linear: y = x · Wᵀ for all linears that read the same activation, each part FP8 or BF16 as it
// is stored. Raw pointers only; this header needs nothing else of the project.
//
// A *group* is one activation x and a list of *segments*. A segment is a run of output rows of ONE
// stored tensor, as one rank holds it, with that tensor's own scale grid. A fused module (q, k, v
// side by side) is several segments, each with its own output pointer: into one wide y, or apart.
// Weights and scales stay in the layout of the checkpoint; nothing is repacked.
//
//   scheme        weight                  scale (float32)               x is quantized
//   kBf16         BF16, F16 or F32        none                          not at all
//   kFp8Block     E4M3 [rows, in]         [ceil(N/bn), ceil(K/bk)]      per token and group of bk
//   kFp8Channel   E4M3 [rows, in]         [rows]                        per token, or static
//   kFp8Tensor    E4M3 [rows, in]         [1]                           per token, or static
//
// The law (x quantized as kernels/quantize.h says, sums exact, one rounding at the end):
//   kBf16        y[m,n] = Σ_k x[m,k]·w[n,k]
//   kFp8Block    y[m,n] = Σ_b (Σ_{k in b} xq[m,k]·wq[n,k]) · sx[m,b] · sw[(n+n_phase)/bn, b]
//                b = (k + k_phase) / bk: groups are the blocks of the WHOLE row, cut to the
//                columns held here; sx comes from the columns held
//   kFp8Channel  y[m,n] = (Σ_k xq·wq) · sx[m] · sw[n]
//   kFp8Tensor   y[m,n] = (Σ_k xq·wq) · sx[m] · sw[0]
// plus bias[n] where there is one. A scale is multiplied with, also where its stored name ends
// in `_inv`. `LinearReference` is this law in double. `LinearCpu` differs from it by less than
// 1e-5 (relative Frobenius norm), and its bits depend neither on the number of threads nor on
// which other tokens or segments are in the group.
//
// NaN and Inf: a NaN in x, in a weight (codes 0x7F, 0xFF) or a scale stays NaN in exactly the y
// it takes part in. An Inf in x is never saturated to 448: where x is quantized it acts as NaN; in
// kBf16 it is IEEE arithmetic. Both are counted in `nonfinite_tokens`. Zero tokens give zero.
//
// Errors are values: every function checks its arguments first and writes nothing when it refuses.
// Weak points: pointers are trusted to reach as far as the sizes say; outputs must not overlap x,
// weights, each other or the workspace; the default rounding mode and no flush-to-zero are assumed.
//
//   LinearSegment q{.scheme = LinearScheme::kFp8Block, .weight = wq, .rows = 512,
//                   .weight_stride = 2048, .scale = sq, .scale_stride = 16,
//                   .y = y, .y_stride = 640};
//   LinearSegment b{.scheme = LinearScheme::kBf16, .weight = wb, .rows = 64, .weight_stride = 2048,
//                   .y = y_ba, .y_stride = 64};
//   LinearSegment both[] = {q, b};
//   LinearGroup group{.x = x, .tokens = 4, .in = 2048, .x_stride = 2048,
//                     .segments = both, .segment_count = 2};
//   size_t bytes = WorkspaceSize(group);                       // once, for the largest tokens
//   LinearStatus status = LinearCpu(group, workspace, bytes);  // each step
//   if (!status) fprintf(stderr, "segment %d: %s\n", status.segment, status.message);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ferrule {

enum class LinearScheme : uint8_t { kBf16, kFp8Block, kFp8Channel, kFp8Tensor };

// How the weight of a kBf16 segment is stored (routers are often F32 or F16); for FP8 always kE4m3.
enum class LinearWeight : uint8_t { kBf16, kF16, kF32, kE4m3 };

enum class LinearOutput : uint8_t { kF32, kBf16 };  // BF16: rounded to F32, then nearest even

struct LinearSegment {
  LinearScheme scheme = LinearScheme::kBf16;
  LinearWeight weight_type = LinearWeight::kBf16;  // ignored for FP8 schemes
  const void* weight = nullptr;                    // [rows, in], aligned to its element
  int64_t rows = 0;                                // output rows of this segment; 0: nothing to do
  int64_t weight_stride = 0;                       // elements between rows, >= in

  // FP8 only. BF16 and E8M0 scales are widened (exactly) by whoever loads them.
  const float* scale = nullptr;
  int64_t scale_stride = 0;  // kFp8Block: elements between scale rows; kFp8Channel: between
                             // two rows' scales (0 means 1); kFp8Tensor: ignored
  int32_t n_phase = 0;       // kFp8Block: row 0's offset in its scale block, < block_n
  int32_t k_phase = 0;       // kFp8Block: column 0's offset in its block, < block_k;
                             // `scale` points at the scale of that first, cut, block
  int32_t block_n = 128;     // kFp8Block: rows of a scale block
  int32_t block_k = 128;     // kFp8Block: columns of a block, also the activation group
  const float* input_scale = nullptr;  // kFp8Channel/kFp8Tensor: one static activation scale; null:
                                       // dynamic, one per token
  bool ue8m0 = false;                  // `scale_fmt: ue8m0`: dynamic activation scales are rounded
                                       // up to a power of two

  const float* bias = nullptr;  // [rows] or null
  void* y = nullptr;            // [tokens, rows], aligned to its element
  int64_t y_stride = 0;         // elements between tokens, >= rows
  LinearOutput y_type = LinearOutput::kF32;

  bool operator==(const LinearSegment&) const = default;
};

struct LinearGroup {
  const void* x = nullptr;  // BF16 [tokens, in], aligned to 2
  int64_t tokens = 0;       // 0: nothing to do, pointers are not looked at
  int64_t in = 0;           // columns of x and of every weight
  int64_t x_stride = 0;     // elements between tokens, >= in
  const LinearSegment* segments = nullptr;
  int32_t segment_count = 0;
  int64_t* nonfinite_tokens = nullptr;  // out, or null: how many tokens held a NaN or an Inf
  // The bits of a token's y depend neither on how many tokens are in the group nor on its place
  // among them. The CPU always holds to this; a GPU then gives up what is fastest for few tokens.
  bool batch_invariant = false;
};

enum class LinearCode : uint8_t {
  kOk,
  kNull,        // a pointer that is needed is null
  kMisaligned,  // a pointer is not aligned to its element
  kBadSize,     // a negative or zero size, a stride smaller than its row, a phase outside its block
  kTooLarge,    // a size over 2^31 - 1
  kUnsupported,  // no kernel does this; the message says why
  kWorkspace,    // the workspace is null, too small or not aligned to kWorkspaceAlignment
  kNoMemory,     // LinearReference only
  kDevice,       // the GPU path only: CUDA refused or failed; the message is its own
};

struct LinearStatus {
  LinearCode code = LinearCode::kOk;
  int32_t segment = -1;      // index of the segment at fault, -1: the group
  const char* message = "";  // static text, lower case, no full stop; never null
  explicit operator bool() const { return code == LinearCode::kOk; }
};

// Threads that LinearCpu may use. Create it once; no thread is started later. Any number of callers
// may share one pool: a call that finds it busy waits. Destroy it when no call uses it. A process
// that was forked has none of its threads, and a call with it would wait for ever: create another.
class LinearPool {
 public:
  // `threads` counts the caller's: 3 starts two. Values below 1 mean 1, above 256 mean 256. Starts
  // fewer when the machine refuses; null when out of memory.
  static std::unique_ptr<LinearPool> Create(int threads);
  ~LinearPool();
  LinearPool(const LinearPool&) = delete;
  LinearPool& operator=(const LinearPool&) = delete;
  int threads() const;

  class Impl;
  Impl& impl() { return *impl_; }  // for kernels/ only

 private:
  explicit LinearPool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What is wrong with the descriptor, the first thing found; kOk when nothing is. Looks at pointers,
// sizes and combinations, never at the data. O(segments). The functions below call it themselves.
LinearStatus Validate(const LinearGroup& group);

// The specification: slow, sums in double, allocates. Any number of threads at once.
LinearStatus LinearReference(const LinearGroup& group);

constexpr size_t kWorkspaceAlignment = 64;

// Bytes LinearCpu needs for this group: grows with `in`, with the ways x is quantized and with
// tokens up to 64, so that the size for 64 tokens serves any number. Looks at sizes and schemes,
// not at pointers. 0 when they are not valid or there is nothing to do.
size_t WorkspaceSize(const LinearGroup& group);

// The fast path. Allocates nothing, starts no thread; uses `pool` (null: the caller's thread
// alone). The workspace is the call's own until it returns; its content before and after means
// nothing. Any number of threads at once, each with its own workspace. Which kernel runs, and why
// the others do not, is in kernels/dispatch.h.
LinearStatus LinearCpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                       LinearPool* pool = nullptr);

}  // namespace ferrule
