// SPDX-License-Identifier: Apache-2.0
// A dialect file: how the quantization_config of one `quant_method` is written and meant.
//
//   rules/dialects/fp8.yaml → keys of the skip list, what its entries match, which schemes the
//   method has and how each stores weights and scales.
//
// C++ holds only the primitives that the file names (rules/dialects/README.md describes the format
// for those who write it): how an entry names a module, per: block | row | tensor, activation:
// group | token | tensor | static, shapes as expressions.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "engine/rules/rule_file.h"

namespace ferrule {

// How an entry of a list names a module.
enum class Primitive : uint8_t {
  kExact,         // the whole path
  kAncestor,      // the path or a container above it; of globs too
  kLastSegments,  // the last whole segments of the path
  kSegments,      // whole segments that stand side by side anywhere in the path
  kGlob,          // * ? [seq] over the whole path; a star crosses dots (fnmatch)
  kSuffix,        // the end of the path, also inside a segment
  kSubstring,     // anywhere in the path, also inside segments
  kRegexMatch,    // a Python regular expression, anchored at the start (re.match)
  kRegexSearch,   // found anywhere (re.search)
  kRegexFull,     // the whole path (re.fullmatch)
  kClassName,     // the module's class; all linears are `Linear`
};
std::string_view PrimitiveName(Primitive primitive);

// How the entries of one list are written and what they name.
struct Matching {
  enum class Patterns : uint8_t {
    kNone,
    kPrefix,   // an entry with `prefix` is a regular expression
    kAll,      // every entry is
    kSpecial,  // an entry with a character of *+?^$()[]{}|\ is
  };
  std::vector<std::string> strip;  // removed at the end of an entry, in this order
  Patterns patterns = Patterns::kNone;
  std::string prefix;  // `re:`
  std::vector<Primitive> match;
  std::string dialect;  // its name, for messages

  bool Has(Primitive primitive) const;
  bool IsPattern(std::string_view entry) const;
};

enum class Per : uint8_t {
  kTensor,  // one element
  kRow,     // one for each row
  kBlock,   // one for each block
  kPlain,   // rows x columns, as the rule file says: of weights
  kShape,   // as `shape` says
  kAny,     // nothing is known
};

// One tensor that is stored for a linear.
struct StorageRule {
  std::string role;  // weight, scale, input, or more
  std::vector<std::string>
      names;  // behind the module's path: `weight_scale`; `_blocks` without dot
  std::vector<DType> dtypes;
  Per per = Per::kTensor;
  std::vector<Expr>
      shape;  // kShape: over rows, in, bits, group, groups; of one expert when stacked
  bool optional = false;
  const std::string& name() const { return names[0]; }
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
  std::optional<Dim> when;  // over quantization_config, or over a group or layer of it
  std::string scheme;       // fp8_block, fp8_channel, fp8_tensor; other names are reported only
  bool named = false;       // taken only where a rule file says `quantize: {as: …}`
  std::string block_key;    // key with [rows, columns] of a block
  std::optional<Dim> group, bits;  // columns with one scale; bits of a weight
  Activation activation = Activation::kNone;
  std::optional<Dim> power_of_two;   // activation scales are rounded up to a power of two
  std::vector<StorageRule> storage;  // empty: recognised, nothing known about its tensors
  YamlPlace place;

  const StorageRule* Role(std::string_view role) const;  // null when there is none
  const StorageRule* weight() const { return Role("weight"); }
  const StorageRule* scale() const { return Role("scale"); }
  const StorageRule* input() const { return Role("input"); }
};

struct AcceptRule {  // the values of a key that are understood; others are refused by name
  std::string key;
  std::vector<std::string> values;
  YamlPlace place;
};

// Where a description may stand: a file beside the weights and a dotted key in it.
struct PlaceRule {
  std::string file = "config.json";
  std::string key;  // empty: the whole file
};

// A list of what stays as it is.
struct SkipListRule {
  std::vector<std::string> keys;  // the first that is present; null counts as absent
  Matching names;
  bool leaves_base = false;  // what it names runs as if `layers` did not exist, not in BF16
};

// Names, each with what it is: an object like a group, or one word.
struct LayersRule {
  std::vector<std::string> keys;  // the first that is present; empty: the whole description
  Matching names;
  bool ordered = false;          // the first key that names a module decides, not the nearest
  std::string skips, quantizes;  // marks in front of a key: `-:` stays BF16, `+:` does not
  std::string only;              // keys that end otherwise are not names: `.weight`
  std::string word;              // a value that is one word is read under this name
  std::optional<Dim> skip;       // a value for which this holds: stays BF16
};

// A list of all that is quantized.
struct OnlyRule {
  std::vector<std::string> keys;
  Matching names;
  std::string split;  // a single text is cut here
};

enum class Section : uint8_t { kList, kOnly, kLayers, kGroups };
std::string_view SectionName(Section section);

struct ExpectRule {  // a key that some reader needs
  PlaceRule place;
  std::string without;  // what happens when it is absent
};

struct Dialect {
  YamlFile yaml;
  std::string name;
  std::string sha256;
  std::vector<std::string> quant_methods;
  std::optional<Dim> claims_when;     // beside the method
  std::optional<Dim> claims_unnamed;  // a description without quant_method is claimed when
  std::vector<PlaceRule> places;
  std::vector<Section> order;  // who is asked first
  SkipListRule list;
  std::vector<LayersRule> layers;
  std::optional<OnlyRule> only;
  std::string base_key;               // where the scheme of all others stands; empty: at the top
  std::string groups_key;             // config_groups; empty when the method has no groups
  std::string targets_key;            // within a group
  bool otherwise_bf16 = false;        // what nobody names stays BF16
  std::optional<Dim> otherwise_when;  // or only when this holds
  std::vector<AcceptRule> accept;
  std::vector<std::string> other;  // keys that decide nothing
  std::vector<ExpectRule> expect;
  std::vector<StorageRule> cache;  // scales of the KV cache, below any module
  std::vector<SchemeRule> schemes;

  // Every key at the top that is read or known to decide nothing.
  bool Knows(std::string_view key) const;
};

std::shared_ptr<const Dialect> ParseDialect(std::string path, std::string text, Diagnostics* out);

}  // namespace ferrule
