// SPDX-License-Identifier: Apache-2.0
// The activation quantizer on the GPU: BF16 x → E4M3 codes and float32 scales in device memory, by
// the rule of kernels/quantize.h. One result serves all segments of a group that want the same.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/launch_target.h"
#include "kernels/quantize.h"

namespace ferrule {

struct QuantizeArguments {
  const __nv_bfloat16* x;  // [tokens, columns]
  int64_t x_stride;        // below 2^31
  int tokens;              // >= 1
  int columns;
  int blocks;        // of a token; 1 for kToken and kStatic
  XRecipe recipe;    // static_scale in device memory; not kPlain
  uint8_t* codes;    // [tokens][pitch], column k at `recipe.phase + k`, zeros around it
  int64_t pitch;     // a multiple of 128, >= phase + columns, below 2^32
  float* scales;     // [blocks][scale_stride]: all tokens of a block side by side; those up to the
                     // next multiple of 4 are written too
  int scale_stride;  // a multiple of 4, >= tokens
  // Beside it, of a block of kToken or kStatic: repeated[0 … repeats) = *value. 0: nothing.
  const float* value;
  int64_t repeats;
  float* repeated;
};

// Codes and scales are written when the kernels before are over (PDL).
cudaError_t LaunchQuantize(const QuantizeArguments& arguments, const LaunchTarget& to);

// *count = tokens of x that hold a NaN or an Inf.
cudaError_t LaunchCountNonfinite(const __nv_bfloat16* x, int64_t x_stride, int tokens, int columns,
                                 int64_t* count, const LaunchTarget& to);

// repeated[0 … count) = *value.
cudaError_t LaunchRepeat(const float* value, int64_t count, float* repeated,
                         const LaunchTarget& to);

// Whether there is code for the current device.
bool HasQuantize();

}  // namespace ferrule
