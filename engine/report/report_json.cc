// SPDX-License-Identifier: Apache-2.0
// Plan → JSON. README.md lists the keys; tests/golden holds examples.
#include "engine/plan/view.h"
#include "engine/report/report.h"
#include "engine/report/report_parts.h"
#include "engine/runtimes/plan_as.h"
#include "engine/text/finding_order.h"
#include "engine/text/json_writer.h"
#include "engine/text/version.h"

namespace ferrule {
namespace {

void WriteLocation(const Location& at, JsonWriter* out) {
  out->BeginObject();
  out->Key("file").TextOrNull(at.path);
  if (at.line > 0) out->Key("line").Int(at.line);
  if (at.line > 0 && at.column > 0) out->Key("column").Int(at.column);
  if (at.line > 0 && at.end_column > at.column) out->Key("end_column").Int(at.end_column);
  if (!at.pointer.empty()) out->Key("pointer").Text(at.pointer);
  out->EndObject();
}

void WriteFinding(const Finding& finding, JsonWriter* out) {
  out->Line().BeginObject();
  out->Key("code").Text(CodeName(finding.code));
  out->Key("slug").Text(Info(finding.code).slug);
  out->Key("level").Text(LevelName(finding.level));
  out->Key("message").Text(finding.message);
  out->Key("location");
  if (finding.at.path.empty())
    out->Null();
  else
    WriteLocation(finding.at, out);
  out->Key("labels").BeginArray();
  for (const Label& label : finding.labels) {
    out->BeginObject().Key("text").Text(label.text).Key("location");
    WriteLocation(label.at, out);
    out->EndObject();
  }
  out->EndArray();
  out->Key("facts").BeginArray();
  for (const auto& [key, text] : finding.facts)
    out->BeginObject().Key("key").Text(key).Key("text").Text(text).EndObject();
  out->EndArray();
  out->Key("help").TextOrNull(finding.help);
  out->EndObject();
}

void WriteShard(const Shard& shard, int64_t stack, JsonWriter* out) {
  out->BeginObject().Key("shape").BeginArray();
  if (stack > 0) out->Int(stack);
  out->Int(shard.row_count()).Int(shard.cols.size()).EndArray();
  out->Key("rows").BeginArray();
  for (const Range& range : shard.rows)
    out->BeginArray().Int(range.begin).Int(range.end).EndArray();
  out->EndArray();
  out->Key("cols").BeginArray().Int(shard.cols.begin).Int(shard.cols.end).EndArray();
  out->EndObject();
}

void WriteLayout(const Unit& unit, JsonWriter* out) {
  const std::string_view layout = LayoutOf(unit);
  if (layout.empty()) {
    out->Null();
    return;
  }
  // What headers cannot prove: a plain export has the same shape.
  out->BeginObject().Key("declared").Text(layout).Key("verified").Bool(false);
  const int64_t times = std::max<int64_t>({1, unit.per, unit.groups});
  if (times > 1) out->Key("groups").Int(times);
  out->Key("slices").BeginArray();
  for (const Slice& slice : unit.slices)
    out->BeginObject().Key("name").Text(slice.name).Key("rows").Int(slice.rows / times).EndObject();
  out->EndArray().EndObject();
}

void WriteWhy(const ModuleView& view, JsonWriter* out) {
  out->BeginObject();
  out->Key("rule_file").Text(view.rule_file).Key("rule_line").Int(view.rule_line);
  out->Key("dialect").TextOrNull(view.dialect);
  out->Key("reason").Text(view.reason);
  out->Key("list").TextOrNull(view.list);
  out->Key("entry").TextOrNull(view.entry);
  out->Key("entry_index");
  if (view.entry_index >= 0)
    out->Int(view.entry_index);
  else
    out->Null();
  out->Key("match").TextOrNull(view.match);
  out->Key("via").TextOrNull(view.via);
  out->Key("tensor").TextOrNull(view.tensor);
  out->Key("file").TextOrNull(view.file);
  out->EndObject();
}

void WriteModule(const Plan& plan, int32_t module, const Group* group, JsonWriter* out) {
  const Unit& unit = plan.decisions.UnitOf(module);
  const ModuleView view = ViewOf(plan, module, group);
  out->Line().BeginObject();
  out->Key("name").Text(view.name).Key("kind").Text(view.kind);
  out->Key("parts").BeginArray();
  for (const std::string& part : view.parts) out->Text(part);
  out->EndArray();
  out->Key("claim").TextOrNull(view.claim);
  out->Key("stored").TextOrNull(plan.decisions.has_headers ? view.stored : "");
  out->Key("scheme").TextOrNull(view.scheme);
  out->Key("dtype").TextOrNull(view.dtype);
  out->Key("block");
  if (view.block_n > 0)
    out->Ints({view.block_n, view.block_k});
  else
    out->Null();
  out->Key("shape").Ints(view.shape);
  out->Key("split").Text(
      SplitName(plan.decisions.UnitOf(module).kind == NodeKind::kFused && !unit.parts.empty()
                    ? plan.decisions.units.units[static_cast<size_t>(unit.parts[0])].node->split
                    : unit.node->split));
  out->Key("per_rank").BeginArray();
  if (view.cut != nullptr)
    for (const Shard& shard : view.cut->ranks) WriteShard(shard, unit.stack, out);
  out->EndArray();
  out->Key("layout");
  WriteLayout(unit, out);
  if (!view.together.empty()) out->Key("together").Text(view.together);
  if (!view.same.empty()) out->Key("same").Text(view.same);
  if (group != nullptr) {
    out->Key("count").Int(group->count).Key("indices").BeginObject();
    for (const auto& [name, values] : group->indices)
      out->Key(name).Ints({values.begin(), values.end()});
    out->EndObject();
  }
  out->Key("why");
  WriteWhy(view, out);
  out->EndObject();
}

}  // namespace

void WriteFindingList(const Diagnostics& findings, JsonWriter* out) {
  out->Key("findings").BeginArray();
  for (const Finding* finding : InOrder(findings)) WriteFinding(*finding, out);
  out->Line().EndArray();
}

void WriteCounts(const Diagnostics& findings, int exit_code, JsonWriter* out) {
  out->Key("errors").Int(static_cast<int64_t>(findings.count(Level::kError)));
  out->Key("warnings").Int(static_cast<int64_t>(findings.count(Level::kWarning)));
  out->Key("notes").Int(static_cast<int64_t>(findings.count(Level::kNote)));
  out->Key("not_shown").Int(static_cast<int64_t>(findings.dropped()));
  out->Key("exit_code").Int(exit_code);
}

void WriteFindings(const Diagnostics& findings, JsonWriter* out) {
  WriteFindingList(findings, out);
  out->Key("summary").BeginObject();
  WriteCounts(findings, findings.ExitCode(), out);
  out->EndObject();
}

void WriteHead(const ReportOptions& options, JsonWriter* out) {
  out->BeginObject().Key("schema_version").Int(kSchemaVersion);
  out->Key("tool")
      .BeginObject()
      .Key("name")
      .Text("ferrule")
      .Key("version")
      .Text(kVersion)
      .EndObject();
  out->Key("command").Text(options.command);
}

std::string PlanJson(const Plan* plan, const Diagnostics& findings, const ReportOptions& options) {
  JsonWriter out;
  WriteHead(options, &out);
  out.Key("model").Text(options.model);
  out.Key("model_type").TextOrNull(plan != nullptr ? plan->model_type : "");
  out.Key("tp").Int(plan != nullptr ? plan->tp : options.tp);
  out.Key("rules").TextOrNull(plan != nullptr ? plan->decisions.rules->path : "");
  out.Key("rules_sha").TextOrNull(plan != nullptr ? plan->rules_sha : "");
  out.Key("plan_sha").TextOrNull(plan != nullptr ? plan->plan_sha : "");
  out.Key("headers").Bool(plan != nullptr && plan->decisions.has_headers);
  out.Key("schemes").BeginObject();
  if (plan != nullptr)
    for (const auto& [name, count] : CountSchemes(*plan)) out.Key(name).Int(count);
  out.EndObject();
  out.Key("modules").BeginArray();
  if (plan != nullptr && !options.expand)
    for (const Group& group : plan->groups) WriteModule(*plan, group.module, &group, &out);
  if (plan != nullptr && options.expand)
    for (const int32_t id : PresentModules(*plan)) WriteModule(*plan, id, nullptr, &out);
  out.Line().EndArray();
  if (plan != nullptr && options.as != nullptr) {
    out.Key("as");
    WritePlanAs(*plan, *options.as, options.expand, &out);
  }
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

std::string FindingsJson(const Diagnostics& findings, const ReportOptions& options) {
  JsonWriter out;
  WriteHead(options, &out);
  if (!options.model.empty()) out.Key("model").Text(options.model);
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

std::string ModuleJson(const Plan& plan, int32_t module, const Diagnostics& findings,
                       const ReportOptions& options) {
  JsonWriter out;
  WriteHead(options, &out);
  out.Key("model").Text(options.model).Key("tp").Int(plan.tp).Key("module");
  WriteModule(plan, module, nullptr, &out);
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

}  // namespace ferrule
