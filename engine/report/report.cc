// SPDX-License-Identifier: Apache-2.0
// Plan → text for people.
#include "engine/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/plan/view.h"
#include "engine/report/report_parts.h"
#include "engine/text/finding_order.h"

namespace ferrule {
namespace {

std::string Thousands(int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string RunsAs(const ModuleView& view, bool block) {
  if (view.together == "apart") return "apart";
  if (view.together == "narrower") return "narrower";
  if (view.scheme.empty()) return "(error)";
  if (block && view.block_n > 0)
    return fmt::format("{} {}x{}", view.scheme, view.block_n, view.block_k);
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
  if (!view.stored.empty() && !view.claim.empty() && view.stored != view.claim)
    out = fmt::format("as stored; claimed {} ({})", view.claim, out);
  return out;
}

std::string Plural(int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", Thousands(count), what, count == 1 ? "" : "s");
}

// "q_proj, k_proj, v_proj": parts stand beside the fused module.
std::string PartNames(const ModuleView& view) {
  std::string out;
  for (const std::string& part : view.parts)
    out +=
        fmt::format("{}{}", out.empty() ? "" : ", ", Printable(part.substr(part.rfind('.') + 1)));
  return out;
}

// The rows of a table; a row without kind is a heading.
struct Row {
  std::string name, kind, count, runs, shape, why;
};

std::string Table(const std::vector<Row>& rows) {
  size_t name = 0, kind = 0, count = 0, runs = 0, shape = 0;
  for (const Row& row : rows) {
    if (row.kind.empty()) continue;
    name = std::max(name, row.name.size());
    kind = std::max(kind, row.kind.size());
    count = std::max(count, row.count.size());
    runs = std::max(runs, row.runs.size());
    shape = std::max(shape, row.shape.size());
  }
  std::string out;
  for (const Row& row : rows)
    out += row.kind.empty() ? fmt::format("{}\n", row.name)
                            : fmt::format("{:<{}}  {:<{}}  {:>{}}  {:<{}}  {:<{}}  {}\n", row.name,
                                          name, row.kind, kind, row.count, count, row.runs, runs,
                                          row.shape, shape, row.why);
  return out;
}

// Up to and with the last placeholder: "model.layers.<layer>." of "model.layers.<layer>.mlp.gate".
std::string_view Above(std::string_view name) {
  const size_t at = name.rfind(">.");
  return at == std::string_view::npos ? std::string_view() : name.substr(0, at + 2);
}

// Calls `add` for every module that is shown by itself.
template <typename Function>
void EachModule(const Decisions& d, Function add) {
  for (const Unit& unit : d.units.units)
    for (int32_t i = 0; (IsLinear(unit.kind) || unit.kind == NodeKind::kFused) && i < unit.count;
         ++i) {
      const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
      if (!module.absent || module.reason == Reason::kSame) add(unit.first + i);
    }
}

// The only block size of the plan, as text; empty when there is none or more than one.
std::string OnlyBlock(const Decisions& d) {
  std::string only;
  for (const Scheme& scheme : d.quant.schemes) {
    if (scheme.block_n == 0) continue;
    const std::string block = fmt::format("{}x{}", scheme.block_n, scheme.block_k);
    if (!only.empty() && only != block) return {};
    only = block;
  }
  return only;
}

std::string Head(const Plan& plan, const ReportOptions& options) {
  const Decisions& d = plan.decisions;
  const Checkpoint& c = *plan.checkpoint;
  std::string out = fmt::format("model    {} ({}, ", Printable(options.model), plan.model_type);
  if (!c.has_headers)
    out += "config.json alone: nothing is verified)\n";
  else
    out += fmt::format(
        "{} in {})\n", Plural(static_cast<int64_t>(c.tensors().size()), "tensor"),
        c.has_weights ? Plural(static_cast<int64_t>(c.files.size()), "file") : "a header fixture");
  out += fmt::format("counts   {}\n", CountModules(plan));
  out += fmt::format("rules    {}\n", d.rules->path);
  if (!d.quant.dialect)
    out += "list     none: config.json has no quantization_config\n";
  else if (d.quant.list_key.empty())
    out += fmt::format("list     none; the method is {}\n", d.quant.dialect->name);
  else
    out += fmt::format("list     {}, {} {}, read as {}\n", d.quant.list_key,
                       Thousands(static_cast<int64_t>(d.quant.list.size())),
                       d.quant.list.size() == 1 ? "entry" : "entries", d.quant.dialect->name);
  return out + fmt::format("tp       {}\n", plan.tp);
}

// Which numbers a group has: "layer 0, 4-47; expert 0-3".
std::string Numbers(const Group& group) {
  std::string out;
  for (const auto& [name, values] : group.indices) {
    out += fmt::format("{}{} ", out.empty() ? "" : "; ", name);
    for (size_t i = 0; i < values.size();) {
      size_t last = i;
      while (last + 1 < values.size() && values[last + 1] == values[last] + 1) ++last;
      out += fmt::format("{}{}", i == 0 ? "" : ", ", values[i]);
      if (last > i) out += fmt::format("-{}", values[last]);
      i = last + 1;
    }
  }
  return out;
}

// Paths of which some modules are decided otherwise than others.
std::set<std::string> SplitPaths(const Plan& plan) {
  std::set<std::string> seen, split;
  for (const Group& group : plan.groups) {
    std::string path = plan.decisions.units.units[static_cast<size_t>(group.unit)].Display();
    if (!seen.insert(path).second) split.insert(std::move(path));
  }
  return split;
}

std::string PlanText(const Plan& plan, const Diagnostics& findings, const ReportOptions& options) {
  const Decisions& d = plan.decisions;
  const bool block = OnlyBlock(d).empty();
  std::vector<Row> rows{{"module", "kind", "count", "runs as", "per rank [N, K]", "why"}};
  std::string above;
  const std::set<std::string> split = SplitPaths(plan);
  const auto add = [&](int32_t module, const Group* group) {
    const ModuleView view = ViewOf(plan, module, group);
    std::string name = Printable(view.name);
    if (group != nullptr) {
      const std::string here(Above(name));
      if (here != above && !here.empty())
        rows.push_back({here.substr(0, here.size() - 1), {}, {}, {}, {}, {}});
      above = here;
      if (!here.empty()) name = "  " + name.substr(here.size());
    }
    const std::string kind =
        view.kind == "fused" ? fmt::format("fused {}", view.parts.size()) : std::string(view.kind);
    const std::string only =
        group != nullptr && split.count(view.name) > 0 ? fmt::format(" ({})", Numbers(*group)) : "";
    rows.push_back({std::move(name), kind, Thousands(group != nullptr ? group->count : 1),
                    RunsAs(view, block), PerRank(view), Why(view) + only});
  };
  if (options.expand)
    EachModule(d, [&](int32_t module) { add(module, nullptr); });
  else
    for (const Group& group : plan.groups) add(group.module, &group);
  return Head(plan, options) + "\n" + Table(rows) + "\n" + ToHuman(findings, options.color) +
         fmt::format("{}; plan {}\n", CountFindings(findings), plan.plan_sha.substr(0, 12));
}

// One line for each module or group, then the findings: for grep.
std::string PlanLines(const Plan& plan, const Diagnostics& findings, const ReportOptions& options) {
  std::string out;
  const std::set<std::string> split = SplitPaths(plan);
  const auto add = [&](int32_t module, const Group* group) {
    const ModuleView view = ViewOf(plan, module, group);
    out += fmt::format("{}: {}, {}", Printable(view.name), RunsAs(view, true), Why(view));
    if (group != nullptr && group->count > 1) out += fmt::format(", {} modules", group->count);
    if (group != nullptr && split.count(view.name) > 0)
      out += fmt::format(" ({})", Numbers(*group));
    out += '\n';
  };
  if (options.expand)
    EachModule(plan.decisions, [&](int32_t module) { add(module, nullptr); });
  else
    for (const Group& group : plan.groups) add(group.module, &group);
  return out + FindingsReport(findings, options) + SummaryLine(plan, findings) + "\n";
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
  // Groups of one scheme are one line; a scheme that nothing asked for is none.
  std::vector<std::pair<std::string, int64_t>> joined;
  for (size_t s = 0; s < counts.size(); ++s) {
    const auto& [name, count] = counts[s];
    const SchemeRule* rule = d.quant.schemes[s].rule;
    if (count == 0 && rule != nullptr && rule->named) continue;
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
  if (plan == nullptr) return FindingsReport(findings, options);
  if (options.format == Format::kShort) return PlanLines(*plan, findings, options);
  return PlanText(*plan, findings, options);
}

std::string FindingsReport(const Diagnostics& findings, const ReportOptions& options) {
  if (options.format == Format::kJson) return FindingsJson(findings, options);
  if (options.format == Format::kHuman) return ToHuman(findings, options.color);
  std::string out;
  for (const Finding* finding : InOrder(findings)) out += ToShort(*finding);
  if (findings.dropped() > 0) out += fmt::format("… and {} more\n", findings.dropped());
  return out;
}

std::string CountModules(const Plan& plan) {
  int64_t total = 0;
  std::string schemes;
  for (const auto& [name, count] : CountSchemes(plan)) {
    total += count;
    if (count == 0) continue;
    schemes += fmt::format("{} {} {}", schemes.empty() ? ":" : ",", Thousands(count), name);
    if (name == "fp8_block" && !OnlyBlock(plan.decisions).empty())
      schemes += " " + OnlyBlock(plan.decisions);
  }
  return Plural(total, "module") + schemes;
}

std::string CountFindings(const Diagnostics& findings) {
  return fmt::format("{}, {}, {}",
                     Plural(static_cast<int64_t>(findings.count(Level::kError)), "error"),
                     Plural(static_cast<int64_t>(findings.count(Level::kWarning)), "warning"),
                     Plural(static_cast<int64_t>(findings.count(Level::kNote)), "note"));
}

std::string ExplainModule(const Plan& plan, int32_t module, const Diagnostics& findings,
                          const ReportOptions& options) {
  if (options.format == Format::kJson) return ModuleJson(plan, module, findings, options);
  const ModuleView view = ViewOf(plan, module, nullptr);
  if (options.format == Format::kShort)
    return fmt::format("{}: {}, {}\n", Printable(view.name), RunsAs(view, true), Why(view));
  const Unit& unit = plan.decisions.UnitOf(module);
  // Three columns: what is asked, the answer, where it stands.
  struct Step {
    std::string what, text, where;
  };
  std::vector<Step> steps;
  const auto line = [&](std::string what, std::string text, std::string where) {
    steps.push_back({std::move(what), std::move(text), std::move(where)});
  };
  if (unit.kind == NodeKind::kFused)
    line("rules", fmt::format("fused of {}", PartNames(view)),
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
    line("list", view.reason, view.dialect.empty() ? "" : fmt::format("dialect {}", view.dialect));
  line("claim", view.claim.empty() ? "its parts differ" : view.claim, "");
  if (!plan.decisions.has_headers)
    line("stored", "unknown: there are no headers", "");
  else if (!view.same.empty())
    line("stored", "nothing of its own; it reads " + view.same, "");
  else
    line("stored",
         fmt::format(
             "{}{}", view.stored.empty() ? "its parts differ" : view.stored,
             view.tensor.empty() || unit.kind == NodeKind::kFused
                 ? ""
                 : fmt::format(", {} {}", Printable(view.tensor.substr(view.tensor.rfind('.') + 1)),
                               view.dtype)),
         Printable(view.file));
  if (view.cut != nullptr && view.cut->ranks.empty())
    line(fmt::format("tp {}", plan.tp), fmt::format("cannot be cut: {}", view.cut->why), "");
  else
    line(fmt::format("tp {}", plan.tp), fmt::format("{} a rank", PerRank(view)), "");
  size_t width = 0;
  for (const Step& step : steps)
    if (!step.where.empty()) width = std::max(width, step.text.size());
  std::string out = fmt::format("{} runs as {}\n", Printable(view.name), RunsAs(view, true));
  for (const Step& step : steps)
    out += step.where.empty()
               ? fmt::format("  {:<7} {}\n", step.what, step.text)
               : fmt::format("  {:<7} {:<{}}  {}\n", step.what, step.text, width, step.where);
  return out;
}

}  // namespace ferrule
