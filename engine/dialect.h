// SPDX-License-Identifier: Apache-2.0
// A dialect file: how the quantization_config of one `quant_method` is written and meant.
//
//   rules/dialects/fp8.yaml → keys of the skip list, what its entries match, which schemes the
//   method has and how each stores weights and scales.
//
// C++ holds only the primitives that the file names: exact, ancestor, last-segments, regex-match,
// class-name; per: block | row | tensor; activation: group | token | tensor | static.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/rule_file.h"
#include "engine/safetensors.h"

namespace ferrule {

// How an entry of a list names a module.
enum class Primitive : uint8_t {
  kExact,         // the whole path
  kAncestor,      // the path or a container above it
  kLastSegments,  // the last whole segments of the path
  kRegexMatch,    // `re:` and a Python regular expression, anchored at the start (re.match)
  kClassName,     // the module's class; all linears are `Linear`
};
std::string_view PrimitiveName(Primitive primitive);

enum class Per : uint8_t { kTensor, kRow, kBlock };

struct StorageRule {
  std::string name;  // last segment of the tensor's name: weight, weight_scale_inv …
  std::vector<DType> dtypes;
  Per per = Per::kTensor;
  bool optional = false;
};

// How x is quantized before the product.
enum class Activation : uint8_t {
  kNone,    // not at all
  kGroup,   // one scale for each token and block of columns
  kToken,   // one scale for each token
  kTensor,  // one scale for all of x, computed from x
  kStatic,  // one scale for all of x, stored beside the weight
};
std::string_view ActivationName(Activation activation);

struct SchemeRule {
  std::optional<Dim> when;  // over quantization_config, or over a group of it
  std::string scheme;       // fp8_block, fp8_channel, fp8_tensor; other names are reported only
  std::string block_key;    // key with [rows, columns] of a block
  Activation activation = Activation::kNone;
  std::optional<Dim> power_of_two;  // activation scales are rounded up to a power of two
  std::optional<StorageRule> weight, scale, input;
  YamlPlace place;
};

struct AcceptRule {  // the values of a key that are understood; others are refused by name
  std::string key;
  std::vector<std::string> values;
  YamlPlace place;
};

struct Dialect {
  YamlFile yaml;
  std::string name;
  std::string sha256;
  std::vector<std::string> quant_methods;
  std::vector<std::string> list_keys;  // the first that is present; null counts as absent
  std::vector<std::string> strip;      // removed at the end of an entry, in this order
  std::string pattern_prefix;          // `re:`; empty when the dialect has no patterns
  std::vector<Primitive> match;
  std::string groups_key;   // config_groups; empty when the method has one scheme for all
  std::string targets_key;  // within a group
  std::vector<AcceptRule> accept;
  std::vector<SchemeRule> schemes;
};

std::shared_ptr<const Dialect> ParseDialect(std::string path, std::string text, Diagnostics* out);

}  // namespace ferrule
