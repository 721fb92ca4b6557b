// SPDX-License-Identifier: Apache-2.0
// Whatever is exported for an engine: read back from its text and planned anew, the engine decides
// every module as it is stored. Over every fixture and every engine version that describes it.
#include "engine/runtimes/export.h"

#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "engine/runtimes/matrix.h"
#include "engine/runtimes/patch.h"
#include "tests/catch.h"

using namespace ferrule;
namespace fs = std::filesystem;

namespace {

struct Files {
  Book book;
  RuntimeBook runtimes;
};

Files Shipped() {
  Diagnostics out;
  BookOptions options;
  options.directories = {FERRULE_TEST_DATA "/../rules"};
  auto book = LoadBook(options, &out);
  auto runtimes = LoadRuntimes(options.directories, &out);
  REQUIRE((book && runtimes && !out.has_errors()));
  return {std::move(*book), std::move(*runtimes)};
}

std::shared_ptr<Checkpoint> Open(const std::string& directory) {
  Diagnostics out;
  auto checkpoint = OpenCheckpoint(directory, &out);
  REQUIRE(checkpoint);
  return std::make_shared<Checkpoint>(std::move(*checkpoint));
}

std::vector<std::string> Quantized() {
  std::vector<std::string> found;
  for (const char* root : {"/fixtures", "/fixtures/quant", "/fixtures/tiny"})
    for (const auto& entry : fs::directory_iterator(std::string(FERRULE_TEST_DATA) + root)) {
      if (!fs::exists(entry.path() / "config.json")) continue;
      const std::string path = entry.path().string();
      if (Open(path)->quantization_config || Open(path)->config.Find("text_config"))
        found.push_back(path);
    }
  std::sort(found.begin(), found.end());
  return found;
}

// Of each module that the engine builds, in order: whether it is stored in BF16; empty: not known.
using Stored = std::vector<std::pair<std::string, std::optional<bool>>>;
Stored StoredBf16(const Plan& plan, const PlanAs& as) {
  Stored out;
  for (const AsModule& module : as.modules) {
    out.emplace_back(module.name, std::nullopt);
    if (module.stored >= 0) out.back().second = plan.SchemeName(module.stored) == "bf16";
  }
  return out;
}

// The checkpoint with the exported description in its place, planned; null with a word.
std::optional<Plan> Replan(const Files& files, const std::string& directory, const Export& exported,
                           std::string* why) {
  const auto patched = Open(directory);
  JsonValue description;
  for (const JsonValue& root : {patched->config, patched->hf_quant_config}) {
    if (!root || root.path().substr(root.path().rfind('/') + 1) != exported.file) continue;
    description = root;
    for (size_t at = 1; at < exported.place.size();) {
      const size_t end = std::min(exported.place.find('/', at), exported.place.size());
      description = description.Find(exported.place.substr(at, end - at));
      at = end + 1;
    }
  }
  if (!description && patched->quantization_config) description = patched->quantization_config;
  if (!description || !PatchConfig(description, exported.description, patched.get())) {
    *why = "it cannot be put into " + exported.file;
    return std::nullopt;
  }
  Diagnostics out;
  auto plan = MakePlan(files.book, patched, {1}, &out);
  if (!plan) *why = "it cannot be planned";
  return plan;
}

// What the engine does otherwise under the exported description.
std::string Otherwise(const Plan& plan, const Runtime& runtime, const Stored& stored) {
  Diagnostics compared;
  const auto as = ComparePlan(plan, runtime, &compared);
  if (!as) return "it cannot be compared";
  if (as->modules.size() != stored.size()) return "modules are gone";
  for (size_t i = 0; i < stored.size(); ++i) {
    const AsModule& module = as->modules[i];
    const auto& [name, bf16] = stored[i];
    if (module.name != name) return name + " is gone";
    if (bf16 && (module.result == "error" || module.result == "unsupported" ||
                 ((module.result == "quant") == *bf16 && !module.widened)))
      return name + " is decided " + module.result;
  }
  return "";
}

}  // namespace

TEST_CASE("what is exported is decided as stored, over all fixtures and engines") {
  const Files files = Shipped();
  int exported = 0, changed = 0, refused = 0;
  std::map<std::string, int> pairs;  // dialect → engine, how many were exported
  for (const std::string& directory : Quantized()) {
    const std::shared_ptr<const Checkpoint> checkpoint = Open(directory);
    Diagnostics planned;
    const auto plan = MakePlan(files.book, checkpoint, {1}, &planned);
    if (!plan || !plan->decisions.quant.dialect || plan->decisions.quant.dialect->list.keys.empty())
      continue;
    // Engines for which the same is written share its plan.
    std::map<std::string, std::pair<std::optional<Plan>, std::string>> planned_anew;
    const bool config_only = directory.find("/fixtures/quant/") != std::string::npos;
    for (const auto& runtime : files.runtimes.runtimes) {
      // One old reading is enough where no headers are at hand.
      const std::string& version = runtime->version;
      if (config_only && runtime->engine == "sglang" && version != "0.5.23" && version != "0.5.9")
        continue;
      Diagnostics out;
      const auto as = ComparePlan(*plan, *runtime, &out);
      if (!as) continue;
      INFO(directory << " for " << runtime->engine << "@" << runtime->version);
      Diagnostics findings;
      const auto found = ExportFor(files.book, *runtime, *plan, planned, {}, &findings);
      int& pair = pairs[plan->decisions.quant.dialect->name + " " + runtime->engine];
      if (!found) {
        ++refused;
        REQUIRE(findings.findings().size() == 1);
        CHECK(findings.findings()[0].code == Code::kCannotExport);
        CHECK(findings.findings()[0].facts.size() >= 2);  // how near, and which modules; a refusal
        continue;
      }
      ++exported;
      ++pair;
      CHECK(found->asked > 0);  // an engine that refuses asks for nothing
      bool same = static_cast<size_t>(found->listed) == found->entries.size();
      for (size_t i = 0; same && i < found->entries.size(); ++i)
        same = found->entries[i] == plan->decisions.quant.list.entry(i).text;
      if (!same) ++changed;
      auto& [again, why] = planned_anew[found->file + found->place + found->description];
      if (!again && why.empty()) again = Replan(files, directory, *found, &why);
      CHECK(why == "");
      if (again) CHECK(Otherwise(*again, *runtime, StoredBf16(*plan, *as)) == "");
    }
  }
  // transformers builds what ModelOpt wrote in BF16, with a warning or an error, whatever is
  // listed.
  for (const auto& [pair, count] : pairs) {
    INFO(pair);
    CHECK((count > 0) == (pair != "modelopt transformers"));
  }
  CHECK(pairs.size() >= 23);
  CHECK(exported >= 396);
  CHECK(changed >= 20);
  CHECK(refused <= 58);
  WARN(exported << " exported, " << changed << " with another list, " << refused << " refused");
}

TEST_CASE("the matrix counts every module that an engine runs otherwise") {
  const Files files = Shipped();
  const std::shared_ptr<const Checkpoint> checkpoint =
      Open(FERRULE_TEST_DATA "/fixtures/qwen3_next_80b_fp8");
  Diagnostics out;
  const auto matrix = CompareEngines(files.book, files.runtimes, checkpoint, {1, 4}, &out);
  REQUIRE(matrix);
  CHECK(matrix->engines.size() + matrix->left_out.size() == files.runtimes.runtimes.size());
  for (const MatrixEngine& engine : matrix->engines) {
    INFO(engine.name);
    REQUIRE(engine.cells.size() == matrix->rows.size());
    // One splits the name by its table, two read the list under another key only.
    const bool seed = engine.name == "sglang@4323fce82" || engine.name == "sglang@0.5.6" ||
                      engine.name == "sglang@0.5.1.post3";
    CHECK(engine.wrong == (seed ? 36 : 0));
    for (size_t r = 0; r < matrix->rows.size(); ++r) {
      const MatrixRow& row = matrix->rows[r];
      CHECK(engine.cells[r].built() <= row.count);
      const bool ba = row.name == "model.layers.<layer>.linear_attn.in_proj_ba";
      CHECK(engine.cells[r].refused == (seed && ba ? std::vector<int>{1, 4} : std::vector<int>{}));
    }
  }
}
