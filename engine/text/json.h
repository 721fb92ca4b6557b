// SPDX-License-Identifier: Apache-2.0
// config.json and its kind as an immutable tree in which every value knows its place.
//
//   const std::optional<JsonValue> config = ParseJson("m/config.json", text, {}, &diagnostics);
//   const JsonValue list = config->Find("quantization_config").Find("ignore");
//   if (!list) …                                          // no such key, on either level
//   for (const JsonValue entry : list) entry.AsString();  // elements, or an object's values
//   diagnostics.Add(code, "…", list[3].location());       //
//   m/config.json#/quantization_config/ignore/3
//
// Reading is strict, because readers that differ decide differently: duplicate names (compared
// after unescaping), NaN and Infinity, comments, text after the value, a byte-order mark, invalid
// UTF-8, lone surrogates and integers beyond 64 bits are refused. This is the only user of
// simdjson.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/text/diagnostics.h"

namespace ferrule {

struct JsonLimits {
  size_t bytes = size_t{16} << 20;
  size_t depth = 64;  // an array or object at the top has depth 1
  // Infinity and -Infinity, which are not JSON, are null: Python writes them into config.json, and
  // no decision reads an infinite number. NaN stays refused.
  bool infinity_is_null = false;
};

enum class JsonKind : uint8_t {
  kMissing,  // no such value: what Find and [] return for what is not there
  kNull,
  kBool,
  kInt,     // -2^63 … 2^63-1
  kUint,    // 2^63 … 2^64-1
  kDouble,  // written with a point or exponent, also `1.0`
  kString,
  kArray,
  kObject,
};

// "a list", "an object", "text", "a whole number" …: for messages.
std::string_view JsonKindName(JsonKind kind);

// A value of a document: cheap to copy, keeps its document alive, safe to read from many threads.
class JsonValue {
 public:
  JsonValue() = default;
  explicit operator bool() const { return kind() != JsonKind::kMissing; }
  JsonKind kind() const;
  bool is_null() const { return kind() == JsonKind::kNull; }
  bool is_string() const { return kind() == JsonKind::kString; }
  bool is_array() const { return kind() == JsonKind::kArray; }
  bool is_object() const { return kind() == JsonKind::kObject; }

  // The value, or nothing when it is of another kind. AsInt reads kInt only (so no `1.0`, no
  // `true`); AsNumber reads kInt, kUint and kDouble.
  std::optional<bool> AsBool() const;
  std::optional<int64_t> AsInt() const;
  std::optional<uint64_t> AsUint() const;  // kUint, and kInt from 0
  std::optional<double> AsNumber() const;
  std::optional<std::string_view> AsString() const;
  // The text of a string, else `otherwise`.
  std::string_view Text(std::string_view otherwise = {}) const;

  // Elements of an array or members of an object in file order; 0 for other kinds.
  size_t size() const;
  JsonValue operator[](size_t i) const;  // missing when out of range
  // Member `name` of an object; missing when there is none or this is no object.
  JsonValue Find(std::string_view name) const;
  // The name under which this value stands in an object; empty at the top and in arrays.
  std::string_view name() const;
  // Its position in the array or object.
  size_t index() const;

  class Iterator;
  Iterator begin() const;
  Iterator end() const;

  // RFC 6901: "/quantization_config/ignore/3"; empty at the top.
  std::string pointer() const;
  // {path, pointer}, for findings. Of a missing value: the path alone when known.
  Location location() const;
  const std::string& path() const;

  // As compact JSON, names in file order; doubles with as many digits as they need.
  std::string ToString() const;
  // Equal kinds and contents; objects regardless of order; 1 and 1.0 differ.
  friend bool operator==(const JsonValue& a, const JsonValue& b);

  struct Document;

 private:
  friend class JsonBuilder;
  JsonValue(std::shared_ptr<const Document> document, uint32_t node)
      : document_(std::move(document)), node_(node) {}

  static constexpr uint32_t kNoNode = UINT32_MAX;
  std::shared_ptr<const Document> document_;
  uint32_t node_ = kNoNode;
};

class JsonValue::Iterator {
 public:
  Iterator(JsonValue of, size_t at) : of_(std::move(of)), at_(at) {}
  JsonValue operator*() const { return of_[at_]; }
  Iterator& operator++() {
    ++at_;
    return *this;
  }
  bool operator!=(const Iterator& other) const { return at_ != other.at_; }
  bool operator==(const Iterator& other) const { return at_ == other.at_; }

 private:
  JsonValue of_;
  size_t at_;
};

inline JsonValue::Iterator JsonValue::begin() const { return {*this, 0}; }
inline JsonValue::Iterator JsonValue::end() const { return {*this, size()}; }

// `path` is for messages only. Adds one finding (FR701 … FR703) and returns nothing when the text
// is not one JSON value within the limits.
std::optional<JsonValue> ParseJson(const std::string& path, std::string_view text,
                                   const JsonLimits& limits, Diagnostics* diagnostics);

// `text` in quotes, escaped; it must be UTF-8.
std::string JsonText(std::string_view text);
// "a/b~c" as one step of a pointer: "/a~1b~0c".
std::string JsonPointerStep(std::string_view name);

}  // namespace ferrule
