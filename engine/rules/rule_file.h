// SPDX-License-Identifier: Apache-2.0
// A rule file: YAML text → a module tree with every key checked. Nothing is evaluated here.
//
// rules/README.md describes the format for those who write it; the names below are its keys.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/expr.h"
#include "engine/text/yaml.h"

namespace ferrule {

inline constexpr int64_t kRuleFormat = 1;  // the newest `ferrule: n` that this reader knows

// An integer or condition: the first alternative that config.json can answer.
struct Dim {
  std::vector<Expr> alternatives;
  YamlPlace place;
  std::string Text() const;  // as written, alternatives joined by " | "
  bool Uses(std::string_view name) const;
};

struct When {
  std::string condition;
  bool negated = false;
  YamlPlace place;
};

// One piece of a path: a text, or a placeholder with the name of an index.
struct Segment {
  std::string text;
  bool placeholder = false;
};

enum class NodeKind : uint8_t { kTree, kUse, kRows, kUnified, kFused, kWeight, kParam };
enum class Split : uint8_t { kNone, kColumn, kRow };
enum class Quantize : uint8_t { kDefault, kNever, kNamed };

inline bool IsLinear(NodeKind kind) {
  return kind == NodeKind::kRows || kind == NodeKind::kUnified;
}
std::string_view SplitName(Split split);
std::string_view KindName(NodeKind kind);

struct SliceRule {
  std::string name;
  Dim rows;                // of one group when `per`, else of the slice
  std::optional<Dim> per;  // this slice alone repeats
  bool replicate = false;
  YamlPlace place;
};

struct NamedText {
  std::string name, text;
  YamlPlace place;
};

struct RuleNode {
  std::vector<Segment> segments;  // of the key; empty for an alternative of `either`
  NodeKind kind = NodeKind::kTree;
  YamlPlace place;  // of the key
  YamlPlace value_place;

  std::optional<When> when;
  Quantize quantize = Quantize::kDefault;
  std::string quantize_as;            // a scheme of the dialect …
  std::optional<When> quantize_when;  // … where this holds
  std::vector<NamedText> differs;     // model_type → sentence

  // kTree, kUse
  std::vector<RuleNode> children;
  std::vector<RuleNode> either;
  std::vector<NamedText> renames;  // model_type → path
  bool draft = false;              // layers that engines build as a model of their own
  std::string use;
  YamlPlace use_place;
  std::vector<std::pair<std::string, Dim>> with;

  // kRows, kUnified
  std::optional<Dim> rows, per, stack, groups;
  std::vector<SliceRule> slices;
  std::optional<Dim> in;
  Split split = Split::kNone;
  bool replicate = false, scales_per_group = false, suffix = true, optional = false;
  // Of a stack: stored as [stack, in, rows]; with `transposed_either` in some releases.
  bool transposed = false, transposed_either = false;
  bool bias = false;
  std::optional<When> bias_when;  // with `bias: condition`
  std::optional<When> same_when;
  std::string same_as;
  YamlPlace same_place;

  // kFused
  std::vector<NamedText> parts;
  bool mixed_apart = false;

  // kWeight, kParam
  std::vector<Dim> dims;
};

struct IndexRule {
  std::string name;
  std::optional<Dim> from;
  Dim count;
  YamlPlace place;
};

struct RuleFile {
  YamlFile yaml;
  std::string path;
  std::string sha256;  // of the text
  std::vector<std::string> model_types;
  std::string about;
  std::string config_section;
  std::vector<std::string> verified;
  std::vector<NamedText> unverified;  // model_type (empty: the whole file) → sentence
  std::vector<std::pair<std::string, Dim>> dims;
  std::vector<IndexRule> indices;
  std::vector<std::pair<std::string, Dim>> conditions;
  RuleNode root;
  std::vector<std::pair<std::string, RuleNode>> shapes;
  std::vector<std::vector<Segment>> leftovers;
  std::string example_json;  // the `example:` mapping as JSON text
  // False when findings at error level were added although the tree is complete, for example an
  // undeclared part. Such a file may be examined against a checkpoint, never used for a plan.
  bool sound = true;

  Location At(const YamlPlace& place) const { return yaml.At(place); }
};

enum class Tests : uint8_t {
  kRead,   // and their YAML checked
  kLeave,  // where they are plainly the last key of the file: a plan has no use for them
};

// Reads and checks one file. Null when there is no complete tree; findings in `out`.
std::shared_ptr<const RuleFile> ParseRuleFile(std::string path, std::string text, Diagnostics* out,
                                              Tests tests = Tests::kRead);

// Checks within one file that need the whole tree (names, parts, unused definitions). Called by
// ParseRuleFile. kEndless: shapes use each other without end, or unfold to more than the limit, so
// that nothing may walk the tree.
enum class Soundness : uint8_t { kSound, kUnsound, kEndless };
Soundness CheckRuleFile(const RuleFile& file, Diagnostics* out);

// "a.b.<layer>.c" → segments; a finding when a segment is neither a word nor a placeholder.
bool ParsePath(const YamlReader& reader, const YamlPlace& place, std::string_view text,
               std::vector<Segment>* segments);
std::string PathText(const std::vector<Segment>& segments);

// A YAML mapping as JSON text: plain numbers, true and false as such, all else as strings.
std::string YamlToJson(const YamlNode& node);

// SHA-256 as 64 hexadecimal digits.
std::string Sha256(std::string_view bytes);

}  // namespace ferrule
