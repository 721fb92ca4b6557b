// SPDX-License-Identifier: Apache-2.0
// A checkpoint and an engine version → a skip list, or a map of fused modules, under which that
// engine decides as the checkpoint is stored.
//
//   Qwen3-Next for sglang@4323fce82: its table splits `in_proj_ba` into names that nothing stores,
//   so the list must hold those names too.
//
// Lists are tried from the nearest to the list as it is to the longest, each by emulating the
// engine on the patched config. Nothing is written that was not found right.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/plan/book.h"
#include "engine/runtimes/plan_as.h"

namespace ferrule {

struct ExportOptions {
  std::string dialect;   // empty: that of the checkpoint
  bool mapping = false;  // the map, with the list as it is
};

struct Export {
  std::string key;                   // of the list
  std::vector<std::string> entries;  // under it
  int64_t listed = 0;                // entries that the list had
  int64_t asked = 0;                 // modules of the engine that were compared
  std::string description;           // the patched object, one entry a line
  std::string compact;               // the same on one line
  std::string file, place;           // where it belongs: config.json, quantization_config
  FusedMap map;                      // with `mapping`
};

// Empty with findings when the engine does not describe the model, or no list makes it right.
// `planned`: what was found when `plan` was made.
std::optional<Export> ExportFor(const Book& book, const Runtime& runtime, const Plan& plan,
                                const Diagnostics& planned, const ExportOptions& options,
                                Diagnostics* out);

}  // namespace ferrule
