// SPDX-License-Identifier: Apache-2.0
// Plans as serving engines make them against what the engines themselves built.
//
//   engine_models SOURCE_ROOT ENGINE@VERSION
//
// tests/oracle/ENGINE-models.jsonl holds one row for each checkpoint config: every module that the
// engine's model class asked about or built, by result. `fixture` is the checkpoint here, `model`
// another one that gives it a config.json; with `unquantized` its config.json alone counts; with
// `injected` hf_quant_config.json stands in config.json; `quantization` is the description that the
// engine was given in place of the checkpoint's own, without headers. `block_check` holds, for tp
// 1, 2, 4 and 8, what the engine's block check said of the layers that it refused.
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

#include "engine/runtimes/plan_as.h"
#include "engine/text/file.h"
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
    fmt::print(
        "{}: {} modules of {} checkpoints and {} refused checkpoints: {} wrong, {} known to "
        "differ; {} block checks: {} wrong; {} rows without a checkpoint here\n",
        as_, modules_, models_, refused_, wrong_, known_, checks_, wrong_checks_, without_);
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
    const bool injected = row.Find("injected").AsBool().value_or(false);
    const JsonValue given = row.Find("quantization");
    const auto key = std::tuple(fixture + (plain      ? " unquantized"
                                           : injected ? " injected"
                                           : given ? " as " + std::string(row.Find("config").Text())
                                                   : ""),
                                model, tp);
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second.get();
    auto planned = MakePlanned(root_, {fixture, plain ? fixture : model, injected, given}, *book_,
                               *runtime_, tp);
    if (!planned->as) fmt::print("{}: no plan at tp {}\n{}", fixture, tp, planned->text);
    return plans_.emplace(key, std::move(planned)).first->second.get();
  }

  void Model(const JsonValue& row) {
    if (row.Find("refused").AsBool().value_or(false)) return Refused(row);
    if (row.Find("fixture").Text().empty()) {
      ++without_;
      return;
    }
    Check(row);
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

  // A config that the engine does not build at all.
  void Refused(const JsonValue& row) {
    ++refused_;
    const Planned* planned = PlanOf(row, 1);
    const std::string ours = planned->as ? planned->as->refusal : "";
    // The recording cut the message, and ours leaves out what the engine lists after it.
    const std::string_view theirs = row.Find("why").Text();
    const size_t length = std::min(ours.size(), theirs.size());
    if (length > 40 && ours.substr(0, length) == theirs.substr(0, length)) return;
    ++wrong_;
    fmt::print("{}: refused by the engine with {}, in the plan {}\n", row.Find("config").Text(),
               theirs, ours.empty() ? "not at all" : ours);
  }

  // At each recorded tp exactly the recorded modules are refused, with the recorded message.
  void Check(const JsonValue& row) {
    for (const JsonValue at_tp : row.Find("block_check")) {
      const int tp = std::stoi(std::string(at_tp.name()));
      const Planned* planned = PlanOf(row, tp);
      if (!planned->as) {
        ++wrong_checks_;
        continue;
      }
      std::map<std::string, std::string> refused = ExpandModules(at_tp);
      std::map<std::string, int> differences;
      for (const AsModule& module : planned->as->modules) {
        if (module.draft != row.Find("draft").AsBool().value_or(false) || module.result != "quant")
          continue;
        ++checks_;
        const std::string ours = module.refusal.empty() ? "" : "ValueError: " + module.refusal;
        const auto known = refused.find(module.name);
        const std::string theirs = known == refused.end() ? "" : known->second;
        if (ours != theirs)
          ++differences[fmt::format("{}: `{}`, not `{}`", module.pattern, theirs, ours)];
        if (known != refused.end()) refused.erase(known);
      }
      for (const auto& [name, error] : refused) ++differences[name + " is not quantized"];
      for (const auto& [what, count] : differences) {
        wrong_checks_ += count;
        fmt::print("{} at tp {}: {} x {}\n", row.Find("config").Text(), tp, count, what);
      }
    }
  }

  std::string root_, as_, engine_;
  std::vector<JsonValue> rows_;
  std::shared_ptr<const Runtime> runtime_;
  std::unique_ptr<Book> book_;
  std::map<std::tuple<std::string, std::string, int>, std::unique_ptr<Planned>> plans_;
  int64_t models_ = 0, modules_ = 0, wrong_ = 0, known_ = 0, refused_ = 0, checks_ = 0,
          wrong_checks_ = 0, without_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("engine_models SOURCE_ROOT ENGINE@VERSION\n", stderr), 2;
  return Comparison(argv[1], argv[2]).Run();
}
