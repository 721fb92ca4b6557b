// SPDX-License-Identifier: Apache-2.0
// The test that an engine makes of a block-quantized layer's sizes before it reads any weight:
// which sizes of one rank must be whole blocks, and when it looks at them at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/text/yaml.h"

namespace ferrule {

enum class BlockSize : uint8_t { kColumns, kParts, kPartsButLast, kInner };
enum class BlockWhen : uint8_t { kCutRows, kCutColumns, kSeveralParts, kTp };

struct BlockRule {
  BlockSize size = BlockSize::kParts;
  bool by_columns = false;      // whole blocks of the weight's columns, else of its rows
  std::vector<BlockWhen> when;  // any of these; empty: always
  std::string message;          // the engine's, with {size} and {block}
};

struct BlockCheck {
  std::vector<BlockRule> linear, experts;
};

// A layer as the engine's constructor gets it.
struct BlockShape {
  int64_t tp = 1;  // of the layer's own group
  int64_t columns = 0, columns_per_rank = 0, rows = 0, rows_per_rank = 0;
  std::vector<int64_t> parts;  // rows of one rank
  int64_t inner = 0;           // of experts: rows of gate and up on one rank
  bool experts = false;
  bool allowed = false;  // the model asked for no check
  int64_t block_rows = 0, block_columns = 0;
};

bool ReadBlockCheck(const YamlReader& reader, const YamlNode& node, BlockCheck* out);

// What the engine raises, or nothing. INVARIANT: block sizes and sizes of one rank are positive.
std::optional<std::string> Refusal(const BlockCheck& check, const BlockShape& shape);

}  // namespace ferrule
