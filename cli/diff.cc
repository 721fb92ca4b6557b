// SPDX-License-Identifier: Apache-2.0
// ferrule diff OLD NEW CHECKPOINT… [--tp 1,4] [--fail-on unsafe|change|never]: what changes when
// rules change, over many checkpoints, and whether a change can be right.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cli/command.h"
#include "cli/diff_report.h"
#include "cli/diff_saved.h"
#include "cli/rule_tree.h"

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

// DIR itself, or the directories with a config.json below it. Links are followed, and a directory
// that is met again, through a loop of links say, is left alone; of its names the one without links
// is taken.
std::vector<std::string> Checkpoints(const std::string& directory, Diagnostics* out) {
  std::error_code error;
  if (fs::exists(directory + "/config.json", error)) return {directory};
  std::vector<std::string> found;
  std::vector<fs::path> next = {directory}, links;
  std::set<fs::path> seen;
  while (!next.empty() || !links.empty()) {
    if (next.empty()) {
      std::sort(links.begin(), links.end());
      next.swap(links);
    }
    const fs::path path = next.back();
    next.pop_back();
    if (!seen.insert(fs::weakly_canonical(path, error)).second) continue;
    std::error_code unread;
    for (fs::directory_iterator at(path, unread); !unread && at != fs::directory_iterator();
         at.increment(unread)) {
      if (at->path().filename() == "config.json") found.push_back(path.string());
      if (at->is_directory(error)) (at->is_symlink(error) ? links : next).push_back(at->path());
    }
    if (unread)
      out->Add(Code::kIo,
               fmt::format("the directory {} cannot be read: {}", Quoted(path.string()),
                           unread.message()),
               {nullptr, path.string(), 0, 0, 0, ""})
          .Fact("effect", "checkpoints below it would be left out without a word")
          .Help("make it readable, or name the checkpoints that are meant");
  }
  std::sort(found.begin(), found.end());
  return found;
}

class Differ {
 public:
  Differ(const Common& common, const DiffOptions& options) : common_(common), options_(options) {}

  int Run() {
    Compute();
    for (const Compared& c : all_) {
      if (!c.diff.empty()) ++sums_.changed;
      sums_.modules += c.diff.changed;
      sums_.unsafe += c.diff.unsafe;
      sums_.errors += static_cast<int64_t>(c.diff.new_errors.size());
    }
    sums_.compared = static_cast<int64_t>(all_.size());
    sums_.exit_code = ExitCode();
    Show();
    return sums_.exit_code;
  }

 private:
  int ExitCode() const {
    if (findings_.has_errors()) return findings_.ExitCode();
    const bool unsafe = sums_.unsafe > 0 || sums_.errors > 0;
    return (options_.fail_on == "unsafe" && unsafe) ||
                   (options_.fail_on == "change" && sums_.changed > 0)
               ? 1
               : 0;
  }

  void Compute() {
    const auto before = RuleTree::Open(common_, options_.before, &findings_);
    const auto after = RuleTree::Open(common_, options_.after, &findings_);
    if (!before || !after) return;
    const std::vector<int> sizes = SizesToCompare(*before, *after, options_, &findings_);
    if (sizes.empty()) return;
    for (const RuleTree* tree : {&*before, &*after})
      // Both sides may lie over the same files.
      for (const Finding& mistake : tree->Mistakes()) findings_.AddOnce(mistake);
    for (const std::string& word : options_.checkpoints) {
      const size_t errors = findings_.count(Level::kError);
      const std::vector<std::string> directories = Checkpoints(word, &findings_);
      if (directories.empty() && findings_.count(Level::kError) == errors)
        findings_
            .Add(Code::kNotFound,
                 fmt::format("{} holds no checkpoint or header fixture", Quoted(word)),
                 {nullptr, word, 0, 0, 0, ""})
            .Help("name a directory with config.json, or one that holds such directories");
      for (const std::string& directory : directories) {
        const auto checkpoint = ReadCheckpoint(directory, &findings_);
        if (!checkpoint) continue;
        for (const int tp : sizes) One(*before, *after, directory, checkpoint, tp);
      }
    }
    if (options_.checkpoints.empty() && before->saved_plan() && after->saved_plan())
      One(*before, *after, options_.after, nullptr, sizes[0]);
    else if (all_.empty() && !left_out_.empty() && !findings_.has_errors())
      findings_
          .Add(Code::kRuntimeUnknown,
               fmt::format("nothing was compared: {} checkpoint{} left out", left_out_.size(),
                           left_out_.size() == 1 ? "" : "s"))
          .Fact("reason", left_out_[0].second);
    else if (options_.checkpoints.empty())
      findings_.Add(Code::kUsage, "name the checkpoints or header fixtures to compare")
          .Help("two saved plans need none");
  }

  void One(const RuleTree& before, const RuleTree& after, const std::string& directory,
           const std::shared_ptr<const Checkpoint>& checkpoint, int tp) {
    Compared c;
    c.directory = directory;
    c.tp = tp;
    std::string left_out;
    Diagnostics of_before, of_after;
    c.before = before.StateOf(checkpoint, tp, &left_out, &of_before);
    if (left_out.empty()) c.after = after.StateOf(checkpoint, tp, &left_out, &of_after);
    if (left_out.empty() && !c.before.planned && !c.after.planned) {
      // Nothing is equal to nothing, and says nothing about the rules.
      left_out = "neither side makes a plan of it";
      for (const auto& [tree, findings] : {std::pair(&before, &of_before), {&after, &of_after}})
        for (const Finding& finding : findings->findings())
          if (finding.level == Level::kError) findings_.AddOnce(tree->Named(finding));
    }
    if (left_out.empty() && (before.saved_plan() || after.saved_plan())) {
      left_out = OtherCheckpoint(c.before, c.after);
      if (!left_out.empty())
        findings_
            .Add(Code::kUsage, fmt::format("{} and {} are plans of two checkpoints: {}",
                                           Quoted(before.word()), Quoted(after.word()), left_out))
            .Help("compare plans of one checkpoint");
    }
    if (!left_out.empty()) {
      const auto line = std::pair(directory, left_out);
      if (left_out_.empty() || left_out_.back() != line) left_out_.push_back(line);
      return;
    }
    c.model_type =
        checkpoint ? std::string(checkpoint->config.Find("model_type").Text()) : c.after.model_type;
    for (const RuleTree* tree : {&before, &after}) {
      // Of two saved plans the first is held against the second.
      const std::string named = checkpoint ? directory : c.after.model;
      const std::string line = OtherName(*tree, named);
      if (!line.empty()) c.notes.push_back(line);
    }
    c.diff = Compare(c.before, c.after);
    all_.push_back(std::move(c));
  }

  void Show() {
    if (common_.format == Format::kJson)
      return Print(
          DiffJson(options_, all_, left_out_, sums_, findings_, Options(common_, "diff", "")));
    std::string text = FindingsReport(findings_, Options(common_, "diff", ""));
    for (const Compared& c : all_)
      for (const std::string& note : c.notes) text += fmt::format("note: {}\n", note);
    for (const Compared& c : all_)
      if (!c.diff.empty()) text += common_.format == Format::kHuman ? DiffHuman(c) : DiffShort(c);
    for (const auto& [directory, why] : left_out_)
      text += fmt::format("left out: {}: {}\n", directory, why);
    if (common_.format == Format::kHuman && !all_.empty())
      text += fmt::format(
          "compared {} plan{}: {} changed, {} module{}, {} unsafe, {} new error{}\n",
          sums_.compared, sums_.compared == 1 ? "" : "s", sums_.changed, sums_.modules,
          sums_.modules == 1 ? "" : "s", sums_.unsafe, sums_.errors, sums_.errors == 1 ? "" : "s");
    Print(text);
  }

  const Common& common_;
  const DiffOptions& options_;
  Diagnostics findings_;
  std::vector<Compared> all_;
  LeftOut left_out_;
  DiffSums sums_;
};

}  // namespace

int Diff(const Common& common, const DiffOptions& options) { return Differ(common, options).Run(); }

}  // namespace ferrule::cli
