// SPDX-License-Identifier: Apache-2.0
// ferrule plan DIR [--tp N] [--as ENGINE@VERSION] [--expand]
#include "engine/plan/plan.h"
#include <fmt/format.h>

#include "cli/command.h"
#include "engine/runtimes/plan_as.h"

namespace ferrule::cli {
namespace {

std::optional<PlanAs> CompareAs(const Common& common, const Plan& plan, const std::string& as,
                                Diagnostics* out) {
  const auto book = ReadRuntimes(common, out);
  const auto runtime = book ? book->Find(as, out) : nullptr;
  return runtime ? ComparePlan(plan, *runtime, out) : std::nullopt;
}

// How far the engine and the checkpoint agree; findings say the rest.
std::string Line(const PlanAs& as) {
  if (!as.refusal.empty())
    return fmt::format("as {}@{}: refused, {}\n", as.engine, as.version, as.refusal);
  const std::string classes =
      as.classes.empty() ? "" : fmt::format(" with the model classes of {}", as.classes);
  return fmt::format("as {}@{}{}: {} modules asked, {} decided alike, {} otherwise, {} refused\n",
                     as.engine, as.version, classes, as.asked, as.alike, as.otherwise, as.refused);
}

}  // namespace

int MakePlan(const Common& common, const PlanCommand& options) {
  Diagnostics findings;
  std::optional<Plan> plan;
  const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings);
  if (checkpoint) {
    const std::string type(checkpoint->config.Find("model_type").Text());
    auto book = ReadBookFor(common, *checkpoint, &findings);
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
        book = ReadBook(common, {}, &again);
        if (book) {
          first = Diagnostics();
          plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &first);
        }
      }
      findings.Append(first);
    }
  }
  std::optional<PlanAs> as;
  if (plan && !options.as.empty()) as = CompareAs(common, *plan, options.as, &findings);
  ReportOptions report = Options(common, "plan", options.checkpoint);
  report.expand = options.expand;
  report.tp = options.tp;
  report.as = as ? &*as : nullptr;
  Print(PlanReport(plan ? &*plan : nullptr, findings, report));
  if (as && common.format == Format::kHuman) Print(Line(*as));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
