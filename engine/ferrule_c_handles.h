// SPDX-License-Identifier: Apache-2.0
// What stands behind the handles of ferrule_c.h, and how an exception becomes an error.
#pragma once

#include <deque>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "engine/ferrule.h"
#include "engine/ferrule_c.h"

struct ferrule_error {
  ferrule::Error error;
};

struct ferrule_book {
  ferrule::RuleBook book;
  std::vector<std::string> types;
  std::vector<const char*> type_texts;
};

struct ferrule_plan {
  ferrule::ModelPlan plan;
  std::vector<ferrule_finding> findings;
  std::vector<const ferrule_finding*> finding_pointers;
  mutable std::once_flag listed;  // by the first ferrule_plan_modules
  mutable std::vector<std::string> names;
  mutable std::vector<const char*> name_texts;
};

namespace ferrule {

// Hands `error` to the caller, who may not want it. Never throws.
void GiveError(Error error, ferrule_error** to) noexcept;
void GiveOutOfMemory(ferrule_error** to) noexcept;

// body() → a pointer; null with an error where it throws.
template <typename Body>
auto Guarded(ferrule_error** error, const Body& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    GiveOutOfMemory(error);
  } catch (const std::exception& bug) {
    GiveError({Blame::kMachine, std::string("a bug: ") + bug.what() + "\n"}, error);
  }
  return nullptr;
}

// "`directory` is NULL", a call that is wrong.
std::nullptr_t RefuseNull(const char* what, ferrule_error** error);

std::vector<const char*> Pointers(const std::vector<std::string>& texts);

}  // namespace ferrule
