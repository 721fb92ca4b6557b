// SPDX-License-Identifier: Apache-2.0
// Plans as serving engines make them against what the engines themselves built.
//
//   engine_models SOURCE_ROOT ENGINE@VERSION
//
// tests/oracle/ENGINE-models.jsonl holds one row for each checkpoint config: every module that the
// engine's model class asked about or built, by result. `fixture` is the checkpoint here, `model`
// another one that gives it a config.json; with `unquantized` its config.json alone counts.
// tests/oracle/ENGINE-block-check.jsonl holds what the engine's block check said of each layer at
// tp 1, 2, 4 and 8.
//
// A module counts as right when it has the recorded name and result; one that the engine did not
// build counts as wrong. What differs is printed and must stand in the runtime file's known
// differences, at most 1 % of all.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "engine/file.h"
#include "engine/plan_as.h"
#include "tests/engine_rows.h"

using namespace ferrule;
using namespace ferrule::test;
namespace fs = std::filesystem;

namespace {

class Comparison {
 public:
  Comparison(std::string root, std::string as) : root_(std::move(root)), as_(std::move(as)) {
    engine_ = as_.substr(0, as_.find('@'));
  }

  int Run() {
    Diagnostics out;
    BookOptions options;
    options.directories = {root_ + "/rules"};
    auto book = LoadBook(options, &out);
    auto runtimes = LoadRuntimes({root_ + "/rules"}, &out);
    runtime_ = runtimes ? runtimes->Find(as_, &out) : nullptr;
    if (!book || runtime_ == nullptr) return std::fputs(ToHuman(out, false).c_str(), stderr), 1;
    book_ = std::make_unique<Book>(std::move(*book));
    rows_ = Rows("models");
    for (const JsonValue& row : rows_) Model(row);
    for (const JsonValue& row : Rows("block-check")) Check(row);
    fmt::print(
        "{}: {} checkpoints, {} modules, {} wrong, {} known to differ; {} block checks, {} wrong; "
        "{} rows refused or without a checkpoint here\n",
        as_, models_, modules_, wrong_, known_, checks_, wrong_checks_, without_);
    const bool enough =
        modules_ > 0 && (wrong_ + known_) * 100 <= modules_ && wrong_ == 0 && wrong_checks_ == 0;
    fmt::print("{} passed, {} failed\n", enough ? 1 : 0, enough ? 0 : 1);
    return enough ? 0 : 1;
  }

 private:
  std::vector<JsonValue> Rows(const std::string& what) {
    return ReadRows(fmt::format("{}/tests/oracle/{}-{}.jsonl", root_, engine_, what));
  }

  // The engine's plan of a row's checkpoint; null with a line when there is none.
  const Planned* PlanOf(const JsonValue& row, int tp) {
    const std::string fixture(row.Find("fixture").Text()), model(row.Find("model").Text());
    const bool plain = row.Find("unquantized").AsBool().value_or(false);
    const auto key = std::tuple(fixture + (plain ? " unquantized" : ""), model, tp);
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second.get();
    auto planned = MakePlanned(root_, fixture, plain ? fixture : model, *book_, *runtime_, tp);
    if (!planned->as) fmt::print("{}: no plan at tp {}\n{}", fixture, tp, planned->text);
    return plans_.emplace(key, std::move(planned)).first->second.get();
  }

  void Model(const JsonValue& row) {
    if (row.Find("fixture").Text().empty() || row.Find("modules").size() == 0) {
      ++without_;
      return;
    }
    ++models_;
    const bool draft = row.Find("draft").AsBool().value_or(false);
    std::map<std::string, std::string> recorded = ExpandModules(row.Find("modules"));
    modules_ += static_cast<int64_t>(recorded.size());
    std::map<std::string, int> differences;
    const Planned* planned = PlanOf(row, 1);
    if (planned->as)
      for (const AsModule& module : planned->as->modules) {
        if (module.draft != draft) continue;
        const auto at = recorded.find(module.name);
        if (at == recorded.end()) {
          if (!Unasked(module, row)) ++differences["not built: " + module.pattern];
          continue;
        }
        if (at->second != module.result)
          ++differences[fmt::format("{}: {}, not {}", module.pattern, at->second, module.result)];
        recorded.erase(at);
      }
    for (const auto& [name, result] : recorded)
      if (IsKnown(row, name))
        ++known_;
      else
        ++differences[Template(name) + ": no module"];
    int64_t wrong = 0;
    for (const auto& [what, count] : differences) wrong += count;
    wrong_ += wrong;
    if (wrong == 0) return;
    fmt::print("{}{}: {} wrong\n", row.Find("config").Text(), draft ? ", draft" : "", wrong);
    for (const auto& [what, count] : differences) fmt::print("    {} x {}\n", count, what);
  }

  // Whether the runtime file lists this module as one where it differs from the recording.
  bool IsKnown(const JsonValue& row, const std::string& name) const {
    const auto& known = runtime_->known_differences;
    return std::any_of(known.begin(), known.end(), [&](const KnownDifference& difference) {
      return !difference.checkpoint.empty() && difference.checkpoint == row.Find("config").Text() &&
             difference.module == name;
    });
  }

  // Heads and embeddings that the class builds without asking were not recorded; nor was what
  // comes after the place where the recording stopped.
  static bool Unasked(const AsModule& module, const JsonValue& row) {
    return (module.result == "none" &&
            (module.layer == LayerKind::kHead || module.layer == LayerKind::kEmbedding)) ||
           row.Find("partial").AsBool().value_or(false);
  }

  void Check(const JsonValue& row) {
    const std::string name(row.Find("prefix").Text());
    const Planned* planned = nullptr;
    for (const JsonValue& model : rows_)
      if (model.Find("config").Text() == row.Find("config").Text() &&
          !model.Find("fixture").Text().empty())
        planned = PlanOf(model, static_cast<int>(row.Find("tp").AsInt().value_or(1)));
    if (planned == nullptr) return;
    ++checks_;
    const bool refused = row.Find("result").Text() == "error";
    bool seen = false, same = true;
    if (planned->as)
      for (const AsModule& module : planned->as->modules) {
        if (Template(module.name) != Template(name) || module.result != "quant") continue;
        seen = true;
        same = same && module.refusal.empty() != refused;
      }
    if (seen && same) return;
    ++wrong_checks_;
    fmt::print("{} at tp {}: {} {}\n", row.Find("config").Text(),
               row.Find("tp").AsInt().value_or(1), name,
               !seen     ? "is not quantized in the plan"
               : refused ? "is refused, and not in the plan"
                         : "is not refused, and in the plan it is");
  }

  std::string root_, as_, engine_;
  std::vector<JsonValue> rows_;
  std::shared_ptr<const Runtime> runtime_;
  std::unique_ptr<Book> book_;
  std::map<std::tuple<std::string, std::string, int>, std::unique_ptr<Planned>> plans_;
  int64_t models_ = 0, modules_ = 0, wrong_ = 0, known_ = 0, checks_ = 0, wrong_checks_ = 0,
          without_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("engine_models SOURCE_ROOT ENGINE@VERSION\n", stderr), 2;
  return Comparison(argv[1], argv[2]).Run();
}
