// SPDX-License-Identifier: Apache-2.0
// ferrule check [FILES] [--checkpoint DIR] [--tp N]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "cli/command.h"
#include "engine/plan/book_scan.h"
#include "engine/plan/plan.h"
#include "engine/plan/rule_test.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/file.h"

namespace ferrule::cli {
namespace {

class Checker {
 public:
  Checker(const Common& common, const CheckOptions& options) : common_(common), options_(options) {}

  int Run() {
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<std::string> rules = Collect();
    // The default rules are siblings here: their own mistakes are not this check's subject.
    Diagnostics others;
    book_ = ReadBook(common_, rules, options_.files.empty() ? &findings_ : &others);
    if (!book_) {
      findings_.Append(others);
      return Finish(common_, "check", findings_);
    }
    if (!rules.empty()) KeepOnly(others, rules);
    Runtimes();
    Rules(rules);
    Together(rules);
    if (!options_.checkpoint.empty()) Checkpoint(rules);
    Report(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    return findings_.ExitCode();
  }

 private:
  // The rule files among those named; dialects are checked at once, runtimes kept for later.
  std::vector<std::string> Collect() {
    std::vector<std::string> rules;
    for (const std::string& path : YamlFiles(options_.files, true, &findings_)) {
      const auto text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, &findings_);
      if (!text) continue;
      ++files_;
      if (HasKey(*text, "dialect"))
        ParseDialect(path, *text, &findings_);
      else if (HasKey(*text, "runtime"))
        runtimes_.push_back(path);
      else
        rules.push_back(path);
    }
    return rules;
  }

  // Findings of the files that were named.
  void KeepOnly(const Diagnostics& all, const std::vector<std::string>& rules) {
    for (const Finding& finding : all.findings())
      if (std::find(rules.begin(), rules.end(), finding.at.path) != rules.end())
        findings_.Add(finding);
  }

  // Runtime files name each other, so all are read. Without FILES each is this check's subject.
  void Runtimes() {
    std::vector<std::string> directories = {DefaultRules()};
    directories.insert(directories.end(), common_.rules.begin(), common_.rules.end());
    if (options_.files.empty()) {
      if (const auto book = LoadRuntimes(directories, &findings_))
        files_ += static_cast<int>(book->runtimes.size());
    } else if (!runtimes_.empty()) {
      Diagnostics all;
      LoadRuntimes(directories, &all, runtimes_);
      KeepOnly(all, runtimes_);
    }
  }

  void Rules(const std::vector<std::string>& rules) {
    for (const auto& file : book_->files) {
      if (!rules.empty() && std::find(rules.begin(), rules.end(), file->path) == rules.end())
        continue;
      if (rules.empty() && !options_.files.empty()) continue;
      if (rules.empty()) ++files_;
      CheckDiffers(*book_, *file, &findings_);
      CheckTests(*book_, *file, &findings_);
      Example(*file);
    }
  }

  // What is wrong only between the files of a directory, which `--rules` would read together.
  void Together(const std::vector<std::string>& rules) {
    namespace fs = std::filesystem;
    for (const std::string& named : options_.files) {
      std::error_code error;
      const auto inside = [&](const std::string& path) {
        return fs::equivalent(fs::path(path).parent_path(), named, error);
      };
      if (!fs::is_directory(fs::path(named) / "dialects", error) &&
          std::none_of(rules.begin(), rules.end(), inside))
        continue;
      Diagnostics loaded;
      LoadBook({{named}, "", {}}, &loaded);
      for (const Finding& finding : loaded.findings())
        if (!Known(finding)) findings_.Add(finding);
    }
  }

  bool Known(const Finding& finding) const {
    const auto& all = findings_.findings();
    return std::any_of(all.begin(), all.end(), [&](const Finding& known) {
      return known.code == finding.code && known.message == finding.message &&
             known.at.ToString() == finding.at.ToString();
    });
  }

  // Every size of the tree can be evaluated over the file's own example.
  void Example(const RuleFile& file) {
    if (!file.sound) return;
    const auto config = ParseJson(file.path, file.example_json, {}, &findings_);
    if (!config) return;
    const JsonValue section =
        file.config_section.empty() ? JsonValue() : config->Find(file.config_section);
    const UnitsOptions units{file.model_types[0],
                             ConfigScope(*config, section),
                             {nullptr, file.path, 0, 0, 0, ""},
                             nullptr};
    EvaluateUnits(file, units, &findings_);
  }

  void Checkpoint(const std::vector<std::string>& rules) {
    const auto checkpoint = ReadCheckpoint(options_.checkpoint, &findings_);
    if (!checkpoint) return;
    const std::string type(checkpoint->config.Find("model_type").Text());
    const auto at = book_->by_model_type.find(type);
    const bool named =
        at != book_->by_model_type.end() &&
        (rules.empty() || std::find(rules.begin(), rules.end(), at->second->path) != rules.end());
    if (!named && at != book_->by_model_type.end()) {
      findings_.Add(
          Code::kNoRules,
          fmt::format("none of the files describes the checkpoint's model_type {}", Quoted(type)),
          checkpoint->config.Find("model_type").location());
      return;
    }
    plan_ = at == book_->by_model_type.end()
                ? ferrule::MakePlan(*book_, checkpoint, {options_.tp}, &findings_)
                : MakePlanUnder(at->second, *book_, checkpoint, {options_.tp}, &findings_);
  }

  void Report(double seconds) {
    std::string text = FindingsReport(findings_, Options(common_, "check", options_.checkpoint));
    if (common_.format == Format::kHuman) {
      std::string subject = fmt::format("{} file{}", files_, files_ == 1 ? "" : "s");
      if (!options_.checkpoint.empty()) subject += " against 1 checkpoint";
      if (findings_.findings().empty() && !plan_)
        text += fmt::format("ok: {}, 0 findings\n", subject);
      else if (findings_.findings().empty())
        text += fmt::format("ok: {}: {}, 0 findings\n", subject, CountModules(*plan_));
      else
        text +=
            fmt::format("checked {} in {:.2f} s: {}\n", subject, seconds, CountFindings(findings_));
      const auto& all = findings_.findings();
      const auto first = std::find_if(all.begin(), all.end(), [](const Finding& finding) {
        return finding.level == Level::kError;
      });
      if (first != all.end())
        text += fmt::format("more: ferrule explain {}\n", CodeName(first->code));
    }
    Print(text);
  }

  const Common& common_;
  const CheckOptions& options_;
  Diagnostics findings_;
  std::optional<Book> book_;
  std::optional<Plan> plan_;
  std::vector<std::string> runtimes_;
  int files_ = 0;
};

}  // namespace

int Check(const Common& common, const CheckOptions& options) {
  return Checker(common, options).Run();
}

}  // namespace ferrule::cli
