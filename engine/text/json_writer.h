// SPDX-License-Identifier: Apache-2.0
// JSON text, piece by piece, without building a tree: a plan may have 100,000 modules.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule {

// Calls must nest: every Begin has its End, every value in an object follows a Key. Text that is
// not UTF-8 is written with U+FFFD in the place of what is wrong.
class JsonWriter {
 public:
  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);
  JsonWriter& Text(std::string_view text);
  JsonWriter& Int(int64_t number);
  JsonWriter& Bool(bool flag) { return Raw(flag ? "true" : "false"); }
  JsonWriter& Null() { return Raw("null"); }
  // Text, or null when it is empty.
  JsonWriter& TextOrNull(std::string_view text) { return text.empty() ? Null() : Text(text); }
  JsonWriter& Ints(const std::vector<int64_t>& numbers);
  // A line break, so that long arrays have one element a line.
  JsonWriter& Line();

  const std::string& str() const { return out_; }
  std::string Take() { return std::move(out_); }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  JsonWriter& Raw(std::string_view text);
  void Comma();
  void Escape(std::string_view text);

  std::string out_;
  bool first_ = true;  // no value yet at this level
  bool after_key_ = false;
  bool line_ = false;  // a line break before the next value
};

}  // namespace ferrule
