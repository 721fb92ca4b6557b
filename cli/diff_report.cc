// SPDX-License-Identifier: Apache-2.0
#include "cli/diff_report.h"

#include <fmt/format.h>

#include "engine/text/json_writer.h"
#include "engine/text/version.h"

namespace ferrule::cli {
namespace {

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

}  // namespace

std::string DiffHuman(const Compared& c) {
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

std::string DiffShort(const Compared& c) {
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

namespace {

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

}  // namespace

std::string DiffJson(const DiffOptions& options, const std::vector<Compared>& all,
                     const LeftOut& left_out, const DiffSums& sums, const Diagnostics& findings) {
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

}  // namespace ferrule::cli
