// SPDX-License-Identifier: Apache-2.0
// The fast ways with short texts against the plain ones, with nothing readable behind the text.
#include "engine/text/words.h"

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/catch.h"

using namespace ferrule;

namespace {

// A text at the very end of its memory, so that a sanitizer sees what is read beyond it.
struct Exact {
  explicit Exact(const std::string& text) : size(text.size()), bytes(new char[text.size()]) {
    text.copy(bytes.get(), size);
  }
  std::string_view view() const { return {bytes.get(), size}; }
  size_t size;
  std::unique_ptr<char[]> bytes;
};

}  // namespace

TEST_CASE("dots are found at every place of texts of every length") {
  std::mt19937 random(3);
  for (size_t length = 0; length < 80; ++length)
    for (int round = 0; round < 40; ++round) {
      std::string text(length, 'a');
      std::vector<size_t> expected;
      for (size_t i = 0; i < length; ++i) {
        text[i] = "..a-/\xAE\x2F_0"[random() % 9];
        if (text[i] == '.') expected.push_back(i);
      }
      const Exact exact(text);
      std::vector<size_t> found;
      CHECK(EachDot(exact.view(), [&](size_t at) {
        found.push_back(at);
        return true;
      }));
      CHECK(found == expected);
      if (expected.empty()) continue;
      const size_t stop = random() % expected.size();
      size_t seen = 0;
      CHECK_FALSE(EachDot(exact.view(), [&](size_t) { return seen++ < stop; }));
      CHECK(seen == stop + 1);
    }
}

TEST_CASE("a part of a text has the hash of its bytes, wherever it stands") {
  std::mt19937 random(4);
  for (size_t length = 0; length < 40; ++length)
    for (int round = 0; round < 20; ++round) {
      std::string part(length, ' ');
      for (char& c : part) c = static_cast<char>(random());
      const uint64_t hash = HashBytes(Exact(part).view());
      for (size_t before = 0; before < 10; ++before)
        for (size_t after = 0; after < 10; ++after) {
          const Exact text(std::string(before, 'x') + part + std::string(after, 'y'));
          REQUIRE(HashPart(text.view(), before, length) == hash);
        }
    }
}

TEST_CASE("texts of a few bytes have hashes of their own") {
  std::set<uint64_t> hashes;
  size_t texts = 0;
  const std::string letters("\0ab_09", 6);
  for (size_t length = 0; length <= 5; ++length) {
    std::string text(length, letters[0]);
    std::vector<size_t> digits(length, 0);
    for (bool more = true; more;) {
      for (size_t i = 0; i < length; ++i) text[i] = letters[digits[i]];
      hashes.insert(HashBytes(text));
      ++texts;
      more = false;
      for (size_t i = 0; i < length && !more; ++i) {
        digits[i] = (digits[i] + 1) % letters.size();
        more = digits[i] != 0;
      }
    }
  }
  for (size_t length = 6; length < 200; ++length, ++texts)
    hashes.insert(HashBytes(std::string(length, 'a')));
  CHECK(hashes.size() == texts);
}
