// SPDX-License-Identifier: Apache-2.0
// Headers of a checkpoint → the text of a tensors.json (tests/fixtures/README.md): the listing in a
// few kilobytes, so that decisions can be checked without weights.
#pragma once

#include <cstddef>
#include <string>

#include "engine/checkpoint/checkpoint.h"

namespace ferrule {

struct CaptureNotes {
  std::string model;  // "Qwen/Qwen3-Next-80B-A3B-Instruct-FP8"
  std::string note;   // free text, may be empty
};

struct CapturedListing {
  std::string json;
  size_t entries = 0;  // name templates in it
};

// Tensors of one dtype and shape whose names differ in their first number become one entry; where
// the second number runs from 0 without a gap it is counted, else each is an entry of its own.
// Equal tables give equal text, whatever the order of their files. INVARIANT:
// checkpoint.has_headers.
CapturedListing CaptureListing(const Checkpoint& checkpoint, const CaptureNotes& notes);

// Whether both hold the same names with the same dtypes and shapes. The first name that only one of
// them has, or that differs, goes to `difference`.
bool SameListing(const Checkpoint& a, const Checkpoint& b, std::string* difference);

}  // namespace ferrule
