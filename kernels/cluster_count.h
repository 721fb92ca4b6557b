// SPDX-License-Identifier: Apache-2.0
// How many CTAs and clusters a device holds at once. Devices of one kind differ too: which
// multiprocessors are switched off decides how many groups of 16 or 18 there are, and one cluster
// too many waits for all others.
#pragma once

#include "kernels/gpu_plan.h"

namespace ferrule {

struct GpuRoom {
  int multiprocessors = kMultiprocessors;
  // Clusters of so many CTAs at one CTA a multiprocessor; 0: it takes none of that size. As an H200
  // said on 2026-11-29, but for 4, of which others hold 31.
  int clusters[17] = {0, 132, 66, 39, 31, 22, 17, 15, 15, 14, 13, 12, 11, 10, 9, 8, 7};
};

// While it lives, plans that this thread makes are for a device with such room (null: an H200), not
// for what other threads or earlier plans were for.
class PlanFor {
 public:
  explicit PlanFor(const GpuRoom* room);
  ~PlanFor();
  PlanFor(const PlanFor&) = delete;
  PlanFor& operator=(const PlanFor&) = delete;

 private:
  const GpuRoom* before_;
};

// Of the device that this thread plans for; as ClustersThatFit (kernels/gpu_plan.h).
int Multiprocessors();

}  // namespace ferrule
