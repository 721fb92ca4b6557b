// SPDX-License-Identifier: Apache-2.0
// Libraries that are looked for when they are first needed: a program starts where there are none.
//
//   struct Library { decltype(&cublasLtCreate) create; … };
//   static Library library;
//   static const bool found =
//       FindFunctions("libcublasLt.so.13", {{"cublasLtCreate", &library.create}, …});
#pragma once

#include <dlfcn.h>

#include <cstring>
#include <initializer_list>

namespace ferrule {

struct FunctionPlace {
  template <typename Result, typename... Arguments>
  FunctionPlace(const char* its_name, Result (**function)(Arguments...))
      : name(its_name), place(function) {
    static_assert(sizeof(*function) == sizeof(void*), "dlsym gives functions as data pointers");
  }
  const char* name;
  void* place;  // of a pointer to a function
};

// True where the library is there and has them all. It stays loaded.
inline bool FindFunctions(const char* library, std::initializer_list<FunctionPlace> functions) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return false;
  for (const FunctionPlace& function : functions) {
    void* address = dlsym(handle, function.name);
    if (address == nullptr) return false;
    std::memcpy(function.place, &address, sizeof(address));
  }
  return true;
}

}  // namespace ferrule
