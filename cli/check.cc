// SPDX-License-Identifier: Apache-2.0
// ferrule check [FILES] [--checkpoint DIR] [--tp N]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "cli/command.h"
#include "engine/plan/book_scan.h"
#include "engine/plan/plan.h"
#include "engine/plan/rule_folder.h"
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
    Collect();
    // The default rules are siblings here: their own mistakes are not this check's subject.
    Diagnostics others;
    Common over = common_;
    over.rules.insert(over.rules.end(), folders_.begin(), folders_.end());
    book_ = ReadBook(over, alone_, options_.files.empty() ? &findings_ : &others);
    if (!book_) {
      for (const Finding& finding : others.findings()) findings_.AddOnce(finding);
      return Finish(common_, "check", findings_);
    }
    KeepOnly(others, subjects_);
    Runtimes();
    Rules();
    if (!options_.checkpoint.empty()) Checkpoint();
    Report(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    return findings_.ExitCode();
  }

 private:
  // The files that are named. A directory of rules is read as `--rules` reads it, so that mistakes
  // between its files are found; single rule files by themselves; single dialects at once; runtimes
  // are kept for later.
  void Collect() {
    std::vector<std::string> named = options_.files;
    const auto end = std::stable_partition(named.begin(), named.end(), IsRuleFolder);
    for (auto at = named.begin(); at != end; ++at) {
      std::error_code error;
      const auto same = [&](const std::string& other) {
        return std::filesystem::equivalent(other, *at, error);
      };
      if (std::none_of(folders_.begin(), folders_.end(), same)) folders_.push_back(*at);
    }
    for (const std::string& path : YamlFiles(named, true, &findings_)) {
      const bool rules = InFolder(path, "");
      if (rules || InFolder(path, "dialects")) {
        ++files_;
        subjects_.push_back(path);
        if (rules) rules_.push_back(path);
        continue;
      }
      const auto text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, &findings_);
      if (!text) continue;
      ++files_;
      if (HasKey(*text, "runtime") || InFolder(path, "runtimes")) {
        runtimes_.push_back(path);
      } else if (HasKey(*text, "dialect")) {
        ParseDialect(path, *text, &findings_);
      } else {
        alone_.push_back(path);
        rules_.push_back(path);
        subjects_.push_back(path);
      }
    }
  }

  // A directory that `--rules` would find rules in; one of dialects alone, say, is none.
  static bool IsRuleFolder(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (!fs::is_directory(path, error)) return false;
    if (HoldsYaml((fs::path(path) / "dialects").string())) return true;
    Diagnostics ignored;  // reported where the file is read
    for (const std::string& file : YamlFiles({path}, false, &ignored)) {
      const auto text = ReadFile(file, kYamlMaxBytes + 1, Code::kNotFound, &ignored);
      if (text && !HasKey(*text, "dialect") && !HasKey(*text, "runtime")) return true;
    }
    return false;
  }

  // Whether the file lies in `below` of one of the directories of rules.
  bool InFolder(const std::string& path, const std::string& below) const {
    namespace fs = std::filesystem;
    return std::any_of(folders_.begin(), folders_.end(), [&](const std::string& folder) {
      const fs::path parent = fs::path(path).parent_path();
      return parent ==
             (below.empty() ? fs::path(folder) / "" : fs::path(folder) / below / "").parent_path();
    });
  }

  // Findings of the files that were named.
  void KeepOnly(const Diagnostics& all, const std::vector<std::string>& files) {
    for (const Finding& finding : all.findings())
      if (std::find(files.begin(), files.end(), finding.at.path) != files.end())
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

  void Rules() {
    for (const auto& file : book_->files) {
      if (options_.files.empty())
        ++files_;
      else if (!IsSubject(file->path))
        continue;
      CheckDiffers(*book_, *file, &findings_);
      CheckTests(*book_, *file, &findings_);
      Example(*file);
    }
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

  bool IsSubject(const std::string& path) const {
    return std::find(rules_.begin(), rules_.end(), path) != rules_.end();
  }

  void Checkpoint() {
    const auto checkpoint = ReadCheckpoint(options_.checkpoint, &findings_);
    if (!checkpoint) return;
    const std::string type(checkpoint->config.Find("model_type").Text());
    const auto at = book_->by_model_type.find(type);
    const bool named =
        at != book_->by_model_type.end() && (rules_.empty() || IsSubject(at->second->path));
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
  std::vector<std::string> folders_;   // directories of rules
  std::vector<std::string> alone_;     // rule files that lie in none of them
  std::vector<std::string> rules_;     // all rule files
  std::vector<std::string> subjects_;  // and the dialects that are read with them
  std::vector<std::string> runtimes_;
  int files_ = 0;
};

}  // namespace

int Check(const Common& common, const CheckOptions& options) {
  return Checker(common, options).Run();
}

}  // namespace ferrule::cli
