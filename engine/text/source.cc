// SPDX-License-Identifier: Apache-2.0
#include "engine/text/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace ferrule {
namespace {

// Length of the well-formed UTF-8 sequence at `at`, 0 when there is none (Unicode 15, table 3-7).
size_t Utf8Length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<uint8_t>(text[at + i]) : uint8_t{0};
  };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool second = lead == 0xE0   ? byte(1) >= 0xA0 && byte(1) <= 0xBF
                        : lead == 0xED ? byte(1) >= 0x80 && byte(1) <= 0x9F
                                       : tail(1);
    return second && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool second = lead == 0xF0   ? byte(1) >= 0x90 && byte(1) <= 0xBF
                        : lead == 0xF4 ? byte(1) >= 0x80 && byte(1) <= 0x8F
                                       : tail(1);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

Source::Source(std::string path, std::string text)
    : path_(std::move(path)), text_(std::move(text)) {
  line_begin_.push_back(0);
  for (size_t i = 0; i < text_.size(); ++i)
    if (text_[i] == '\n') line_begin_.push_back(i + 1);
}

std::string_view Source::Line(int line) const {
  if (line < 1 || line > lines()) return {};
  const size_t begin = line_begin_[static_cast<size_t>(line) - 1];
  size_t end = line < lines() ? line_begin_[static_cast<size_t>(line)] - 1 : text_.size();
  if (end > begin && text_[end - 1] == '\r') --end;
  return std::string_view(text_).substr(begin, end - begin);
}

size_t Source::Offset(int line, int byte_column) const {
  if (line < 1) return 0;
  if (line > lines()) return text_.size();
  return std::min(text_.size(), line_begin_[static_cast<size_t>(line) - 1] +
                                    static_cast<size_t>(std::max(0, byte_column)));
}

std::string Location::ToString() const {
  std::string out = Printable(path);
  if (!pointer.empty()) return out + "#" + Printable(pointer);
  if (line > 0) out += fmt::format(":{}", line);
  if (line > 0 && column > 0) out += fmt::format(":{}", column);
  return out;
}

bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

size_t CodePoints(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// `text` broken at spaces into lines of at most `width` columns, further lines indented by
// `indent`.
std::string Wrapped(std::string_view text, size_t width, size_t indent) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    const size_t size = CodePoints(word);
    if (column > 0 && column + 1 + size > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += size;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const uint8_t byte = static_cast<uint8_t>(text[at]);
    const size_t length = Utf8Length(text, at);
    // C1 control characters are two bytes in UTF-8: C2 80 … C2 9F.
    const bool c1 = length == 2 && byte == 0xC2 && static_cast<uint8_t>(text[at + 1]) < 0xA0;
    if (length == 0 || byte < 0x20 || byte == 0x7F || c1) {
      out += fmt::format("\\x{:02x}", byte);
      ++at;
    } else {
      out.append(text.substr(at, length));
      at += length;
    }
  }
  return out;
}

std::string Quoted(std::string_view text, size_t limit) {
  if (text.size() <= limit) return "`" + Printable(text) + "`";
  size_t cut = limit;
  while (cut > 0 && (static_cast<uint8_t>(text[cut]) & 0xC0) == 0x80) --cut;
  return "`" + Printable(text.substr(0, cut)) + "…`";
}

int EditDistance(std::string_view a, std::string_view b, int limit) {
  const int n = static_cast<int>(a.size());
  const int m = static_cast<int>(b.size());
  if (std::abs(n - m) > limit) return limit + 1;
  std::vector<int> before(static_cast<size_t>(m) + 1), previous(before), current(before);
  for (int j = 0; j <= m; ++j) previous[static_cast<size_t>(j)] = j;
  for (int i = 1; i <= n; ++i) {
    current[0] = i;
    int smallest = i;
    for (int j = 1; j <= m; ++j) {
      const size_t at = static_cast<size_t>(j);
      const int same = a[static_cast<size_t>(i) - 1] == b[at - 1] ? 0 : 1;
      current[at] = std::min({previous[at] + 1, current[at - 1] + 1, previous[at - 1] + same});
      if (i > 1 && j > 1 && a[static_cast<size_t>(i) - 1] == b[at - 2] &&
          a[static_cast<size_t>(i) - 2] == b[at - 1])
        current[at] = std::min(current[at], before[at - 2] + 1);
      smallest = std::min(smallest, current[at]);
    }
    if (smallest > limit) return limit + 1;
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return std::min(previous[static_cast<size_t>(m)], limit + 1);
}

std::string NearestName(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  int distance = std::min(2, static_cast<int>((name.size() - (name.empty() ? 0 : 1)) / 2));
  for (const std::string& candidate : known) {
    const int d = EditDistance(name, candidate, distance);
    if (d <= distance && (best.empty() || d < distance)) {
      best = candidate;
      distance = d;
    }
  }
  return best;
}

}  // namespace ferrule
