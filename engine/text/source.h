// SPDX-License-Identifier: Apache-2.0
// Text of a file and places in it. Lines and columns count from 1; columns count code points.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule {

class Source {
 public:
  Source(std::string path, std::string text);
  const std::string& path() const { return path_; }
  const std::string& text() const { return text_; }
  int lines() const { return static_cast<int>(line_begin_.size()); }
  // Line `line` (from 1) without its end; empty when there is no such line.
  std::string_view Line(int line) const;
  // Byte offset of (line, byte column from 0), clamped to the text.
  size_t Offset(int line, int byte_column) const;

 private:
  std::string path_;
  std::string text_;
  std::vector<size_t> line_begin_;
};

// A place: in a text (line, column, end_column exclusive) or, in JSON, a pointer such as
// `/quantization_config/ignore/3`. An empty path means no place is known.
struct Location {
  std::shared_ptr<const Source> source;  // null when only the path is known
  std::string path;
  int line = 0;  // 0: the file as a whole
  int column = 0;
  int end_column = 0;
  std::string pointer;

  // "path:line:column", "path:line", "path#pointer" or "path".
  std::string ToString() const;
};

// Text of untrusted names made safe to print: control characters, ESC and invalid UTF-8 as \xNN.
std::string Printable(std::string_view text);
// `text` within backticks, printable and cut to `limit` bytes.
std::string Quoted(std::string_view text, size_t limit = 120);
// True for well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
bool IsUtf8(std::string_view text);
// `text` broken at spaces into lines of at most `width` columns, further lines after `indent`
// spaces. A word that is longer stays whole.
std::string Wrapped(std::string_view text, size_t width, size_t indent);
// Columns that UTF-8 takes, combining characters aside.
size_t CodePoints(std::string_view text);
// The name among `known` that was most likely meant: edit distance at most 2 and less than half of
// the name; empty when there is none.
std::string NearestName(std::string_view name, const std::vector<std::string>& known);
// Levenshtein distance with neighbouring swaps, at most `limit` + 1.
int EditDistance(std::string_view a, std::string_view b, int limit);

}  // namespace ferrule
