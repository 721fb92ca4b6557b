// SPDX-License-Identifier: Apache-2.0
// ferrule infer DIR [-o FILE]: the draft of a rule file from headers and config.json.
#include "engine/infer/infer.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output_file.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

// The draft goes by what they declare; a file that somebody has written is not its place.
std::vector<std::string> RuleFiles(const Book& book) {
  std::vector<std::string> paths;
  for (const auto& file : book.files) paths.push_back(file->path);
  return paths;
}

std::string Json(const RuleDraft& draft, const InferOptions& options, const Diagnostics& findings,
                 const ReportOptions& report) {
  JsonWriter out;
  WriteHead(report, &out);
  out.Key("model").Text(report.model).Key("lines").Int(draft.lines).Key("known").Int(draft.known);
  out.Key("unsure").Int(draft.unsure).Key("file").TextOrNull(options.out);
  out.Key("text").Text(draft.yaml);
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

}  // namespace

int Infer(const Common& common, const InferOptions& options) {
  Diagnostics findings;
  std::optional<RuleDraft> draft;
  if (const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings)) {
    Diagnostics mistakes;  // of other rule files: not this command's subject
    const auto book = ReadBook(common, {}, &mistakes);
    if (!book)
      findings.Append(mistakes);
    else if (options.out.empty() ||
             MayWrite({"--out", options.out}, {checkpoint.get(), RuleFiles(*book)}, &findings))
      draft = InferRules(checkpoint, *book, &findings);
  }
  if (!draft) return Finish(common, "infer", findings);
  if (!options.out.empty() && !WriteText(options.out, draft->yaml, &findings))
    return Finish(common, "infer", findings);
  if (common.format == Format::kJson) {
    Print(Json(*draft, options, findings, Options(common, "infer", options.checkpoint)));
    return findings.ExitCode();
  }
  if (options.out.empty()) {
    Print(draft->yaml);
    return 0;
  }
  Print(fmt::format(
      "drafted {} lines, {} as in other rule files, {} unsure: {}\n"
      "next: ferrule check {} --checkpoint {}\n",
      draft->lines, draft->known, draft->unsure, options.out, options.out, options.checkpoint));
  return 0;
}

}  // namespace ferrule::cli
