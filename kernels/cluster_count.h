// SPDX-License-Identifier: Apache-2.0
// How many clusters a device holds. Devices of one kind differ: which multiprocessors are switched
// off decides how many groups of 16 or 18 there are, and one cluster too many waits for all others.
#pragma once

namespace ferrule {

// What a device says. Where devices differ the least counts for all; ClustersThatFit
// (kernels/gpu_plan.h) answers with it from then on.
void LearnClusters(int slices, int count);

}  // namespace ferrule
