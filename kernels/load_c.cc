// SPDX-License-Identifier: Apache-2.0
// load.h for C.
#include "kernels/load_c.h"

#include "engine/ferrule_c_handles.h"
#include "kernels/loader.h"

struct ferrule_linear {
  std::unique_ptr<ferrule::LoadedLinear> linear;
};
struct ferrule_pool {
  std::unique_ptr<ferrule::LinearPool> pool;
};

using ferrule::Blame;
using ferrule::Diagnostics;
using ferrule::GiveError;
using ferrule::Guarded;
using ferrule::LinearCode;
using ferrule::LinearPool;
using ferrule::LinearStatus;
using ferrule::LoadedLinear;
using ferrule::RefuseNull;

ferrule_linear* ferrule_linear_load(const ferrule_plan* plan, const char* module, int32_t rank,
                                    ferrule_error** error) {
  return Guarded(error, [&]() -> ferrule_linear* {
    if (plan == nullptr) return RefuseNull("plan", error);
    if (module == nullptr) return RefuseNull("module", error);
    Diagnostics found;
    const int32_t id = FindLoadable(plan->plan, module, rank, &found);
    std::unique_ptr<LoadedLinear> linear;
    if (id >= 0) linear = LoadModule(plan->plan.internal(), id, rank, &found);
    if (linear) return new ferrule_linear{std::move(linear)};
    GiveError(ToError(found), error);
    return nullptr;
  });
}
void ferrule_linear_free(ferrule_linear* linear) { delete linear; }

int64_t ferrule_linear_rows(const ferrule_linear* linear) {
  return linear == nullptr ? 0 : linear->linear->rows;
}
int64_t ferrule_linear_columns(const ferrule_linear* linear) {
  return linear == nullptr ? 0 : linear->linear->in;
}
int64_t ferrule_linear_first_column(const ferrule_linear* linear) {
  return linear == nullptr ? 0 : linear->linear->first_column;
}
uint64_t ferrule_linear_bytes(const ferrule_linear* linear) {
  return linear == nullptr ? 0 : linear->linear->bytes;
}

ferrule_pool* ferrule_pool_create(int32_t threads, ferrule_error** error) {
  return Guarded(error, [&]() -> ferrule_pool* {
    std::unique_ptr<LinearPool> pool = LinearPool::Create(threads);
    if (!pool) throw std::bad_alloc();
    return new ferrule_pool{std::move(pool)};
  });
}
void ferrule_pool_free(ferrule_pool* pool) { delete pool; }

int ferrule_linear_run(const ferrule_linear* linear, const void* x, int64_t tokens,
                       int64_t x_stride, float* y, int64_t y_stride, ferrule_pool* pool,
                       ferrule_error** error) {
  ferrule_error* failed = nullptr;
  const bool* ran = Guarded(&failed, [&]() -> const bool* {
    static constexpr bool kRan = true;
    if (linear == nullptr) return RefuseNull("linear", &failed);
    const LinearStatus status = linear->linear->Run(x, tokens, x_stride, y, y_stride,
                                                    pool == nullptr ? nullptr : pool->pool.get());
    if (status) return &kRan;
    const Blame blame = status.code == LinearCode::kNoMemory ? Blame::kMachine : Blame::kCommand;
    GiveError({blame, linear->linear->name + ": " + status.message + "\n"}, &failed);
    return nullptr;
  });
  if (ran != nullptr) return 0;
  const int blame = ferrule_error_blame(failed);
  if (error != nullptr)
    *error = failed;
  else
    ferrule_error_free(failed);
  return blame;
}
