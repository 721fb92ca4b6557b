// SPDX-License-Identifier: Apache-2.0
#include "kernels/lt_linear.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "kernels/cuda_error.h"
#include "kernels/shared_library.h"

namespace ferrule {
namespace {

constexpr size_t kMostWorkspace = 32 << 20;

struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescInit_internal) init_product;
  decltype(&cublasLtMatmulDescSetAttribute) set_product;
  decltype(&cublasLtMatrixLayoutInit_internal) init_layout;
  decltype(&cublasLtMatmulPreferenceInit_internal) init_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;
};

// Null where there is none. Stays loaded.
const Library* TheLibrary() {
  // The version that this was compiled with: what is opaque is laid out as it says.
  constexpr const char* kName = CUBLAS_VER_MAJOR == 13   ? "libcublasLt.so.13"
                                : CUBLAS_VER_MAJOR == 12 ? "libcublasLt.so.12"
                                                         : nullptr;
  static Library library;
  static const bool found =
      kName != nullptr &&
      FindFunctions(kName, {{"cublasLtCreate", &library.create},
                            {"cublasLtMatmul", &library.matmul},
                            {"cublasLtMatmulAlgoGetHeuristic", &library.heuristic},
                            {"cublasLtMatmulDescInit_internal", &library.init_product},
                            {"cublasLtMatmulDescSetAttribute", &library.set_product},
                            {"cublasLtMatrixLayoutInit_internal", &library.init_layout},
                            {"cublasLtMatmulPreferenceInit_internal", &library.init_preference},
                            {"cublasLtMatmulPreferenceSetAttribute", &library.set_preference}});
  return found ? &library : nullptr;
}

// cuBLASLt stores columns: W is its A, [in, rows] turned, x its B, [in, tokens], y [rows, tokens].
struct Product {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t a, b, d;
};

bool Describe(const Library& lt, const LtShape& s, const float* w_scale, const float* x_scale,
              Product* p) {
  const bool fp8 = s.scales != LtScales::kNone;
  const cudaDataType_t from = fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
  const cudaDataType_t to = s.y_type == LinearOutput::kF32 ? CUDA_R_32F : CUDA_R_16BF;
  bool fine = lt.init_product(&p->product, sizeof(p->product), CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
              CUBLAS_STATUS_SUCCESS;
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    fine = fine &&
           lt.set_product(&p->product, attribute, &value, sizeof(value)) == CUBLAS_STATUS_SUCCESS;
  };
  const auto layout = [&](cublasLtMatrixLayoutOpaque_t* to_fill, cudaDataType_t type, int64_t rows,
                          int64_t columns, int64_t stride) {
    fine = fine && lt.init_layout(to_fill, sizeof(*to_fill), type, static_cast<uint64_t>(rows),
                                  static_cast<uint64_t>(columns), stride) == CUBLAS_STATUS_SUCCESS;
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  layout(&p->a, from, s.in, s.rows, s.w_stride);
  layout(&p->b, from, s.in, s.tokens, s.x_stride);
  layout(&p->d, to, s.rows, s.tokens, s.y_stride);
  if (!fp8) return fine;
  const int32_t a_mode = s.scales == LtScales::kScalar ? CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F
                         : s.scales == LtScales::kOuter
                             ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
                             : CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F;
  const int32_t b_mode =
      s.scales == LtScales::kBlocks ? CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F : a_mode;
  set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, a_mode);
  set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, b_mode);
  set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w_scale);
  set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, x_scale);
  return fine;
}

struct Chosen {
  cublasLtHandle_t handle;
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace;
};

struct Cache {
  std::shared_mutex mutex;
  std::map<int, cublasLtHandle_t> handles;               // device →
  std::map<std::pair<int, LtShape>, Chosen> algorithms;  // never taken out: pointers stay
};
Cache& TheCache() {
  static Cache cache;
  return cache;
}

const Chosen* LookUp(const LtShape& shape) {
  std::pair<int, LtShape> key(0, shape);
  if (cudaGetDevice(&key.first) != cudaSuccess) return nullptr;
  // A call asks for the same one several times.
  thread_local std::pair<int, LtShape> last;
  thread_local const Chosen* last_found = nullptr;
  if (last_found != nullptr && !(last < key) && !(key < last)) return last_found;
  Cache& cache = TheCache();
  const std::shared_lock<std::shared_mutex> lock(cache.mutex);
  const auto found = cache.algorithms.find(key);
  if (found == cache.algorithms.end()) return nullptr;
  last = key;
  return last_found = &found->second;
}

}  // namespace

const char* LtAbsent() {
  return TheLibrary() != nullptr ? nullptr : "there is no cuBLASLt of the version it was built for";
}

LinearStatus LtPrepare(const LtShape& shape) {
  const Library* lt = TheLibrary();
  if (lt == nullptr) return {LinearCode::kUnsupported, -1, LtAbsent()};
  if (LookUp(shape) != nullptr) return {};
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return CudaStatus(error);
  Cache& cache = TheCache();
  const std::unique_lock<std::shared_mutex> lock(cache.mutex);
  cublasLtHandle_t& handle = cache.handles[device];
  if (handle == nullptr && lt->create(&handle) != CUBLAS_STATUS_SUCCESS)
    return {LinearCode::kDevice, -1, "cuBLASLt does not start"};
  Product p;
  // The scales' place is not known yet; that they are there is what counts.
  alignas(16) static const float somewhere[4] = {};
  if (!Describe(*lt, shape, somewhere, somewhere, &p))
    return {LinearCode::kUnsupported, -1, "this cuBLASLt does not know such a product"};
  cublasLtMatmulPreferenceOpaque_t preference;
  bool fine = lt->init_preference(&preference, sizeof(preference)) == CUBLAS_STATUS_SUCCESS;
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    fine = fine && lt->set_preference(&preference, attribute, &value, sizeof(value)) ==
                       CUBLAS_STATUS_SUCCESS;
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  const uint32_t alignment = 16;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    prefer(attribute, alignment);
  cublasLtMatmulHeuristicResult_t result = {};
  int count = 0;
  fine = fine && lt->heuristic(handle, &p.product, &p.a, &p.b, &p.d, &p.d, &preference, 1, &result,
                               &count) == CUBLAS_STATUS_SUCCESS;
  if (!fine || count == 0 || result.state != CUBLAS_STATUS_SUCCESS)
    return {LinearCode::kUnsupported, -1, "cuBLASLt has no algorithm for it"};
  cache.algorithms.emplace(std::pair(device, shape),
                           Chosen{handle, result.algo, result.workspaceSize});
  return {};
}

bool LtReady(const LtShape& shape, size_t* workspace) {
  const Chosen* chosen = LookUp(shape);
  if (chosen != nullptr) *workspace = chosen->workspace;
  return chosen != nullptr;
}

size_t LtMostWorkspace(const LtShape& shape) {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  Cache& cache = TheCache();
  const std::shared_lock<std::shared_mutex> lock(cache.mutex);
  size_t most = 0;
  for (const auto& [key, chosen] : cache.algorithms)
    if (key.first == device && key.second.IsUpTo(shape)) most = std::max(most, chosen.workspace);
  return most;
}

LinearStatus LtRun(const LtArguments& a, cudaStream_t stream) {
  const Chosen* chosen = LookUp(a.shape);
  const Library* lt = TheLibrary();
  Product p;
  if (chosen == nullptr || lt == nullptr || !Describe(*lt, a.shape, a.w_scale, a.x_scale, &p))
    return {LinearCode::kUnsupported, -1, "this product was not prepared for cuBLASLt"};
  const float one = 1, zero = 0;
  const cublasStatus_t status =
      lt->matmul(chosen->handle, &p.product, &one, a.w, &p.a, a.x, &p.b, &zero, a.y, &p.d, a.y,
                 &p.d, &chosen->algorithm, a.workspace, a.workspace_size, stream);
  if (status == CUBLAS_STATUS_SUCCESS) return {};
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) return CudaStatus(error);
  return {LinearCode::kDevice, -1, "cuBLASLt refused the product"};
}

}  // namespace ferrule

#else  // CUDA without its libraries: libcublas-dev was not there

namespace ferrule {

const char* LtAbsent() { return "it was built without cuBLASLt's header"; }
LinearStatus LtPrepare(const LtShape&) { return {LinearCode::kUnsupported, -1, LtAbsent()}; }
bool LtReady(const LtShape&, size_t*) { return false; }
size_t LtMostWorkspace(const LtShape&) { return 0; }
LinearStatus LtRun(const LtArguments&, cudaStream_t) {
  return {LinearCode::kUnsupported, -1, LtAbsent()};
}

}  // namespace ferrule

#endif
