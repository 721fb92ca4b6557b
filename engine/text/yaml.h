// SPDX-License-Identifier: Apache-2.0
// Strict YAML: text → a tree in which every value knows its place. The only user of yaml-cpp.
//
// Read: mappings, lists, plain, quoted and block scalars, comments; one document.
// Refused with line and column: duplicate keys, anchors, aliases, merge keys, tags, second
// documents and trailing text, plain scalars over several lines (usually a slip of indentation),
// unterminated quotes, anything but UTF-8 without BOM and control characters, and files over the
// limits below. Scalars stay text: `no`, `010` or `1e3` are whatever the reader of a key makes of
// them (AsInt, AsBool), never YAML 1.1 booleans or octal numbers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/diagnostics.h"

namespace ferrule {

inline constexpr size_t kYamlMaxBytes = 1 << 20;
inline constexpr int kYamlMaxDepth = 32;
inline constexpr size_t kYamlMaxNodes = 100000;
inline constexpr size_t kYamlMaxString = 4096;

struct YamlPlace {
  int line = 0, column = 0, end_column = 0;  // from 1, in code points, end exclusive
};

struct YamlEntry;

struct YamlNode {
  enum class Kind : uint8_t { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  bool plain = false;  // a scalar without quotes
  bool flow = false;   // a list or map in brackets or braces
  std::string text;    // of a scalar
  YamlPlace place;
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in file order

  bool is_map() const { return kind == Kind::kMap; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  // Value of `key` in a map, null when absent.
  const YamlNode* Find(std::string_view key) const;
  // Where `key` itself stands; the place of the map when it is absent.
  YamlPlace KeyPlace(std::string_view key) const;
};

struct YamlEntry {
  std::string key;
  YamlPlace key_place;
  YamlNode value;
};

struct YamlFile {
  std::shared_ptr<const Source> source;
  YamlNode root;
  Location At(const YamlPlace& place) const;
  Location At(const YamlNode& node) const { return At(node.place); }
};

// Reads `text`; empty with findings in `out` when it is not acceptable. `path` is for messages.
std::optional<YamlFile> ParseYaml(std::string path, std::string text, Diagnostics* out);

// Typed access for the readers of rule, dialect and runtime files. Every function adds a finding
// that names `what` and the place when the value is of another kind.
class YamlReader {
 public:
  YamlReader(const YamlFile& file, Diagnostics* out) : file_(file), out_(out) {}

  const YamlFile& file() const { return file_; }
  Diagnostics* out() const { return out_; }
  Location At(const YamlPlace& place) const { return file_.At(place); }
  Location At(const YamlNode& node) const { return file_.At(node); }

  // Integers: 0 or a digit 1-9 and digits, at most 2^63-1. No sign, underscore, hex or float.
  bool AsInt(const YamlNode& node, std::string_view what, int64_t* value) const;
  // true or false, without quotes.
  bool AsBool(const YamlNode& node, std::string_view what, bool* value) const;
  bool AsText(const YamlNode& node, std::string_view what, std::string* value) const;
  // One of `words`; its position in `at`.
  bool AsWord(const YamlNode& node, std::string_view what, std::span<const std::string_view> words,
              size_t* at) const;
  // A scalar or a list of scalars.
  bool AsTexts(const YamlNode& node, std::string_view what, std::vector<std::string>* value) const;
  bool IsMap(const YamlNode& node, std::string_view what) const;
  bool IsList(const YamlNode& node, std::string_view what) const;
  // Reports every key of `map` that is not among `known`, with the nearest known one.
  bool KnownKeys(const YamlNode& map, std::string_view what,
                 std::initializer_list<std::string_view> known) const;
  // Value of a required key; null with a finding when it is missing.
  const YamlNode* Require(const YamlNode& map, std::string_view what, std::string_view key) const;
  // "a list", "a mapping", "the text `x`", "empty".
  static std::string Describe(const YamlNode& node);
  // "`what` must be `expected`, not …"; always false.
  bool WrongType(const YamlNode& node, std::string_view what, std::string_view expected) const;

 private:
  const YamlFile& file_;
  Diagnostics* out_;
};

}  // namespace ferrule
