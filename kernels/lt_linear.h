// SPDX-License-Identifier: Apache-2.0
// Matrix products by cuBLASLt, which is looked for when it is first asked for: libcublasLt.so.13 or
// .12 where the dynamic linker finds it. An algorithm is chosen once for each shape, by cuBLASLt's
// own heuristic; a product then allocates nothing.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/lt_shape.h"

namespace ferrule {

// Null where cuBLASLt can be asked; else why not, static text.
const char* LtAbsent();

// Chooses the algorithm of a shape on the current device, unless that was done. kUnsupported with
// the reason where cuBLASLt has none.
LinearStatus LtPrepare(const LtShape& shape);

// Whether it was, and the bytes of workspace it needs, aligned to 256.
bool LtReady(const LtShape& shape, size_t* workspace);

// The most that those need that were prepared for this product with as many tokens or fewer; an
// algorithm for fewer tokens may need more. 0: none was prepared, or none needs any.
size_t LtMostWorkspace(const LtShape& shape);

struct LtArguments {
  LtShape shape;
  const void* w;         // [rows, in]
  const void* x;         // [tokens, in]: BF16, or codes
  const float* w_scale;  // as shape.scales says
  const float* x_scale;
  void* y;  // [tokens, rows]
  void* workspace;
  size_t workspace_size;
};
LinearStatus LtRun(const LtArguments& arguments, cudaStream_t stream);

}  // namespace ferrule
