// SPDX-License-Identifier: Apache-2.0
// ferrule diff OLD NEW CHECKPOINT… [--tp 1,4] [--fail-on unsafe|change|never]: what changes when
// rules change, over many checkpoints, and whether a change can be right.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/rule_tree.h"
#include "engine/report/plan_diff.h"
#include "engine/text/json_writer.h"
#include "engine/text/version.h"

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

struct Compared {
  std::string directory;
  std::string model_type;
  int tp = 1;
  PlanState before, after;
  PlanDiff diff;
};

struct Sums {
  int64_t compared = 0, changed = 0, modules = 0, unsafe = 0, errors = 0;
};

// DIR itself, or the directories with a config.json one or two levels below it.
std::vector<std::string> Checkpoints(const std::string& directory) {
  std::error_code error;
  if (fs::exists(directory + "/config.json", error)) return {directory};
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(
           directory, fs::directory_options::follow_directory_symlink, error))
    if (entry.path().filename() == "config.json")
      found.push_back(entry.path().parent_path().string());
  std::sort(found.begin(), found.end());
  return found;
}

std::string Text(const ModuleState* state) {
  if (state == nullptr) return "-";
  const std::string& runs = Runs(*state);
  std::string text = fmt::format("{} {}", state->kind, runs.empty() ? "undecided" : runs);
  if (!state->refused.empty()) text += " refused";
  if (state->kind == "fused") text += fmt::format(" of {}", fmt::join(state->parts, "+"));
  return text;
}

const ModuleState* At(const PlanState& side, int64_t state) {
  return state < 0 ? nullptr : &side.states[static_cast<size_t>(state)];
}

std::string Human(const Compared& c) {
  std::string out = fmt::format("{} ({}, tp {})\n", c.directory,
                                c.model_type.empty() ? "no model_type" : c.model_type, c.tp);
  for (const Change& change : c.diff.changes) {
    out += fmt::format("  {:<6} {}  {} module{}: {} -> {}\n",
                       change.unsafe.empty() ? ChangeName(change.kind) : "UNSAFE", change.name,
                       change.count, change.count == 1 ? "" : "s",
                       Text(At(c.before, change.old_state)), Text(At(c.after, change.new_state)));
    if (!change.unsafe.empty())
      out += fmt::format("         {}, e.g. {}\n", change.unsafe, change.example);
  }
  for (const ErrorLine& error : c.diff.new_errors)
    out += fmt::format("  UNSAFE new error[{}]: {}\n", error.code, error.message);
  for (const ErrorLine& error : c.diff.gone_errors)
    out += fmt::format("  gone   error[{}]: {}\n", error.code, error.message);
  return out;
}

std::string Short(const Compared& c) {
  std::string out;
  for (const Change& change : c.diff.changes)
    out += fmt::format("{}: tp {}: {}{}: {} ({}): {} -> {}{}\n", c.directory, c.tp,
                       change.unsafe.empty() ? "" : "UNSAFE ", ChangeName(change.kind), change.name,
                       change.count, Text(At(c.before, change.old_state)),
                       Text(At(c.after, change.new_state)),
                       change.unsafe.empty() ? "" : ": " + change.unsafe);
  for (const ErrorLine& error : c.diff.new_errors)
    out += fmt::format("{}: tp {}: UNSAFE new error[{}]: {}\n", c.directory, c.tp, error.code,
                       error.message);
  for (const ErrorLine& error : c.diff.gone_errors)
    out += fmt::format("{}: tp {}: gone error[{}]: {}\n", c.directory, c.tp, error.code,
                       error.message);
  return out;
}

void WriteState(const ModuleState* state, JsonWriter* out) {
  if (state == nullptr) {
    out->Null();
    return;
  }
  out->BeginObject().Key("kind").Text(state->kind).Key("claim").TextOrNull(state->claim);
  out->Key("stored").TextOrNull(state->stored).Key("scheme").TextOrNull(state->scheme);
  out->Key("shape").Ints(state->shape).Key("parts").BeginArray();
  for (const std::string& part : state->parts) out->Text(part);
  out->EndArray().Key("refused").TextOrNull(state->refused).EndObject();
}

void WriteErrors(const std::vector<ErrorLine>& errors, JsonWriter* out) {
  out->BeginArray();
  for (const ErrorLine& error : errors)
    out->BeginObject()
        .Key("code")
        .Text(error.code)
        .Key("slug")
        .Text(error.slug)
        .Key("message")
        .Text(error.message)
        .EndObject();
  out->EndArray();
}

void WriteCompared(const Compared& c, JsonWriter* out) {
  out->Line()
      .BeginObject()
      .Key("model")
      .Text(c.directory)
      .Key("model_type")
      .TextOrNull(c.model_type);
  out->Key("tp").Int(c.tp).Key("changed").Int(c.diff.changed).Key("unsafe").Int(c.diff.unsafe);
  out->Key("changes").BeginArray();
  for (const Change& change : c.diff.changes) {
    out->Line()
        .BeginObject()
        .Key("change")
        .Text(ChangeName(change.kind))
        .Key("name")
        .Text(change.name);
    out->Key("count").Int(change.count).Key("example").Text(change.example);
    out->Key("unsafe").TextOrNull(change.unsafe).Key("old");
    WriteState(At(c.before, change.old_state), out);
    out->Key("new");
    WriteState(At(c.after, change.new_state), out);
    out->EndObject();
  }
  out->EndArray().Key("new_errors");
  WriteErrors(c.diff.new_errors, out);
  out->Key("gone_errors");
  WriteErrors(c.diff.gone_errors, out);
  out->EndObject();
}

std::string Json(const DiffOptions& options, const std::vector<Compared>& all,
                 const std::vector<std::pair<std::string, std::string>>& left_out, const Sums& sums,
                 const Diagnostics& findings) {
  JsonWriter out;
  out.BeginObject().Key("schema_version").Int(kSchemaVersion).Key("tool").BeginObject();
  out.Key("name").Text("ferrule").Key("version").Text(kVersion).EndObject();
  out.Key("command").Text("diff").Key("old").Text(options.before).Key("new").Text(options.after);
  out.Key("checkpoints").BeginArray();
  for (const Compared& c : all) WriteCompared(c, &out);
  out.EndArray().Key("left_out").BeginArray();
  for (const auto& [directory, why] : left_out)
    out.Line().BeginObject().Key("model").Text(directory).Key("why").Text(why).EndObject();
  out.EndArray().Key("summary").BeginObject().Key("compared").Int(sums.compared);
  out.Key("changed")
      .Int(sums.changed)
      .Key("modules")
      .Int(sums.modules)
      .Key("unsafe")
      .Int(sums.unsafe);
  out.Key("new_errors").Int(sums.errors).EndObject();
  out.Key("findings").BeginArray();
  for (const Finding& finding : findings.findings())
    out.BeginObject()
        .Key("code")
        .Text(CodeName(finding.code))
        .Key("level")
        .Text(LevelName(finding.level))
        .Key("message")
        .Text(finding.message)
        .EndObject();
  out.EndArray().EndObject();
  return out.Take() + "\n";
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
    Show();
    if (findings_.has_errors()) return findings_.ExitCode();
    const bool unsafe = sums_.unsafe > 0 || sums_.errors > 0;
    return (options_.fail_on == "unsafe" && unsafe) ||
                   (options_.fail_on == "change" && sums_.changed > 0)
               ? 1
               : 0;
  }

 private:
  void Compute() {
    const auto before = RuleTree::Open(common_, options_.before, &findings_);
    const auto after = RuleTree::Open(common_, options_.after, &findings_);
    if (!before || !after) return;
    for (const std::string& word : options_.checkpoints) {
      const std::vector<std::string> directories = Checkpoints(word);
      if (directories.empty())
        findings_
            .Add(Code::kNotFound,
                 fmt::format("{} holds no checkpoint or header fixture", Quoted(word)),
                 {nullptr, word, 0, 0, 0, ""})
            .Help("name a directory with config.json, or one that holds such directories");
      for (const std::string& directory : directories) {
        const auto checkpoint = ReadCheckpoint(directory, &findings_);
        if (!checkpoint) continue;
        for (const int tp : options_.tp) One(*before, *after, directory, checkpoint, tp);
      }
    }
    if (options_.checkpoints.empty() && before->is_saved_plan() && after->is_saved_plan())
      One(*before, *after, options_.after, nullptr, options_.tp[0]);
    else if (all_.empty() && !left_out_.empty())
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
    c.before = before.StateOf(checkpoint, tp, &left_out);
    if (left_out.empty()) c.after = after.StateOf(checkpoint, tp, &left_out);
    if (!left_out.empty()) {
      const auto line = std::pair(directory, left_out);
      if (left_out_.empty() || left_out_.back() != line) left_out_.push_back(line);
      return;
    }
    c.model_type =
        checkpoint ? std::string(checkpoint->config.Find("model_type").Text()) : c.after.model_type;
    c.diff = Compare(c.before, c.after);
    all_.push_back(std::move(c));
  }

  void Show() {
    if (common_.format == Format::kJson)
      return Print(Json(options_, all_, left_out_, sums_, findings_));
    std::string text = FindingsReport(findings_, Options(common_, "diff", ""));
    for (const Compared& c : all_)
      if (!c.diff.empty()) text += common_.format == Format::kHuman ? Human(c) : Short(c);
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
  std::vector<std::pair<std::string, std::string>> left_out_;  // checkpoint, why
  Sums sums_;
};

}  // namespace

int Diff(const Common& common, const DiffOptions& options) { return Differ(common, options).Run(); }

}  // namespace ferrule::cli
