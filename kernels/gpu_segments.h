// SPDX-License-Identifier: Apache-2.0
// What one segment of a group asks of the GPU's kernels: which of them refuse it and why, into how
// many tiles it is cut, whether cuBLASLt is to have it. No CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gpu_steps.h"

namespace ferrule {

constexpr int kHopper = 90;  // compute capability 9.0

inline bool IsBf16(const LinearSegment& segment) { return segment.scheme == LinearScheme::kBf16; }
inline bool ScalesOfBlocks(const LinearSegment& segment) {
  return segment.scheme == LinearScheme::kFp8Block;
}

// x can be read 16 bytes at a time and by TMA.
bool XAligned(const LinearGroup& group);

// Whether so many rows in BF16 are so much work that a launch without the FP8 segments beside them
// is worth while.
bool Apart(const LinearGroup& group, int64_t bf16_rows);

// Whether a segment should go to cuBLASLt where that was prepared, and as which product.
bool WantsLt(const LinearGroup& group, int32_t segment, const GpuChoice& choice, int sm,
             LtShape* shape);

// For people: why a segment that cuBLASLt should have is not its own; null where it is, or should
// not.
const char* NotLt(const LinearGroup& group, int32_t segment, const GpuChoice& choice,
                  const GpuTarget& target);

constexpr size_t kGpuAlignment = 256;

// Where in the workspace that begins which lies behind a quantized x: aligned.
size_t EndOfX(const LinearGroup& group);
// Bytes there that the steps of a group need: where cuBLASLt works.
size_t WorkspaceBehindX(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target);

// Bytes of workspace, all of it, for a valid group with tokens: for this very one, and for it with
// any number of tokens from 1 to its own, of which none needs more.
size_t WorkspaceNow(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target);
size_t WorkspaceUpTo(const LinearGroup& group, const GpuChoice& choice, const GpuTarget& target);

// Why Hopper's fast kernels do not take this segment; null when they do.
const char* SlowReason(const LinearGroup& group, const LinearSegment& segment);
// The same of kMma.
const char* MmaReason(const LinearGroup& group, const LinearSegment& segment);

// Row 0 of tile 0 (<= 0: tiles begin where scale blocks, or parts of `grid` rows of them, do) and
// the number of tiles.
int FirstRow(const LinearSegment& segment, int grid);
int TileCount(const LinearSegment& segment, int tile_rows);
int LargeTileCount(const LinearSegment& segment, int tile_rows);  // of kLarge

}  // namespace ferrule
