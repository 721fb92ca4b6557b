// SPDX-License-Identifier: Apache-2.0
// A directory of a test, opened as a checkpoint.
#pragma once

#include <string>
#include <utility>

#include "engine/checkpoint/checkpoint.h"
#include "tests/catch.h"
#include "tests/engine/temp_dir.h"

namespace ferrule::test {

// What OpenCheckpoint says; empty when it is accepted without a word.
inline std::string Problem(const TempDir& directory) {
  Diagnostics diagnostics;
  const auto checkpoint = OpenCheckpoint(directory.path(), &diagnostics);
  CHECK(checkpoint.has_value() == !diagnostics.has_errors());
  return Lines(diagnostics, directory.path());
}

inline Checkpoint Open(const TempDir& directory) {
  Diagnostics diagnostics;
  auto checkpoint = OpenCheckpoint(directory.path(), &diagnostics);
  INFO(Lines(diagnostics, directory.path()));
  REQUIRE(checkpoint.has_value());
  return std::move(*checkpoint);
}

}  // namespace ferrule::test
