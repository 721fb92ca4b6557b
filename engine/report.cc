// SPDX-License-Identifier: Apache-2.0
// Plan → text for people.
#include "engine/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/report_parts.h"
#include "engine/view.h"

namespace ferrule {
namespace {

std::string Thousands(int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string RunsAs(const ModuleView& view) {
  if (view.together == "apart") return "apart";
  if (view.together == "narrower") return "narrower";
  if (view.scheme.empty()) return "(error)";
  if (view.block_n > 0) return fmt::format("{} {}x{}", view.scheme, view.block_n, view.block_k);
  if (view.scheme == "bf16" && !view.dtype.empty() && view.dtype != "BF16")
    return fmt::format("bf16 ({})", view.dtype);
  return view.scheme;
}

std::string PerRank(const ModuleView& view) {
  if (view.cut == nullptr || view.cut->ranks.empty()) return "-";
  const Shard& first = view.cut->ranks[0];
  const bool even =
      std::all_of(view.cut->ranks.begin(), view.cut->ranks.end(), [&](const Shard& s) {
        return s.row_count() == first.row_count() && s.cols.size() == first.cols.size();
      });
  const std::string stack = view.shape.size() == 3 ? std::to_string(view.shape[0]) + ", " : "";
  return fmt::format("[{}{}, {}]{}", stack, first.row_count(), first.cols.size(), even ? "" : " …");
}

std::string Why(const ModuleView& view) {
  if (!view.same.empty()) return "reads " + view.same;
  std::string out = view.reason;
  if (!view.via.empty()) out = "listed as its fused module";
  if (view.match == "regex-match") out += " (pattern)";
  if (view.kind == "fused" && view.together == "agree") out += "; parts agree";
  if (!view.stored.empty() && !view.claim.empty() && view.stored != view.claim)
    out = fmt::format("as stored; claimed {} ({})", view.claim, out);
  return out;
}

struct Row {
  std::string name, kind, count, runs, shape, why;
};

std::string Table(const std::vector<Row>& rows) {
  size_t name = 0, kind = 0, count = 0, runs = 0, shape = 0;
  for (const Row& row : rows) {
    name = std::max(name, row.name.size());
    kind = std::max(kind, row.kind.size());
    count = std::max(count, row.count.size());
    runs = std::max(runs, row.runs.size());
    shape = std::max(shape, row.shape.size());
  }
  std::string out;
  for (const Row& row : rows)
    out += fmt::format("{:<{}}  {:<{}}  {:>{}}  {:<{}}  {:<{}}  {}\n", row.name, name, row.kind,
                       kind, row.count, count, row.runs, runs, row.shape, shape, row.why);
  return out;
}

std::string PlanText(const Plan& plan, const Diagnostics& findings, const ReportOptions& options) {
  const Decisions& d = plan.decisions;
  const Checkpoint& c = *plan.checkpoint;
  std::string out = fmt::format("model   {}  ({}; ", Printable(options.model), plan.model_type);
  if (c.has_headers)
    out += fmt::format("{} tensors in {} file{}, {})\n",
                       Thousands(static_cast<int64_t>(c.tensors().size())), c.files.size(),
                       c.files.size() == 1 ? "" : "s",
                       c.has_weights ? "headers only" : "a header fixture");
  else
    out += "config.json alone: nothing is verified)\n";
  out += fmt::format("rules   {}\n", d.rules->path);
  if (!d.quant.dialect)
    out += "method  none: no quantization_config\n";
  else
    out += fmt::format("method  {}{}\n", d.quant.dialect->name,
                       d.quant.list_key.empty() ? "; no skip list"
                                                : fmt::format("; {}: {} entries", d.quant.list_key,
                                                              d.quant.list.size()));
  out += fmt::format("tp      {}\n\n", plan.tp);

  std::vector<Row> rows{{"module", "kind", "count", "runs as", "per rank [N, K]", "why"}};
  const auto add = [&](int32_t module, const Group* group) {
    const ModuleView view = ViewOf(plan, module, group);
    const std::string kind =
        view.kind == "fused" ? fmt::format("fused {}", view.parts.size()) : std::string(view.kind);
    rows.push_back({Printable(view.name), kind, Thousands(group != nullptr ? group->count : 1),
                    RunsAs(view), PerRank(view), Why(view)});
  };
  if (options.expand) {
    for (const Unit& unit : d.units.units)
      if (IsLinear(unit.kind) || unit.kind == NodeKind::kFused)
        for (int32_t i = 0; i < unit.count; ++i) {
          const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
          if (!module.absent || module.reason == Reason::kSame) add(unit.first + i, nullptr);
        }
  } else {
    for (const Group& group : plan.groups) add(group.module, &group);
  }
  out += Table(rows) + "\n";
  out += ToHuman(findings, options.color);
  int64_t total = 0;
  std::string schemes;
  for (const auto& [name, count] : CountSchemes(plan)) {
    total += count;
    schemes += fmt::format("{}{} {}", schemes.empty() ? "" : ", ", Thousands(count), name);
  }
  out += fmt::format("{} modules: {}.  {} error{}, {} warning{}, {} note{}.  plan {}\n",
                     Thousands(total), schemes, findings.count(Level::kError),
                     findings.count(Level::kError) == 1 ? "" : "s", findings.count(Level::kWarning),
                     findings.count(Level::kWarning) == 1 ? "" : "s", findings.count(Level::kNote),
                     findings.count(Level::kNote) == 1 ? "" : "s", plan.plan_sha.substr(0, 12));
  return out;
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> CountSchemes(const Plan& plan) {
  const Decisions& d = plan.decisions;
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const Scheme& scheme : d.quant.schemes) counts.emplace_back(scheme.name, 0);
  // Parts of a fused module that runs as one are not counted by themselves.
  std::vector<bool> inside(d.modules.size(), false);
  for (const Unit& unit : d.units.units) {
    if (unit.kind != NodeKind::kFused) continue;
    for (int32_t i = 0; i < unit.count; ++i) {
      const Module& fused = d.modules[static_cast<size_t>(unit.first + i)];
      if (fused.absent || fused.scheme < 0) continue;
      ++counts[static_cast<size_t>(fused.scheme)].second;
      for (const int32_t part : unit.parts)
        inside[static_cast<size_t>(d.units.units[static_cast<size_t>(part)].first + i)] = true;
    }
  }
  for (const Unit& unit : d.units.units) {
    if (!IsLinear(unit.kind)) continue;
    for (int32_t i = 0; i < unit.count; ++i) {
      const size_t at = static_cast<size_t>(unit.first + i);
      if (!inside[at] && d.modules[at].scheme >= 0)
        ++counts[static_cast<size_t>(d.modules[at].scheme)].second;
    }
  }
  // Groups of one scheme are one line.
  std::vector<std::pair<std::string, int64_t>> joined;
  for (const auto& [name, count] : counts) {
    const auto at = std::find_if(joined.begin(), joined.end(),
                                 [&name = name](const auto& other) { return other.first == name; });
    if (at == joined.end())
      joined.emplace_back(name, count);
    else
      at->second += count;
  }
  return joined;
}

std::string SummaryLine(const Plan& plan, const Diagnostics& findings) {
  int64_t total = 0;
  std::string schemes;
  for (const auto& [name, count] : CountSchemes(plan)) {
    total += count;
    schemes += fmt::format(" {}={}", name, count);
  }
  return fmt::format(
      "model_type={} tp={} modules={}{} errors={} warnings={} notes={} rules={} plan={}",
      plan.model_type, plan.tp, total, schemes, findings.count(Level::kError),
      findings.count(Level::kWarning), findings.count(Level::kNote), plan.rules_sha.substr(0, 12),
      plan.plan_sha.substr(0, 12));
}

std::string PlanReport(const Plan* plan, const Diagnostics& findings,
                       const ReportOptions& options) {
  if (options.format == Format::kJson) return PlanJson(plan, findings, options);
  if (plan == nullptr || options.format == Format::kShort) return FindingsReport(findings, options);
  return PlanText(*plan, findings, options);
}

std::string FindingsReport(const Diagnostics& findings, const ReportOptions& options) {
  if (options.format == Format::kJson) return FindingsJson(findings, options);
  if (options.format == Format::kHuman) return ToHuman(findings, options.color);
  std::string out;
  for (const Finding& finding : findings.findings()) out += ToShort(finding);
  if (findings.dropped() > 0) out += fmt::format("… and {} more\n", findings.dropped());
  return out;
}

std::string ExplainModule(const Plan& plan, int32_t module, const ReportOptions& options) {
  if (options.format == Format::kJson) return ModuleJson(plan, module);
  const ModuleView view = ViewOf(plan, module, nullptr);
  const Unit& unit = plan.decisions.UnitOf(module);
  std::string out = fmt::format("{}  ->  {}\n", Printable(view.name), RunsAs(view));
  int step = 0;
  const auto line = [&](std::string_view what, const std::string& text, const std::string& where) {
    out +=
        fmt::format(" {} {:<10}  {}{}{}\n", ++step, what, text, where.empty() ? "" : "    ", where);
  };
  if (unit.kind == NodeKind::kFused)
    line("rules", fmt::format("fused of {}", fmt::join(view.parts, ", ")),
         fmt::format("{}:{}", view.rule_file, view.rule_line));
  else
    line("rules",
         fmt::format("{} {}{}", view.kind, ShapeText(view.shape),
                     LayoutOf(unit).empty() ? "" : fmt::format(", {}", LayoutOf(unit))),
         fmt::format("{}:{}", view.rule_file, view.rule_line));
  if (!view.entry.empty())
    line("list",
         fmt::format("{} ({}{})", Quoted(view.entry), view.match,
                     view.via.empty() ? "" : ", names " + view.via),
         fmt::format("{}[{}]", view.list, view.entry_index));
  else
    line("list", view.reason, view.dialect.empty() ? "" : "dialect " + std::string(view.dialect));
  line("claim", view.claim.empty() ? "its parts differ" : view.claim, "");
  if (!plan.decisions.has_headers)
    line("stored", "unknown: there are no headers", "");
  else if (!view.same.empty())
    line("stored", "nothing of its own; it reads " + view.same, "");
  else
    line("stored",
         fmt::format("{}{}", view.stored.empty() ? "its parts differ" : view.stored,
                     view.tensor.empty() ? "" : "  " + Printable(view.tensor) + " " + view.dtype),
         Printable(view.file));
  line("decision", RunsAs(view), "");
  if (view.cut != nullptr && view.cut->ranks.empty())
    line("tp", fmt::format("{}: cannot be cut: {}", plan.tp, view.cut->why), "");
  else
    line("tp", fmt::format("{}: {} a rank", plan.tp, PerRank(view)), "");
  return out;
}

}  // namespace ferrule
