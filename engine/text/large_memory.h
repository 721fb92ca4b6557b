// SPDX-License-Identifier: Apache-2.0
// Memory by the megabyte, for the few arrays that grow with the checkpoint. The system is asked for
// pages of 2 MiB: to have 4 KiB pages handed out one by one takes longer than reading the headers.
#pragma once

#include <stdlib.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace ferrule {

inline constexpr size_t kLargePage = size_t{2} << 20;

// Allocator of standard containers; small arrays are taken as always. resize() does not fill in
// what has no constructor.
template <typename T>
struct LargeMemory {
  using value_type = T;  // NOLINT(readability-identifier-naming): as containers want
  LargeMemory() = default;
  template <typename U>
  LargeMemory(const LargeMemory<U>&) {}  // NOLINT(google-explicit-constructor): as containers want

  T* allocate(size_t count) {
    if (count > size_t{PTRDIFF_MAX} / sizeof(T)) throw std::bad_array_new_length();
    const size_t bytes = count * sizeof(T);
    if (bytes < kLargePage) return static_cast<T*>(::operator new(bytes));
    void* const memory =
        aligned_alloc(kLargePage, (bytes + kLargePage - 1) / kLargePage * kLargePage);
    if (memory == nullptr) throw std::bad_alloc();
    madvise(memory, bytes / kLargePage * kLargePage,
            MADV_HUGEPAGE);  // a wish; refusal costs time only
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    if (count * sizeof(T) < kLargePage)
      ::operator delete(memory);
    else
      free(memory);
  }
  template <typename U>
  void construct(U* at) {
    ::new (static_cast<void*>(at)) U;
  }
  template <typename U, typename... Args>
  void construct(U* at, Args&&... args) {
    ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
  }
  friend bool operator==(const LargeMemory&, const LargeMemory&) { return true; }
};

template <typename T>
using LargeVector = std::vector<T, LargeMemory<T>>;

}  // namespace ferrule
