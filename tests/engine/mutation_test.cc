// SPDX-License-Identifier: Apache-2.0
// Rule, dialect and runtime files, and the files of a checkpoint, broken at random: what is wrong
// is refused with a message, in bounded time, and nothing of it is used.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/plan/book.h"
#include "engine/plan/plan.h"
#include "engine/plan/rule_test.h"
#include "engine/runtimes/runtime.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/engine/mutate.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;
using namespace ferrule::test;
namespace fs = std::filesystem;

namespace {

constexpr double kSeconds = 5;  // for one input; milliseconds in fact

std::string Text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> TextsOf(const std::string& folder) {
  std::vector<std::string> texts;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(FERRULE_TEST_DATA "/../rules" + folder))
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) texts.push_back(Text(path));
  REQUIRE(texts.size() > 5);
  return texts;
}

// Runs `use` on mutants of the texts; it says whether the mutant was taken. Both must happen.
template <typename Use>
void Break(const std::vector<std::string>& texts, uint64_t seed, int mutants, const Use& use) {
  Random random(seed);
  int taken = 0;
  for (int i = 0; i < mutants; ++i) {
    const std::string text = Mutated(random.Of(texts), random);
    INFO("mutant " << i << " of seed " << seed << ":\n" << text);
    const auto start = std::chrono::steady_clock::now();
    Diagnostics out;
    if (use(text, &out)) {
      ++taken;
    } else {
      REQUIRE(out.has_errors());
    }
    for (const Finding& finding : out.findings()) {
      REQUIRE_FALSE(finding.message.empty());
      REQUIRE(finding.code != Code::kInternal);
      REQUIRE(ToHuman(finding, false).find('\033') == std::string::npos);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    REQUIRE(took.count() < kSeconds);
  }
  CHECK(taken > mutants / 50);
  CHECK(taken < mutants - mutants / 50);
}

// A plan without errors decides every linear that is there, and cuts it.
void CheckWhole(const Plan& plan) {
  const Decisions& d = plan.decisions;
  for (const Unit& unit : d.units.units) {
    if (!IsLinear(unit.kind)) continue;
    REQUIRE(plan.CutOf(unit) != nullptr);
    REQUIRE_FALSE(plan.CutOf(unit)->ranks.empty());
    for (int32_t i = 0; i < unit.count; ++i) {
      const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
      REQUIRE((module.absent || module.scheme >= 0));
    }
  }
  REQUIRE(plan.plan_sha.size() == 64);
}

// What a checkpoint of these files gives: true for a plan without errors.
bool Plans(const Book& book, const std::string& directory, Diagnostics* out) {
  auto checkpoint = OpenCheckpoint(directory, out);
  REQUIRE(checkpoint.has_value() == !out->has_errors());
  if (!checkpoint) return false;
  const auto plan =
      MakePlan(book, std::make_shared<const Checkpoint>(std::move(*checkpoint)), {2}, out);
  REQUIRE((plan || out->has_errors()));
  if (out->has_errors()) return false;
  CheckWhole(*plan);
  return true;
}

}  // namespace

TEST_CASE("rule files, broken: refused and left out of the book, or sound") {
  const TempDir directory;
  Break(TextsOf(""), 31, 1'500, [&](const std::string& text, Diagnostics* out) {
    directory.Write("x.yaml", text);
    const auto book = LoadBook({{directory.path()}, "", {}}, out);
    REQUIRE(book);
    INFO(Lines(*out, directory.path()));
    // A tree that is whole but unsound is kept for `check`, marked, and never planned with.
    const bool sound = !book->files.empty() && book->files[0]->sound;
    REQUIRE(sound == !out->has_errors());
    if (!sound) return false;
    CheckExample(*book, book->files[0], out);
    return !out->has_errors();
  });
}

TEST_CASE("tests of broken rule files end") {
  std::vector<std::string> texts;  // the short ones: their tests are run for each mutant
  for (const std::string& text : TextsOf(""))
    if (text.size() < 7'000) texts.push_back(text);
  Break(texts, 32, 150, [&](const std::string& text, Diagnostics* out) {
    Book book = SourceBook();
    const auto file = ParseRuleFile("x.yaml", text, out);
    if (!file || out->has_errors()) return false;
    CheckExample(book, file, out);
    if (out->has_errors()) return false;
    for (const std::string& type : file->model_types) book.by_model_type[type] = file;
    const TestReport report = RunRuleTests(book, file, {}, out);
    return !report.outcomes.empty();  // whether they pass is another matter
  });
}

TEST_CASE("dialect files, broken") {
  Break(TextsOf("/dialects"), 33, 3'000, [](const std::string& text, Diagnostics* out) {
    const auto dialect = ParseDialect("d.yaml", text, out);
    REQUIRE((dialect == nullptr) == out->has_errors());
    return dialect != nullptr;
  });
}

TEST_CASE("runtime files, broken") {
  Break(TextsOf("/runtimes"), 34, 3'000, [](const std::string& text, Diagnostics* out) {
    std::vector<std::shared_ptr<Runtime>> runtimes = {ParseRuntime("r.yaml", text, out)};
    REQUIRE((runtimes[0] == nullptr) == out->has_errors());
    return runtimes[0] != nullptr && ResolveRuntimes(&runtimes, out);
  });
}

TEST_CASE("config.json and header fixtures, broken: no plan, or a whole one") {
  Diagnostics none;
  const auto book =
      LoadBook({{FERRULE_TEST_DATA "/../rules", FERRULE_TEST_DATA "/bad/models"}, "", {}}, &none);
  REQUIRE(book);
  const std::string folder = FERRULE_TEST_DATA "/bad/checkpoints/";
  const std::string config = Text(folder + "062_unified_right/config.json");
  const std::string tensors = Text(folder + "062_unified_right/tensors.json");
  const TempDir directory;
  directory.Write("tensors.json", tensors);
  Break({config, Text(folder + "065_pattern_from_the_middle/config.json"), config}, 35, 1'000,
        [&](const std::string& text, Diagnostics* out) {
          directory.Write("config.json", text);
          return Plans(*book, directory.path(), out);
        });
  directory.Write("config.json", config);
  Break({tensors}, 36, 1'000, [&](const std::string& text, Diagnostics* out) {
    directory.Write("tensors.json", text);
    return Plans(*book, directory.path(), out);
  });
}

TEST_CASE("index and safetensors headers of a checkpoint, broken: no plan, or a whole one") {
  const std::string from = FERRULE_TEST_DATA "/fixtures/tiny/qwen3_next_fp8/";
  const TempDir directory;
  const std::string names[] = {"model-00001-of-00002.safetensors",
                               "model-00002-of-00002.safetensors"};
  const auto write = [&](const std::string& name, const std::string& header, size_t data) {
    directory.Write(name, Safetensors(header, 0));
    fs::resize_file(directory / name, 8 + header.size() + data);  // sparse: headers alone are read
  };
  std::string headers[2];
  size_t data[2];
  for (int i = 0; i < 2; ++i) {
    const std::string file = Text(from + names[i]);
    uint64_t size = 0;
    std::memcpy(&size, file.data(), 8);
    headers[i] = file.substr(8, size);
    data[i] = file.size() - 8 - size;
    write(names[i], headers[i], data[i]);
  }
  const std::string index = Text(from + "model.safetensors.index.json");
  directory.Write("config.json", Text(from + "config.json"));
  Break({index}, 37, 500, [&](const std::string& text, Diagnostics* out) {
    directory.Write("model.safetensors.index.json", text);
    return Plans(SourceBook(), directory.path(), out);
  });
  directory.Write("model.safetensors.index.json", index);
  Break({headers[0]}, 38, 500, [&](const std::string& text, Diagnostics* out) {
    write(names[0], text, data[0]);
    return Plans(SourceBook(), directory.path(), out);
  });
}
