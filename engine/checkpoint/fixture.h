// SPDX-License-Identifier: Apache-2.0
// tensors.json: the headers of a checkpoint without its weights (tests/fixtures/README.md).
#pragma once

#include "engine/checkpoint/safetensors.h"
#include "engine/text/diagnostics.h"
#include "engine/text/json.h"

namespace ferrule {

// Expands the name templates of `fixture` into `table`, which must be empty. Nothing is allocated
// for more than 2,000,000 tensors or 256 MiB of names. Adds findings and returns false when the
// fixture cannot be read; names that stand twice are found by NameTable.
bool ExpandFixture(const JsonValue& fixture, TensorTable* table, Diagnostics* diagnostics);

}  // namespace ferrule
