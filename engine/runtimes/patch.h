// SPDX-License-Identifier: Apache-2.0
// A checkpoint whose config says something else: the same tensors under another skip list.
#pragma once

#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/lists/quant_source.h"

namespace ferrule {

struct ListPatch {
  std::string method;                // quant_method; empty: as it is
  std::string key;                   // under which the list stands
  std::vector<std::string> without;  // keys that are left out: other spellings of the list
  std::vector<std::string> entries;
};

// The description as a JSON object with the list in it. `wide`: one entry a line.
std::string PatchedDescription(const JsonValue& description, const ListPatch& patch, bool wide);

// Puts `text` in the place of a description of the checkpoint. False when it is not JSON or the
// description stands in no file of it.
bool PatchConfig(const JsonValue& description, const std::string& text, Checkpoint* checkpoint);

}  // namespace ferrule
