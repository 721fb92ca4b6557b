// SPDX-License-Identifier: Apache-2.0
// Lists that were made to cost time or memory: refused by what they would cost, before they do.
// Nothing here looks at a clock but the last case, which allows a hundred times what it takes.
#include <fmt/format.h>

#include <chrono>
#include <set>

#include "engine/lists/skip_list.h"
#include "engine/lists/skip_literals.h"
#include "engine/text/words.h"
#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::optional<SkipList> Compile(std::string_view dialect, const std::vector<std::string>& texts,
                                Diagnostics* out) {
  std::vector<ListEntry> entries;
  for (const std::string& text : texts) entries.push_back({text, {}});
  return SkipList::Compile(*DialectNamed(dialect), std::move(entries), {}, out);
}

// The first refusal, shortened to its first line.
std::string Refusal(std::string_view dialect, const std::vector<std::string>& texts) {
  Diagnostics out;
  if (Compile(dialect, texts, &out)) return "accepted";
  REQUIRE_FALSE(out.findings().empty());
  return CodeName(out.findings()[0].code) + ": " + out.findings()[0].message;
}

std::string Starting(std::string_view text, const std::string& whole) {
  return whole.substr(0, text.size());
}

// x with MixHash(x) == hash.
uint64_t Unmix(uint64_t hash) {
  uint64_t inverse = 1;  // of the multiplier, by Newton's steps
  for (int i = 0; i < 6; ++i) inverse *= 2 - kHashMultiplier * inverse;
  hash = hash ^ hash >> 29 ^ hash >> 58;
  hash *= inverse;
  return hash ^ hash >> 32;
}

// The eight bytes whose HashBytes is `hash`.
std::string BytesOf(uint64_t hash) {
  const uint64_t word = Unmix(hash) ^ 8 * kHashMultiplier;
  return {reinterpret_cast<const char*>(&word), 8};
}

}  // namespace

TEST_CASE("regular expressions that would blow up are refused with their size") {
  for (const std::string& pattern :
       {std::string("(a{1,1000}){1,1000}"), std::string("((a{1,100}){1,100}){1,100}"),
        std::string("(((((x{2}){9}){9}){9}){9}){9}"), std::string("(.{0,1000}){0,1000}y")}) {
    INFO(pattern);
    const std::string refusal = Refusal("compressed-tensors", {"re:" + pattern});
    CHECK((refusal.starts_with("FR201: ") || refusal.starts_with("FR203: ")));
    CHECK(refusal.find(pattern.substr(0, 12)) != std::string::npos);
  }
  CHECK(Starting("FR203: `[a-z]{900}",
                 Refusal("compressed-tensors", {"re:[a-z]{900}[0-9]{900}x{900}"})) ==
        "FR203: `[a-z]{900}");
  std::string words;
  for (int i = 0; i < 5'000; ++i) words += fmt::format("|layer{}", i);
  CHECK(Refusal("compressed-tensors", {"re:model\\.(x" + words + ")"}) ==
        fmt::format("FR203: a pattern of {} bytes; at most 512 are read", 10 + words.size()));
  CHECK(Refusal("compressed-tensors", {"re:" + std::string(10'000'000, 'a')}) ==
        "FR203: a pattern of 10000000 bytes; at most 512 are read");
}

TEST_CASE("thousands of patterns are refused after the first that is too many") {
  std::vector<std::string> many;
  for (int i = 0; i < 5'000; ++i) many.push_back(fmt::format("re:.*layers\\.{}\\..*", i));
  Diagnostics out;
  CHECK_FALSE(Compile("compressed-tensors", many, &out));
  REQUIRE(out.findings().size() == 1);
  CHECK(out.findings()[0].message == "more than 64 patterns in one list");
}

TEST_CASE("globs that a table cannot hold, and globs that begin each other, are counted") {
  std::vector<std::string> inner, nested, apart;
  for (int i = 0; i < 5'000; ++i) {
    inner.push_back(fmt::format("*.layers.{}.*", i));
    nested.push_back(std::string(static_cast<size_t>(i) + 1, 'a') + "*");
    apart.push_back(fmt::format("model.layers.{}.*", i));
  }
  CHECK(Refusal("mxfp4", inner) == "FR203: more than 512 entries that no table can hold");
  CHECK(Refusal("mxfp4", nested) == "FR203: more than 256 globs of the list begin each other");
  CHECK(Refusal("mxfp4", std::vector<std::string>(5'000, "a*")) ==
        "FR203: more than 256 globs of the list begin each other");
  CHECK(Refusal("mxfp4", apart) == "accepted");
}

TEST_CASE("an entry stands at most 256 times") {
  std::vector<std::string> again(256, "lm_head");
  CHECK(Refusal("fp8", again) == "accepted");
  again.emplace_back("lm_head.weight");  // which is read as the same
  CHECK(Refusal("fp8", again) ==
        "FR203: the entry `lm_head` stands more than 256 times in the list");
}

TEST_CASE("names that stand too often are one refusal each, however often") {
  std::vector<std::string> again(1001, "lm_head");
  again.insert(again.end(), 300, "head");
  Diagnostics out;
  CHECK_FALSE(Compile("fp8", again, &out));
  REQUIRE(out.findings().size() == 2);
  CHECK(out.findings()[0].facts[0].second == "300 of it");
  CHECK(out.findings()[1].facts[0].second == "1001 of it");
}

TEST_CASE("names made to share one hash are refused; without design they never do") {
  // Of two segments the second is chosen so that all have the hash of `target`.
  constexpr uint64_t kBase = 0x100000001B3u, kTarget = 0x123456789ABCDEF0u;
  std::vector<std::string> made;
  for (uint64_t i = 0; made.size() < 200; ++i) {
    const std::string first = fmt::format("s{:x}", i);
    const std::string second = BytesOf(kTarget - HashBytes(first) * kBase);
    CHECK(HashBytes(second) == kTarget - HashBytes(first) * kBase);
    if (second.find_first_of(std::string_view(".\0", 2)) == std::string::npos)
      made.push_back(first + "." + second);
  }
  CHECK(Starting("FR203: `s", Refusal("fp8", made)) == "FR203: `s");
  CHECK(Refusal("fp8", made).ends_with("and the entries before it share their hashes"));
  made.resize(100);
  CHECK(Refusal("fp8", made) == "accepted");
  std::vector<std::string> plain;
  for (int i = 0; i < 100'000; ++i) plain.push_back(fmt::format("model.layers.{}.mlp.gate", i));
  CHECK(Refusal("fp8", plain) == "accepted");
}

TEST_CASE("huge and very deep entries are kept, cost nothing and name nothing") {
  std::vector<std::string> entries = {std::string(10'000'000, 'a')};
  for (int i = 0; i < 20'000; ++i) entries.push_back(std::string(40, '.') + std::to_string(i));
  Diagnostics out;
  const auto start = std::chrono::steady_clock::now();
  const auto list = Compile("fp8", entries, &out);
  REQUIRE(list);
  for (int i = 0; i < 20'000; ++i) CHECK_FALSE(list->Match(fmt::format("model.layers.{}.x", i)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 20);  // seconds; comparing each with each would take minutes
}
