// SPDX-License-Identifier: Apache-2.0
// A matrix in device memory → the tensor map by which TMA brings boxes of it.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace ferrule {

// [rows, columns] of E4M3 (`element` 1) or BF16 (2), `stride` elements between rows; boxes of
// `box_rows` × `box_bytes` (32, 64 or 128) with the swizzle of as many bytes. The matrix is 16-byte
// aligned, its rows a multiple of 16 bytes apart. False when the driver refuses. Pure arithmetic:
// no device is asked.
bool MakeMap(CUtensorMap* map, const void* matrix, int element, int64_t columns, int64_t rows,
             int64_t stride, int box_rows, int box_bytes = 128);

}  // namespace ferrule
