// SPDX-License-Identifier: Apache-2.0
// How many codes of an E4M3 matrix are NaN (0x7F, 0xFF), added to `count`.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ferrule {

// `matrix`: [rows, columns] in device memory, aligned to 16, rows `stride` bytes apart, a multiple
// of 16.
cudaError_t LaunchCountNan(const uint8_t* matrix, int64_t rows, int64_t columns, int64_t stride,
                           uint32_t* count);

}  // namespace ferrule
