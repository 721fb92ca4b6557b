// SPDX-License-Identifier: Apache-2.0
// The compiled list against a slow matcher that is obviously right, on a small world looked at
// whole and on random lists.
#include "engine/lists/skip_list.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::vector<std::string> Segments(const std::string& name) {
  std::vector<std::string> out(1);
  for (const char c : name) {
    if (c == '.')
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

// How a plain entry names a path, -1 when it does not: 0 exact, 1 ancestor, 2 last segments.
int How(const std::string& entry, const std::string& path) {
  const std::vector<std::string> e = Segments(entry), p = Segments(path);
  if (e == p) return 0;
  if (e.size() >= p.size()) return -1;
  if (std::equal(e.begin(), e.end(), p.begin())) return 1;
  return std::equal(e.rbegin(), e.rend(), p.rbegin()) ? 2 : -1;
}

std::string Stripped(std::string entry) {
  for (const std::string end : {".weight", "."})
    if (entry.size() > end.size() && entry.ends_with(end)) entry.resize(entry.size() - end.size());
  return entry;
}

SkipList Compiled(std::string_view dialect, const std::vector<std::string>& entries) {
  std::vector<ListEntry> list;
  for (const std::string& entry : entries) list.push_back({entry, {}});
  Diagnostics out;
  auto compiled = SkipList::Compile(*DialectNamed(dialect), std::move(list), {}, &out);
  INFO(ToHuman(out, false));
  REQUIRE(compiled);
  return std::move(*compiled);
}

// All answers of `list` about `path` against the oracle. Entries are those that were compiled.
bool Agrees(const SkipList& list, const std::vector<std::string>& entries,
            const std::string& path) {
  std::vector<std::pair<int, int>> expected;  // (how, entry), best first
  for (size_t i = 0; i < entries.size(); ++i) {
    const int how = How(Stripped(entries[i]), path);
    if (how >= 0) expected.emplace_back(how, static_cast<int>(i));
  }
  std::vector<Hit> hits;
  list.MatchAll(path, &hits);
  std::vector<std::pair<int, int>> all;  // an entry may name `a.b.a` as its root and as its end
  for (const Hit& hit : hits)
    if (std::none_of(all.begin(), all.end(), [&](auto& one) { return one.second == hit.entry; }))
      all.emplace_back(static_cast<int>(hit.how), hit.entry);
  std::vector<std::pair<int, int>> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  std::sort(expected.begin(), expected.end());
  if (sorted != expected) return false;
  const Hit best = list.Match(path), literal = list.MatchLiteral(path);
  if (expected.empty()) return !best && !literal;
  return best && literal && best.entry == literal.entry && all[0].second == best.entry &&
         static_cast<int>(best.how) == expected[0].first;
}

}  // namespace

TEST_CASE("the small world: every name of up to four segments under random lists") {
  const std::vector<std::string> words = {"mlp", "gate", "gate_proj", "layers", "1", "10"};
  std::vector<std::string> names, shorter = {""};
  for (int length = 1; length <= 4; ++length) {
    std::vector<std::string> longer;
    for (const std::string& name : shorter)
      for (const std::string& word : words)
        longer.push_back(name.empty() ? word : name + "." + word);
    names.insert(names.end(), longer.begin(), longer.end());
    shorter = std::move(longer);
  }
  REQUIRE(names.size() == 6 + 36 + 216 + 1296);
  std::mt19937 random(3);
  // Short names are as likely as long ones, so that lists hit something.
  const auto entry = [&] {
    const size_t ends[] = {6, 42, 258, 1554};
    std::string name = names[random() % ends[random() % 4]];
    if (random() % 8 == 0) name += ".";
    if (random() % 8 == 0) name += ".weight";
    return name;
  };
  size_t wrong = 0, hits = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::string> entries(random() % 4);
    for (std::string& text : entries) text = entry();
    const SkipList list = Compiled("fp8", entries);
    for (const std::string& name : names) {
      if (!Agrees(list, entries, name)) ++wrong;
      hits += list.Match(name) ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
  CHECK(hits > 10'000);
}

TEST_CASE("every list of one entry") {
  const std::vector<std::string> words = {"mlp", "gate", "gate_proj", "layers", "1", "10"};
  std::vector<std::string> names = words;
  for (size_t i = 0; names.size() < 258; ++i)
    for (const std::string& word : words) names.push_back(names[i] + "." + word);
  size_t wrong = 0;
  for (const std::string& entry : names) {
    const SkipList list = Compiled("fp8", {entry});
    for (const std::string& name : names)
      if (!Agrees(list, {entry}, name)) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("an entry names whole segments") {
  struct Row {
    const char *entry, *path;
    bool named;
  };
  const std::vector<Row> rows = {
      {"mlp.gate", "model.layers.0.mlp.gate", true},
      {"mlp.gate", "model.layers.0.mlp.gate_up_proj", false},
      {"mlp.gate", "model.layers.0.mlp.gate_proj", false},
      {"mlp.gate", "model.layers.0.xmlp.gate", false},
      {"gate", "model.layers.0.mlp.shared_expert_gate", false},
      {"model.layers.1", "model.layers.1.mlp.up_proj", true},
      {"model.layers.1", "model.layers.10.mlp.up_proj", false},
      {"model.layers.1.", "model.layers.1.mlp.up_proj", true},
      {"model.layers.1.", "model.layers.10.mlp.up_proj", false},
      {"layers.1", "model.layers.1.mlp", false},  // neither the beginning nor the end
      {"layers.1", "model.layers.1", true},
      {"lm_head", "lm_head", true},
      {"lm_head", "language_model.lm_head", true},
      {"lm_head", "lm_head.x", true},
      {"lm_head.weight", "lm_head", true},
      {"model.layers.0.mlp.gate.weight", "model.layers.0.mlp.gate", true},
      {"gate_proj", "model.gate_proj.up_proj", false},  // the word earlier in the path
      {"gate_proj", "gate_proj.x.gate_proj", true},
      {"a.a", "a.a.a", true},
      {"Mlp.Gate", "model.layers.0.mlp.gate", false},
      {"*.mlp.gate", "model.layers.0.mlp.gate", false},
      {"mlp_gate", "mlp.gate", false},
      {"5.attention.g_proj", "model.layers.5.attention.g_proj", true},
      {"5.attention.g_proj", "model.layers.15.attention.g_proj", false},
  };
  for (const Row& row : rows) {
    INFO(row.entry << " and " << row.path);
    CHECK(bool(Compiled("fp8", {row.entry}).Match(row.path)) == row.named);
  }
}

TEST_CASE("the best entry: exact, then the nearest container, then the longest end") {
  const std::vector<std::string> entries = {"up_proj", "mlp.up_proj", "model", "model.layers.0",
                                            "model.layers.0.mlp.up_proj"};
  const SkipList list = Compiled("fp8", entries);
  const Hit exact = list.Match("model.layers.0.mlp.up_proj");
  CHECK(exact.entry == 4);
  CHECK(exact.how == Primitive::kExact);
  const Hit above = list.Match("model.layers.0.mlp.x.up_proj");
  CHECK(above.entry == 3);
  CHECK(above.how == Primitive::kAncestor);
  const Hit last = list.Match("mtp.mlp.up_proj");
  CHECK(last.entry == 1);
  CHECK(last.how == Primitive::kLastSegments);
  std::vector<Hit> all;
  list.MatchAll("model.layers.0.mlp.up_proj", &all);
  CHECK(all.size() == 5);
}

TEST_CASE("neither order nor repetition changes a verdict") {
  std::mt19937 random(5);
  const std::vector<std::string> pool = {"lm_head",   "mlp.gate",    "model.layers.1",
                                         "layers.1.", "gate.weight", "up_proj",
                                         "model",     "experts",     "model.layers.1.mlp.gate"};
  const std::vector<std::string> paths = {"lm_head",
                                          "model.layers.1.mlp.gate",
                                          "model.layers.10.mlp.gate",
                                          "mtp.layers.0.mlp.experts.3.up_proj",
                                          "model.layers.1",
                                          "visual.x",
                                          "model.norm",
                                          "mtp.experts"};
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> entries;
    for (size_t n = 1 + random() % 4; n > 0; --n) entries.push_back(pool[random() % pool.size()]);
    std::vector<std::string> changed = entries;
    changed.insert(changed.end(), entries.begin(), entries.end());
    std::shuffle(changed.begin(), changed.end(), random);
    const SkipList a = Compiled("fp8", entries), b = Compiled("fp8", changed);
    for (const std::string& path : paths) {
      const Hit one = a.Match(path), two = b.Match(path);
      CHECK(bool(one) == bool(two));
      if (one && two) {
        CHECK(one.how == two.how);
        CHECK(a.name(static_cast<size_t>(one.entry)) == b.name(static_cast<size_t>(two.entry)));
      }
    }
  }
}

TEST_CASE(
    "compressed-tensors: containers and short names name nothing, patterns start at the start") {
  const SkipList list = Compiled("compressed-tensors",
                                 {"model.layers.0.mlp", "lm_head", "re:.*v_proj", "re:visual.*"});
  CHECK(list.Match("model.layers.0.mlp").how == Primitive::kExact);
  CHECK_FALSE(list.Match("model.layers.0.mlp.up_proj"));
  CHECK(list.Match("lm_head"));
  CHECK_FALSE(list.Match("language_model.lm_head"));
  CHECK(list.Match("model.layers.0.self_attn.v_proj").entry == 2);
  CHECK(list.Match("visual.blocks.0").entry == 3);
  CHECK_FALSE(list.Match("model.visual.blocks.0"));
  CHECK_FALSE(list.Match("x\nv_proj"));  // `.` is no newline, in Python too
}

TEST_CASE("a fused name is never caught by a pattern or by its class") {
  const SkipList list = Compiled("compressed-tensors", {"re:.*v_proj", "re:.*_.*", "Linear"});
  CHECK(list.Match("model.layers.0.self_attn.qkv_proj"));
  CHECK_FALSE(list.MatchLiteral("model.layers.0.self_attn.qkv_proj"));
  const SkipList named = Compiled("compressed-tensors", {"re:.*q.*", "a.qkv_proj"});
  CHECK(named.MatchLiteral("a.qkv_proj").entry == 1);
  CHECK(named.Match("a.qkv_proj").entry == 1);
}

TEST_CASE("a list knows its entries as written and as compared") {
  const SkipList list = Compiled("fp8", {"model.layers.3.", "a.weight", "b"});
  CHECK(list.size() == 3);
  CHECK(list.entry(0).text == "model.layers.3.");
  CHECK(list.name(0) == "model.layers.3");
  CHECK(list.name(1) == "a");
  CHECK_FALSE(list.has_patterns());
  const SkipList patterns = Compiled("compressed-tensors", {"re:a.*b", "re"});
  CHECK(patterns.is_pattern(0));
  CHECK(patterns.name(0) == "a.*b");
  CHECK_FALSE(patterns.is_pattern(1));
  CHECK(patterns.has_patterns());
}

TEST_CASE("names and entries beyond the limits match nothing") {
  const std::string deep(100, '.'), wide(100'000, 'a');
  const SkipList list = Compiled("fp8", {std::string(deep).append("x"), wide, "lm_head"});
  CHECK_FALSE(list.Match(deep));
  CHECK_FALSE(list.Match(std::string(deep).append("lm_head")));
  CHECK(list.Match("lm_head"));
  CHECK(list.Match(wide));
  CHECK_FALSE(list.Match(""));
}

TEST_CASE("renames of roots are applied to entries once and to whole segments") {
  std::vector<ListEntry> entries = {{"model.a", {}}, {"models.a", {}}, {"x.model.b", {}}};
  Diagnostics out;
  const auto list = SkipList::Compile(*DialectNamed("fp8"), std::move(entries),
                                      {{"model", "model.language_model"}}, &out);
  REQUIRE(list);
  CHECK(list->name(0) == "model.language_model.a");
  CHECK(list->name(1) == "models.a");
  CHECK(list->name(2) == "x.model.language_model.b");  // ends may stand anywhere
}

TEST_CASE("refused entries, with the sentence that says why") {
  const auto refusal = [](std::string_view dialect, std::vector<std::string> texts) {
    std::vector<ListEntry> entries;
    for (const std::string& text : texts) entries.push_back({text, {}});
    Diagnostics out;
    CHECK_FALSE(SkipList::Compile(*DialectNamed(dialect), std::move(entries), {}, &out));
    REQUIRE_FALSE(out.findings().empty());
    return CodeName(out.findings()[0].code) + ": " + out.findings()[0].message;
  };
  CHECK(refusal("fp8", {"lm_head", "re:.*gate"}) ==
        "FR204: `re:.*gate` is a pattern, and lists of dialect `fp8` hold plain names");
  CHECK(refusal("fp8", {"lm_head", ""}) == "FR603: an entry of the skip list is empty");
  CHECK(refusal("compressed-tensors", {"re:"}) == "FR201: an empty pattern matches everything");
  std::vector<std::string> many(65);
  for (size_t i = 0; i < many.size(); ++i)
    many[i] = "re:model\\.layers\\." + std::to_string(i) + "\\.";
  CHECK(refusal("compressed-tensors", many) == "FR203: more than 64 patterns in one list");
  many.pop_back();
  CHECK(Compiled("compressed-tensors", many).Match("model.layers.63.x").entry == 63);
}

TEST_CASE("the cost does not grow with the list, and hostile patterns cost milliseconds") {
  std::vector<std::string> hostile;
  for (int i = 0; i < 64; ++i)
    hostile.push_back("re:.*a.{0,9}" + std::to_string(i) + ".*b" + std::string(i % 5, 'c'));
  const auto start = std::chrono::steady_clock::now();
  const SkipList list = Compiled("compressed-tensors", hostile);
  const std::string path(1000, 'a');
  for (int i = 0; i < 100; ++i) CHECK_FALSE(list.Match(path + std::to_string(i)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 20);  // seconds; a backtracking engine would not come back
}
