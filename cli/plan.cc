// SPDX-License-Identifier: Apache-2.0
// ferrule plan DIR [--tp N] [--expand]
#include "engine/plan.h"
#include "cli/command.h"

namespace ferrule::cli {

int MakePlan(const Common& common, const PlanCommand& options) {
  Diagnostics findings;
  std::optional<Plan> plan;
  const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings);
  if (checkpoint) {
    const std::string type(checkpoint->config.Find("model_type").Text());
    auto book = ReadBook(common, type, {}, &findings);
    // When something is amiss the other rule files are worth reading: they know sibling formats.
    const RuleFile* rules = nullptr;
    if (book && book->by_model_type.count(type) > 0) rules = book->by_model_type[type].get();
    if (rules != nullptr && !rules->sound) {
      // Not used, but held against the checkpoint, so that one run shows everything.
      MakePlanUnder(book->by_model_type[type], *book, checkpoint, {options.tp}, &findings);
    } else if (book && !findings.has_errors()) {
      Diagnostics first;
      plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &first);
      if (first.has_errors() && !book->complete) {
        Diagnostics again;
        book = ReadBook(common, "", {}, &again);
        if (book) {
          first = Diagnostics();
          plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &first);
        }
      }
      findings.Append(first);
    }
  }
  ReportOptions report = Options(common, "plan", options.checkpoint);
  report.expand = options.expand;
  report.tp = options.tp;
  Print(PlanReport(plan ? &*plan : nullptr, findings, report));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
