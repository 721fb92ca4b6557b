// SPDX-License-Identifier: Apache-2.0
// linear_gpu: the groups of kernels/linear.h on a GPU (compute capability 8.0 and above; fast
// kernels are Hopper's: H100, H200). The same descriptors with every data pointer (x, weights,
// scales, biases, y, nonfinite_tokens) in device memory; the descriptors themselves in the host's.
//
//   PrepareGpu(group);                                // once for each number of tokens
//   size_t bytes = WorkspaceSizeGpu(group);           // then once, for the largest tokens
//   void* workspace = …;                              // cudaMalloc(bytes), one for each stream
//   LinearStatus status = LinearGpu(group, workspace, bytes, stream);   // each step
//
// Asynchronous on the stream: once prepared no allocation, no synchronization, capturable into a
// CUDA graph. The call launches one kernel where it can, and the launches overlap with the kernel
// before (programmatic dependent launch): weights, scales and biases must not be written by it. The
// same call gives the same bits each time; with `batch_invariant` the bits of a token's y are the
// same also among fewer or more tokens. A failure that only shows while a kernel runs comes out of
// the caller's next synchronization, as with any kernel.
//
// The law is that of linear.h with float32 sums: relative Frobenius error below 4e-4 with float32
// outputs (tensor cores cut the products of FP8), below 2.2e-3 with BF16 outputs (their own
// rounding is 1.7e-3). sx·sw must stay in float32's range and, where a row has a scale, sums times
// sx too.
//
// Fast on Hopper where weights are 16-byte aligned with rows a multiple of 16 bytes apart, blocks
// are 128 × 128 (or the tensor has one scale, or rows have, without gaps, and batch_invariant is
// not asked for) and x is aligned likewise; any phase, rows, columns and tokens. On other GPUs all
// goes to cuBLASLt (many tokens, when prepared) or is widened to 16 bits and multiplied by
// mma.sync. On Hopper cuBLASLt, when prepared, takes much BF16 alone, much FP8 with one scale a row
// or tensor, and one segment of FP8 blocks where that was measured to be faster. What else linear.h
// allows runs too, slowly. `ExplainGpu` says which kernel takes which segment, and why not a faster
// one.
//
// Calls that stand in no CUDA graph of the caller's cost the host less by way of a `GpuCall`:
//
//   std::unique_ptr<GpuCall> call;                    // once for each number of tokens and stream
//   LinearStatus status = GpuCall::Create(group, workspace, bytes, &call);
//   status = call->Run(group, workspace, bytes, stream);                // each step
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/linear.h"

namespace ferrule {

// Makes a call ready, for this very group on the current device: sizes, strides and alignments, not
// addresses. Loads its kernels, which CUDA else does when they are first launched: after it
// LinearGpu allocates nothing, waits for nothing and may be captured, in any mode, also as the
// first launch of a process. Without it, or one such call before, the first one may allocate and
// wait, and may spoil a capture.
//
// And lets cuBLASLt, where it is installed, choose how it would run what it does faster with many
// tokens: BF16 alone or much of it, per-tensor and per-channel FP8, one segment of FP8 blocks on
// Hopper. Without it, or where it failed, LinearGpu uses its own kernels.
//
// Allocates, meanwhile also a workspace where cuBLASLt has a part, and waits; may take
// milliseconds. Not while a stream of this thread is captured. Refuses what LinearGpu refuses.
LinearStatus PrepareGpu(const LinearGroup& group);

// Bytes that LinearGpu needs for this group with as many tokens or fewer, all else but pointers as
// it is: one workspace, sized for the largest number of tokens, does for all. Counts what
// PrepareGpu has prepared on the current device up to now; after preparing more, ask again. 0 when
// the group is not valid or there is nothing to do.
size_t WorkspaceSizeGpu(const LinearGroup& group);

// `workspace`: device memory, aligned to 256, the call's own until the stream has passed it.
// `stream` is a cudaStream_t of the current device.
LinearStatus LinearGpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                       void* stream);

// A call of LinearGpu, prepared: one launch for the host however many kernels it has. Microseconds
// of host time beside one H200, 2026-11-29 (a slower host took up to twice as long), with cuBLASLt
// for FP8 2026-11-30:
//
//                                          one kernel   two         cuBLASLt
//   LinearGpu                               3.1 … 3.6   6.2 … 6.7   11 … 15
//   GpuCall::Run, pointers as captured      1.2         1.2         2.1 … 2.4
//   the same, pointers that were not        3.1 … 3.6   3.2 … 4.3   11 … 15
//
// Alone, from launch to end, such a call was 3 to 6 us shorter than LinearGpu's. But its kernels do
// not overlap with those before and after: one after the other, where the GPU is what is waited
// for, calls took up to 2.5 us more each.
class GpuCall {
 public:
  // Captures LinearGpu(group, workspace, workspace_size, …) without running it: for the current
  // device, after PrepareGpu. Allocates, also device memory (a graph: kilobytes), and waits; takes
  // under a millisecond. Not while a stream of this thread is captured. Null where it fails.
  static LinearStatus Create(const LinearGroup& group, void* workspace, size_t workspace_size,
                             std::unique_ptr<GpuCall>* call);
  // Captures the same call for other pointers too, or for other sizes, under the same rules: with
  // what was captured Run is one launch, whatever the kernels are. For a few sets of buffers that
  // come in turn: Run looks through all. Where it fails what was captured before stays.
  LinearStatus Add(const LinearGroup& group, void* workspace, size_t workspace_size);
  ~GpuCall();  // when its launches are over
  GpuCall(const GpuCall&) = delete;
  GpuCall& operator=(const GpuCall&) = delete;

  // Does what LinearGpu does with these arguments, bit for bit, under the same rules. Any pointers
  // may be others than those captured: that changes the first graph. Where sizes are others, so
  // that other kernels would run, where the stream is being captured, and where pointers were not
  // captured and cuBLASLt has a part or there is one kernel, it is LinearGpu that is called.
  // Launches of one graph run one after the other, on any stream. One thread at a time.
  LinearStatus Run(const LinearGroup& group, void* workspace, size_t workspace_size, void* stream);

 private:
  struct Graph;
  GpuCall();
  std::vector<std::unique_ptr<Graph>> graphs_;  // none: there is nothing to launch
};

// Null: the current device runs LinearGpu. Else why not, static text.
const char* GpuRefuses();

// A line for each launch on the current device, with what PrepareGpu has prepared: kernel,
// segments, tiles; and what keeps a segment from a faster kernel. Where the device does not run
// LinearGpu: what a Hopper would, with nothing prepared.
std::string ExplainGpu(const LinearGroup& group);

}  // namespace ferrule
