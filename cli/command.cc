// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

#include "engine/plan/rule_folder.h"

namespace ferrule::cli {
namespace {

// As a person in the current directory would write it: rules/llama.yaml instead of /home/….
std::string Shortest(const std::string& path) {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) return path;
  const std::filesystem::path inside = std::filesystem::path(path).lexically_relative(here);
  return inside.empty() || *inside.begin() == ".." ? path : inside.string();
}

}  // namespace

namespace {

std::optional<Book> ReadBookOf(const Common& common, BookOptions options, Diagnostics* out) {
  const std::string standard = DefaultRules();
  if (standard.empty()) {
    out->Add(Code::kNotFound, "the default rules are neither installed nor in the source tree")
        .Help("install ferrule, or name a directory with --rules");
    return std::nullopt;
  }
  // A program that reads JSON may stand elsewhere: one spelling for all.
  options.directories = {common.format == Format::kJson ? standard : Shortest(standard)};
  for (const std::string& directory : common.rules) {
    // One that is named again is read once, in its last place.
    std::error_code error;
    const auto same = [&](const std::string& other) {
      return std::filesystem::equivalent(other, directory, error);
    };
    auto& all = options.directories;
    all.erase(std::remove_if(all.begin(), all.end(), same), all.end());
    all.push_back(directory);
  }
  return LoadBook(options, out);
}

}  // namespace

std::optional<Book> ReadBook(const Common& common, const std::vector<std::string>& files,
                             Diagnostics* out) {
  BookOptions options;
  options.files = files;
  return ReadBookOf(common, std::move(options), out);
}

std::optional<Book> ReadBookFor(const Common& common, const Checkpoint& checkpoint,
                                Diagnostics* out) {
  const QuantSources sources = SourcesOf(checkpoint, {});
  BookOptions options;
  options.only_model_type = std::string(checkpoint.config.Find("model_type").Text());
  options.only_sources = &sources;
  return ReadBookOf(common, std::move(options), out);
}

std::optional<RuntimeBook> ReadRuntimes(const Common& common, Diagnostics* out) {
  std::vector<std::string> directories = {DefaultRules()};
  directories.insert(directories.end(), common.rules.begin(), common.rules.end());
  return LoadRuntimes(directories, out);
}

bool WriteText(const std::string& path, const std::string& text, Diagnostics* out) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file.good()) return true;
  out->Add(Code::kIo,
           fmt::format("cannot write {}: {}", Quoted(path), std::generic_category().message(errno)),
           {nullptr, path, 0, 0, 0, ""});
  return false;
}

std::vector<std::string> YamlFiles(const std::vector<std::string>& named, bool whole,
                                   Diagnostics* out) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::set<fs::path> seen;
  const auto add = [&](const std::string& path) {
    std::error_code error;
    if (seen.insert(fs::weakly_canonical(path, error)).second || error) files.push_back(path);
  };
  for (const std::string& path : named) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      add(path);
      continue;
    }
    std::vector<std::string> folders = {path}, inside;
    for (const char* folder : {"dialects", "runtimes"})
      if (whole && fs::is_directory(fs::path(path) / folder, error))
        folders.push_back((fs::path(path) / folder).string());
    bool failed = false;
    for (const std::string& folder : folders) {
      std::error_code unread;
      for (fs::directory_iterator at(folder, unread); !unread && at != fs::directory_iterator();
           at.increment(unread))
        if (at->path().extension() == ".yaml" && !at->is_directory(error))
          inside.push_back(at->path().string());
      failed = failed || unread;
      if (unread)
        out->Add(
               Code::kIo,
               fmt::format("the directory {} cannot be read: {}", Quoted(folder), unread.message()),
               {nullptr, folder, 0, 0, 0, ""})
            .Help("make it readable, or name the files that are meant");
    }
    if (!failed && inside.empty())
      HelpEmpty(
          path, path,
          &out->Add(Code::kNotFound, fmt::format("there is no .yaml file in {}", Quoted(path)),
                    {nullptr, path, 0, 0, 0, ""}));
    std::sort(inside.begin(), inside.end());
    for (const std::string& file : inside) add(file);
  }
  return files;
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
  static bool closed = false;  // the reader has gone: what it did not want is no failure
  if (closed ||
      (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0))
    return;
  closed = errno == EPIPE;
  if (closed) return;
  fmt::print(stderr, "error[FR902]: standard output cannot be written: {}\n", std::strerror(errno));
  std::_Exit(3);  // not exit: that would try to write the rest again
}

int Finish(const Common& common, const std::string& command, const Diagnostics& findings) {
  Print(FindingsReport(findings, Options(common, command, "")));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
