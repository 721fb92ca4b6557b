// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace ferrule::cli {

std::optional<Book> ReadBook(const Common& common, const std::string& model_type,
                             const std::vector<std::string>& files, Diagnostics* out) {
  BookOptions options;
  const std::string standard = DefaultRules();
  if (standard.empty()) {
    out->Add(Code::kNotFound, "the default rules are neither installed nor in the source tree")
        .Help("install ferrule, or name a directory with --rules");
    return std::nullopt;
  }
  options.directories.push_back(standard);
  options.directories.insert(options.directories.end(), common.rules.begin(), common.rules.end());
  options.only_model_type = model_type;
  options.files = files;
  return LoadBook(options, out);
}

std::shared_ptr<const Checkpoint> ReadCheckpoint(const std::string& directory, Diagnostics* out) {
  std::optional<Checkpoint> checkpoint = OpenCheckpoint(directory, out);
  if (!checkpoint) return nullptr;
  return std::make_shared<const Checkpoint>(std::move(*checkpoint));
}

ReportOptions Options(const Common& common, const std::string& command, const std::string& model) {
  ReportOptions options;
  options.format = common.format;
  options.color = common.color;
  options.command = command;
  options.model = model;
  return options;
}

void Print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return;
  std::fputs("ferrule: standard output cannot be written\n", stderr);
  std::exit(3);
}

int Finish(const Common& common, const std::string& command, const Diagnostics& findings) {
  Print(FindingsReport(findings, Options(common, command, "")));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
