// SPDX-License-Identifier: Apache-2.0
#include "kernels/tensor_map.h"

#include <cuda_runtime_api.h>

#include <atomic>

namespace ferrule {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// Through the runtime, so that nothing links to libcuda.
Encode FindEncode() {
  static std::atomic<Encode> known{nullptr};
  Encode encode = known.load(std::memory_order_acquire);
  if (encode != nullptr) return encode;
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult result{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                       &result) != cudaSuccess)
    return nullptr;
  encode = reinterpret_cast<Encode>(entry);
  known.store(encode, std::memory_order_release);
  return encode;
}

}  // namespace

bool MakeMap(CUtensorMap* map, const void* matrix, int element, int64_t columns, int64_t rows,
             int64_t stride, int box_rows, int box_bytes) {
  const Encode encode = FindEncode();
  if (encode == nullptr) return false;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride * element)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_bytes / element),
                             static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUtensorMapSwizzle swizzle = box_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : box_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                       : CU_TENSOR_MAP_SWIZZLE_32B;
  return encode(map,
                element == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                const_cast<void*>(matrix), sizes, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace ferrule
