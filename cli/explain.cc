// SPDX-License-Identifier: Apache-2.0
// ferrule explain FRnnn | slug | MODULE --checkpoint DIR [--tp N]
#include <fmt/format.h>

#include "cli/command.h"
#include "engine/json_writer.h"
#include "engine/plan.h"

namespace ferrule::cli {
namespace {

// `text` in lines of at most `width` bytes.
std::string Wrap(std::string_view text, size_t width) {
  std::string out;
  while (text.size() > width) {
    size_t cut = text.rfind(' ', width);
    if (cut == std::string_view::npos) cut = width;
    out += fmt::format("{}\n", text.substr(0, cut));
    text.remove_prefix(std::min(text.size(), cut + 1));
  }
  return out + fmt::format("{}\n", text);
}

bool ExplainCode(const Common& common, const std::string& what) {
  for (const CodeInfo& info : AllCodes()) {
    if (what != CodeName(info.code) && what != info.slug) continue;
    if (common.format == Format::kJson) {
      JsonWriter out;
      out.BeginObject().Key("schema_version").Int(kSchemaVersion);
      out.Key("code").Text(CodeName(info.code)).Key("slug").Text(info.slug);
      out.Key("level").Text(LevelName(info.level)).Key("title").Text(info.title);
      out.Key("text").Text(info.text).EndObject();
      Print(out.Take() + "\n");
    } else {
      Print(fmt::format("{} {} ({})\n{}\n\n{}", CodeName(info.code), info.slug,
                        LevelName(info.level), info.title, Wrap(info.text, 96)));
    }
    return true;
  }
  return false;
}

}  // namespace

int Explain(const Common& common, const ExplainOptions& options) {
  if (ExplainCode(common, options.what)) return 0;
  Diagnostics findings;
  if (options.checkpoint.empty()) {
    std::vector<std::string> slugs;
    for (const CodeInfo& info : AllCodes()) slugs.emplace_back(info.slug);
    const std::string nearest = NearestName(options.what, slugs);
    Finding& finding = findings.Add(
        Code::kUsage,
        fmt::format("{} is no code, and a module needs --checkpoint", Quoted(options.what)));
    if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
    return Finish(common, "explain", findings);
  }
  const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings);
  if (!checkpoint) return Finish(common, "explain", findings);
  const auto book =
      ReadBook(common, std::string(checkpoint->config.Find("model_type").Text()), {}, &findings);
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
  Print(ExplainModule(*plan, module, Options(common, "explain", options.checkpoint)));
  // Findings of the whole model are `plan`'s; here only whether there are errors counts.
  if (findings.has_errors() && common.format == Format::kHuman)
    Print(fmt::format("\nthe plan has {} error{}: see `ferrule plan {}`\n",
                      findings.count(Level::kError), findings.count(Level::kError) == 1 ? "" : "s",
                      options.checkpoint));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
