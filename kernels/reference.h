// SPDX-License-Identifier: Apache-2.0
// The specification on several threads, for whoever compares whole checkpoints with it.
#pragma once

#include "kernels/linear.h"

namespace ferrule {

// LinearReference of kernels/linear.h, its rows shared out to `pool` (null: the caller's thread
// alone): the same bits with any number of threads. A call that finds the pool busy waits.
LinearStatus LinearReference(const LinearGroup& group, LinearPool* pool);

}  // namespace ferrule
