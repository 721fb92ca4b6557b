// SPDX-License-Identifier: Apache-2.0
#include "engine/text/json_writer.h"

#include <fmt/format.h>

#include "engine/text/source.h"

namespace ferrule {

void JsonWriter::Comma() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (!first_) out_ += ',';
  if (line_) out_ += '\n';
  line_ = false;
  first_ = false;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Comma();
  out_ += bracket;
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  if (line_) out_ += '\n';
  line_ = false;
  out_ += bracket;
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view text) {
  Comma();
  out_ += text;
  return *this;
}

JsonWriter& JsonWriter::Line() {
  line_ = true;
  return *this;
}

void JsonWriter::Escape(std::string_view text) {
  out_ += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7F) {
      out_ += fmt::format("\\u{:04x}", c);
    } else if (c < 0x80) {
      out_ += static_cast<char>(c);
    } else {
      size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
      if (i + length > text.size() || !IsUtf8(text.substr(i, length))) {
        out_ += "\xEF\xBF\xBD";
        continue;
      }
      out_ += text.substr(i, length);
      i += length - 1;
    }
  }
  out_ += '"';
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Comma();
  Escape(key);
  out_ += ':';
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::Text(std::string_view text) {
  Comma();
  Escape(text);
  return *this;
}

JsonWriter& JsonWriter::Int(int64_t number) { return Raw(fmt::format_int(number).c_str()); }

JsonWriter& JsonWriter::Ints(const std::vector<int64_t>& numbers) {
  BeginArray();
  for (const int64_t number : numbers) Int(number);
  return EndArray();
}

}  // namespace ferrule
