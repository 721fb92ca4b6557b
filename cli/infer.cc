// SPDX-License-Identifier: Apache-2.0
// ferrule infer DIR [-o FILE]: the draft of a rule file from headers and config.json.
#include "engine/infer/infer.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output_file.h"

namespace ferrule::cli {
namespace {

// The draft goes by what they declare; a file that somebody has written is not its place.
std::vector<std::string> RuleFiles(const Book& book) {
  std::vector<std::string> paths;
  for (const auto& file : book.files) paths.push_back(file->path);
  return paths;
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
  if (options.out.empty()) {
    Print(draft->yaml);
    return 0;
  }
  if (!WriteText(options.out, draft->yaml, &findings)) return Finish(common, "infer", findings);
  Print(fmt::format(
      "drafted {} lines, {} as in other rule files, {} unsure: {}\n"
      "next: ferrule check {} --checkpoint {}\n",
      draft->lines, draft->known, draft->unsure, options.out, options.out, options.checkpoint));
  return 0;
}

}  // namespace ferrule::cli
