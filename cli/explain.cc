// SPDX-License-Identifier: Apache-2.0
// ferrule explain FRnnn | slug | MODULE DIR [--tp N] [--kernel …]
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cli/command.h"
#include "engine/plan/plan.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

// "fr301" is meant for FR301.
bool SameCode(std::string_view word, std::string_view code) {
  return std::equal(word.begin(), word.end(), code.begin(), code.end(), [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) == b;
  });
}

// A word that can only be a code: FR and digits.
bool LooksLikeCode(std::string_view word) {
  return word.size() > 2 && SameCode(word.substr(0, 2), "FR") &&
         word.find_first_not_of("0123456789", 2) == std::string_view::npos;
}

// What nobody can be told about: neither code nor slug, and no checkpoint to look for a module.
Finding Unknown(const std::string& what) {
  std::vector<std::string> slugs;
  for (const CodeInfo& info : AllCodes()) slugs.emplace_back(info.slug);
  const std::string nearest = NearestName(what, slugs);
  if (LooksLikeCode(what)) {
    Finding finding(Code::kUsage, fmt::format("there is no code {}", Quoted(what)));
    finding.Help(fmt::format("codes are {} to {}; messages name them", CodeName(AllCodes()[0].code),
                             CodeName(AllCodes().back().code)));
    return finding;
  }
  Finding finding(
      Code::kUsage,
      fmt::format("{} is no code, and to explain a module takes a checkpoint", Quoted(what)));
  finding.Help(nearest.empty() ? "`ferrule explain MODULE DIR`"
                               : fmt::format("did you mean `{}`?", nearest));
  return finding;
}

bool Names(const std::string& what, const CodeInfo& info) {
  return SameCode(what, CodeName(info.code)) || what == info.slug;
}

bool IsCode(const std::string& what) {
  return std::any_of(AllCodes().begin(), AllCodes().end(),
                     [&](const CodeInfo& info) { return Names(what, info); });
}

bool ExplainCode(const Common& common, const std::string& what) {
  for (const CodeInfo& info : AllCodes()) {
    if (!Names(what, info)) continue;
    if (common.format == Format::kJson) {
      JsonWriter out;
      WriteHead(Options(common, "explain", ""), &out);
      out.Key("code").Text(CodeName(info.code)).Key("slug").Text(info.slug);
      out.Key("level").Text(LevelName(info.level)).Key("title").Text(info.title);
      out.Key("text").Text(info.text);
      WriteFindings({}, &out);
      out.EndObject();
      Print(out.Take() + "\n");
    } else if (common.format == Format::kShort) {
      Print(fmt::format("{} {} ({}): {}\n", CodeName(info.code), info.slug, LevelName(info.level),
                        info.title));
    } else {
      Print(fmt::format("{} {} ({})\n{}\n\n{}\n", CodeName(info.code), info.slug,
                        LevelName(info.level), info.title, Wrapped(info.text, 96, 0)));
    }
    return true;
  }
  return false;
}

}  // namespace

int Explain(const Common& common, const ExplainOptions& options) {
  Diagnostics findings;
  if (IsCode(options.what) && !(options.checkpoint.empty() && options.of_module.empty())) {
    findings
        .Add(Code::kUsage, fmt::format("{} is a code: {} goes with a module", Quoted(options.what),
                                       options.of_module.empty() ? "a checkpoint"
                                                                 : "`" + options.of_module + "`"))
        .Help("leave it out, or name a module");
    return Finish(common, "explain", findings);
  }
  if (ExplainCode(common, options.what)) return 0;
  if (options.checkpoint.empty()) {
    findings.Add(Unknown(options.what));
    return Finish(common, "explain", findings);
  }
  const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings);
  if (!checkpoint) return Finish(common, "explain", findings);
  const auto book = ReadBookFor(common, *checkpoint, &findings);
  std::optional<Plan> plan;
  if (book) plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &findings);
  if (!plan) return Finish(common, "explain", findings);
  const int32_t module = plan->Find(options.what);
  const bool linear =
      module >= 0 &&
      plan->cut_of[static_cast<size_t>(plan->decisions.unit_of[static_cast<size_t>(module)])] >= 0;
  if (!linear) {
    Diagnostics unknown;
    Finding& finding =
        unknown.Add(Code::kUnknownModule,
                    module >= 0 ? fmt::format("{} is no linear", Quoted(options.what))
                                : fmt::format("the model has no module {}", Quoted(options.what)));
    const std::string nearest = NearestPath(plan->decisions, options.what);
    if (module < 0 && !nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
    return Finish(common, "explain", unknown);
  }
  if (options.kernel && !findings.has_errors()) return ExplainKernels(common, options, *plan);
  Print(ExplainModule(*plan, module, findings, Options(common, "explain", options.checkpoint)));
  // Findings of the whole model are `plan`'s; here only whether there are errors counts.
  if (findings.has_errors() && common.format == Format::kHuman)
    Print(fmt::format("\nthe plan has {} error{}: see `ferrule plan {}`\n",
                      findings.count(Level::kError), findings.count(Level::kError) == 1 ? "" : "s",
                      options.checkpoint));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
