// SPDX-License-Identifier: Apache-2.0
// How a JSON document is kept: between json_parse.cc, which builds it, and json.cc, which reads it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/arena.h"
#include "engine/text/json.h"

namespace ferrule {

struct JsonRange {
  uint32_t first, count;
};

struct JsonNode {
  JsonKind kind = JsonKind::kNull;
  uint32_t parent = UINT32_MAX;
  uint32_t index = 0;
  std::string_view name;
  union {
    bool boolean;
    int64_t integer;
    uint64_t natural;
    double real;
    JsonRange children;  // in Document::children; objects have their order by name behind it
  };
  std::string_view text;

  JsonNode() : natural(0) {}
};

struct JsonValue::Document {
  std::string path;
  Arena texts;
  std::vector<JsonNode> nodes;  // the first is the top
  std::vector<uint32_t> children;
};

}  // namespace ferrule
