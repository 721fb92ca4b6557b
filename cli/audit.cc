// SPDX-License-Identifier: Apache-2.0
// ferrule audit DIR: what can be said of a checkpoint without rules for it. The modules are those
// of the draft that `ferrule infer` makes; everything that a plan checks is checked with them.
#include <fmt/format.h>

#include "cli/command.h"
#include "engine/infer/infer.h"
#include "engine/plan/plan.h"

namespace ferrule::cli {
namespace {

// Classes that the config would quantize and the checkpoint stores unquantized throughout: routers
// are, and what the list forgot is. Only somebody who knows the model can tell them apart.
void Unlisted(const RuleDraft& draft, const Plan& plan, Diagnostics* out) {
  if (plan.decisions.quant.schemes.size() < 2) return;
  for (const std::string& path : draft.unlisted) {
    int64_t count = 0;
    std::string example;
    for (const Group& group : plan.groups) {
      const Unit& unit = plan.decisions.units.units[static_cast<size_t>(group.unit)];
      if (unit.Display() != path) continue;
      if (count == 0) example = plan.decisions.PathOf(group.module);
      count += group.count;
    }
    if (count == 0) continue;
    Finding finding(Code::kUnlisted,
                    fmt::format("`{}` is stored unquantized, and the config does not say so", path),
                    plan.decisions.quant.at);
    finding.Fact("found",
                 fmt::format("{} module{}, e.g. {}", count, count == 1 ? "" : "s", example));
    finding.Fact("effect",
                 "an engine that does not know these modules would quantize them or fail");
    out->Add(std::move(finding));
  }
}

}  // namespace

int Audit(const Common& common, const AuditOptions& options) {
  Diagnostics findings;
  std::optional<Plan> plan;
  if (const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings)) {
    Diagnostics mistakes;  // of rule files: not this command's subject
    const auto book = ReadBook(common, {}, &mistakes);
    if (!book) findings.Append(mistakes);
    const auto draft = book ? InferRules(checkpoint, *book, &findings) : std::nullopt;
    const auto rules = draft ? ParseRuleFile("(draft)", draft->yaml, &findings) : nullptr;
    if (rules) plan = MakePlanUnder(rules, *book, checkpoint, {1}, &findings);
    if (plan) Unlisted(*draft, *plan, &findings);
  }
  ReportOptions report = Options(common, "audit", options.checkpoint);
  Print(PlanReport(plan ? &*plan : nullptr, findings, report));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
