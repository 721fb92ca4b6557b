// SPDX-License-Identifier: Apache-2.0
// A second linear, written from the prose of the numerics and sharing nothing with kernels/, and
// the mistakes that real engines make in it.
#pragma once

#include <vector>

#include "kernels/linear.h"

namespace ferrule::test {

enum class Mutant {
  kNone,
  kNextScaleRow,         // the scale row below
  kNextScaleColumn,      // the scale column to the right
  kPreviousScaleColumn,  // to the left
  kTransposedScales,     // scale[k block][n block]
  kStretchedBlocks,      // block height = rows / scale rows
  kIgnoredNPhase,        // the shard's first row taken as the first of a block
  kIgnoredKPhase,        // the same for columns: weight scales and activation groups
  kOtherXScale,          // the activation scale of the next group
  kUnquantizedX,         // BF16 x times E4M3 weights
  kOneScalePerToken,     // amax over the whole row
  kDividedScale,         // `scale_inv` taken literally
  kTruncatedX,           // E4M3 rounded toward zero
  kUnroundedUe8m0,       // scale_fmt ignored
  kFloorUe8m0,           // rounded down instead of up
};

// y [tokens, rows] of one segment.
std::vector<float> Naive(const LinearGroup& group, const LinearSegment& segment, Mutant mutant);

}  // namespace ferrule::test
