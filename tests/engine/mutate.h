// SPDX-License-Identifier: Apache-2.0
// Right files → wrong ones, at random from a seed: bits, bytes, lines, nesting, numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ferrule::test {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t operator()(size_t n) {
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<size_t>((state_ >> 33) % n);
  }
  template <typename T>
  const T& Of(const std::vector<T>& list) {
    return list[(*this)(list.size())];
  }

 private:
  uint64_t state_;
};

// `text` with one to three mistakes.
inline std::string Mutated(std::string text, Random& random) {
  static const std::vector<std::string> kWords = {"{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ":",
                                                  ",",
                                                  "'",
                                                  "\"",
                                                  "\\",
                                                  "#",
                                                  "&a ",
                                                  "*a",
                                                  "!!int ",
                                                  "<<: ",
                                                  "- ",
                                                  "\n",
                                                  "\t",
                                                  " ",
                                                  "~",
                                                  "null",
                                                  "true",
                                                  "no",
                                                  ".nan",
                                                  "%",
                                                  "|\n",
                                                  "---\n",
                                                  "...\n",
                                                  "<layer>",
                                                  "re:",
                                                  ".*",
                                                  "(",
                                                  ")",
                                                  "(?!a)",
                                                  "/",
                                                  "/ 0",
                                                  " - 1",
                                                  "==",
                                                  "not ",
                                                  "\\u0000",
                                                  "\\ud800",
                                                  std::string(1, '\0'),
                                                  "\x1b[31m",
                                                  "\xff",
                                                  "\xc3",
                                                  "\xef\xbb\xbf",
                                                  "e\xcc\x81"};
  static const std::vector<std::string> kNumbers = {"0",
                                                    "-1",
                                                    "1e9",
                                                    "1.5",
                                                    "010",
                                                    "0x80",
                                                    "1_000",
                                                    "65537",
                                                    "4294967296",
                                                    "1099511627777",
                                                    "9223372036854775807",
                                                    "9223372036854775808",
                                                    "18446744073709551616",
                                                    "1e999",
                                                    "NaN"};
  for (size_t n = 1 + random(3); n > 0; --n) {
    if (text.empty()) text = "x";
    const size_t at = random(text.size());
    const size_t line = text.rfind('\n', at) + 1;  // npos + 1 is 0
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    switch (random(12)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << random(8)));
        break;
      case 1:
      case 2:
        text.insert(at, random.Of(kWords));
        break;
      case 3:
        text.replace(at, 1 + random(3), random.Of(kWords));
        break;
      case 4:
        text.erase(at, 1 + random(8));
        break;
      case 5:
        if (random(4) == 0) text.resize(at);
        break;
      case 6: {  // a key, or a list item, that stands twice
        const std::string copy = text.substr(line, end - line);
        text.insert(line, copy);
        break;
      }
      case 7: {  // a line elsewhere
        const std::string moved = text.substr(line, end - line);
        text.erase(line, end - line);
        text.insert(text.empty() ? 0 : text.rfind('\n', random(text.size())) + 1, moved);
        break;
      }
      case 8: {
        const size_t depth = random.Of<size_t>({5, 33, 65, 2000});
        const char* const open = random(2) == 0 ? "[" : "{\"a\":";
        std::string nested;
        for (size_t i = 0; i < depth; ++i) nested += open;
        text.insert(at, nested + std::string(random(2) * depth, *open == '[' ? ']' : '}'));
        break;
      }
      case 9:
      case 10: {
        const size_t digit = text.find_first_of("0123456789", at);
        if (digit == std::string::npos) break;
        const size_t last = std::min(text.find_first_not_of("0123456789", digit), text.size());
        text.replace(digit, last - digit, random.Of(kNumbers));
        break;
      }
      case 11:
        text.insert(line, 1 + random(4), ' ');
        break;
    }
  }
  return text;
}

}  // namespace ferrule::test
