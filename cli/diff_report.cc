// SPDX-License-Identifier: Apache-2.0
#include "cli/diff_report.h"

#include <fmt/format.h>

#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

// The first rank that holds something else than the same rank of the other side.
size_t RankThatDiffers(const ModuleState& state, const ModuleState* other) {
  const size_t ranks = state.rank_rows.size();
  size_t rank = 0;
  while (other != nullptr && rank + 1 < ranks && rank < other->rank_rows.size() &&
         state.rank_rows[rank] == other->rank_rows[rank] &&
         state.rank_columns[rank] == other->rank_columns[rank])
    ++rank;
  return rank;
}

// What the change is about, where kind, scheme and parts of both sides are the same.
std::string Detail(ChangeKind change, const ModuleState& state, const ModuleState* other) {
  if (change == ChangeKind::kShape) return fmt::format(" [{}]", fmt::join(state.shape, ", "));
  if (change == ChangeKind::kScheme && state.claim != Runs(state))
    return fmt::format(" claimed {}", state.claim.empty() ? "undecided" : state.claim);
  if (change != ChangeKind::kShards) return {};
  if (state.rank_rows.empty()) return " uncut";
  const size_t rank = RankThatDiffers(state, other);
  std::string rows;
  for (size_t i = 0; i + 1 < state.rank_rows[rank].size(); i += 2)
    rows += fmt::format("{}{}..{}", rows.empty() ? "" : "+", state.rank_rows[rank][i],
                        state.rank_rows[rank][i + 1]);
  const auto& [begin, end] = state.rank_columns[rank];
  return fmt::format(", rank {} of {}: rows {}, columns {}..{}", rank, state.rank_rows.size(), rows,
                     begin, end);
}

std::string Text(ChangeKind change, const ModuleState* state, const ModuleState* other) {
  if (state == nullptr) return "-";
  const std::string& runs = Runs(*state);
  std::string text = fmt::format("{} {}", state->kind, runs.empty() ? "undecided" : runs);
  if (!state->refused.empty()) text += " refused";
  if (state->kind == "fused") text += fmt::format(" of {}", fmt::join(state->parts, "+"));
  return text + Detail(change, *state, other);
}

const ModuleState* At(const PlanState& side, int64_t state) {
  return state < 0 ? nullptr : &side.states[static_cast<size_t>(state)];
}

}  // namespace

std::string DiffHuman(const Compared& c) {
  std::string out = fmt::format("{} ({}, tp {})\n", c.directory,
                                c.model_type.empty() ? "no model_type" : c.model_type, c.tp);
  for (const Change& change : c.diff.changes) {
    out += fmt::format(
        "  {:<6} {}  {} module{}: {} -> {}\n",
        change.unsafe.empty() ? ChangeName(change.kind) : "UNSAFE", change.name, change.count,
        change.count == 1 ? "" : "s",
        Text(change.kind, At(c.before, change.old_state), At(c.after, change.new_state)),
        Text(change.kind, At(c.after, change.new_state), At(c.before, change.old_state)));
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
    out += fmt::format(
        "{}: tp {}: {}{}: {} ({}): {} -> {}{}\n", c.directory, c.tp,
        change.unsafe.empty() ? "" : "UNSAFE ", ChangeName(change.kind), change.name, change.count,
        Text(change.kind, At(c.before, change.old_state), At(c.after, change.new_state)),
        Text(change.kind, At(c.after, change.new_state), At(c.before, change.old_state)),
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
  out->EndArray().Key("notes").BeginArray();
  for (const std::string& note : c.notes) out->Text(note);
  out->EndArray().Key("new_errors");
  WriteErrors(c.diff.new_errors, out);
  out->Key("gone_errors");
  WriteErrors(c.diff.gone_errors, out);
  out->EndObject();
}

}  // namespace

std::string DiffJson(const DiffOptions& options, const std::vector<Compared>& all,
                     const LeftOut& left_out, const DiffSums& sums, const Diagnostics& findings,
                     const ReportOptions& report) {
  JsonWriter out;
  WriteHead(report, &out);
  out.Key("old").Text(options.before).Key("new").Text(options.after);
  out.Key("checkpoints").BeginArray();
  for (const Compared& c : all) WriteCompared(c, &out);
  out.EndArray().Key("left_out").BeginArray();
  for (const auto& [directory, why] : left_out)
    out.Line().BeginObject().Key("model").Text(directory).Key("why").Text(why).EndObject();
  out.EndArray();
  WriteFindingList(findings, &out);
  out.Key("summary").BeginObject();
  WriteCounts(findings, sums.exit_code, &out);
  out.Key("compared").Int(sums.compared).Key("changed").Int(sums.changed);
  out.Key("modules").Int(sums.modules).Key("unsafe").Int(sums.unsafe);
  out.Key("new_errors").Int(sums.errors).EndObject().EndObject();
  return out.Take() + "\n";
}

}  // namespace ferrule::cli
