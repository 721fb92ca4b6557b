// SPDX-License-Identifier: Apache-2.0
// LinearGpu with choices made by the caller, for tests, benchmarks and the table that they make.
#pragma once

#include <string>

#include "kernels/gpu_steps.h"
#include "kernels/linear.h"

namespace ferrule {

struct LaunchTarget;  // kernels/launch_target.h

GpuTarget CurrentGpu();  // of the current device, as LinearGpu sees it
LinearStatus PrepareGpu(const LinearGroup& group, const GpuChoice& choice);
size_t WorkspaceSizeGpu(const LinearGroup& group, const GpuChoice& choice);
LinearStatus RunGpu(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                    size_t workspace_size, void* stream);
// RunGpu onto `to`; where that changes a graph, the group must have tokens.
LinearStatus SubmitGpu(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                       size_t workspace_size, const LaunchTarget& to);
// Loads the kernels of a group with tokens: captures RunGpu with these arguments and forgets it.
// Nothing is run, so that `workspace` may lead nowhere unless cuBLASLt has a part.
LinearStatus LoadKernels(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                         size_t workspace_size);
std::string ExplainGpu(const LinearGroup& group, const GpuChoice& choice);

}  // namespace ferrule
