// SPDX-License-Identifier: Apache-2.0
// What kernels do more under the build option gpu_racecheck, so that compute-sanitizer's racecheck
// can follow them (as of CUDA 13.0). Two things that the GPU does are not seen by it:
//   a warp whose lanes have just been brought together, by a product or where branches join, needs
//     no instruction to meet, and the compiler drops its __syncwarp: that one lane then tells for
//     all that a stage was read looks like a race with the other lanes' reads;
//   a thread's arrival at a cluster's barrier is counted when the thread waits there, or ends:
//     others, waited for in between, stay for ever.
#pragma once

namespace ferrule {

#ifdef FERRULE_RACECHECK
constexpr bool kRacecheck = true;
#else
constexpr bool kRacecheck = false;
#endif

// Lanes of a warp that tell that it has read a stage, or sums.
constexpr int kTelling = kRacecheck ? 32 : 1;

}  // namespace ferrule
