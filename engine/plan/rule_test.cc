// SPDX-License-Identifier: Apache-2.0
// RuleTest → plan → what differs.
#include "engine/plan/rule_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/plan/rule_test_case.h"
#include "engine/plan/sub_block.h"
#include "engine/plan/view.h"

namespace ferrule {
namespace {

// A concrete path of the plan: a module or a container of <expert>.
struct Place {
  int32_t module = -1, container = -1;
  explicit operator bool() const { return module >= 0 || container >= 0; }
};

std::string Text(const Sizes& sizes) { return fmt::format("[{}]", fmt::join(sizes, ", ")); }

// Equal sizes of all ranks once, else each; at most eight.
std::string Text(const std::vector<Sizes>& ranks) {
  if (std::adjacent_find(ranks.begin(), ranks.end(), std::not_equal_to<>()) == ranks.end())
    return ranks.empty() ? "none" : Text(ranks[0]);
  std::string out;
  for (size_t rank = 0; rank < ranks.size() && rank < 8; ++rank)
    out += fmt::format("{}{}", rank == 0 ? "" : ", ", Text(ranks[rank]));
  return ranks.size() > 8 ? out + ", …" : out;
}

class CaseRunner {
 public:
  CaseRunner(const RuleTest& test, TestOutcome* outcome) : test_(test), outcome_(outcome) {}

  void Run(const Book& book, std::shared_ptr<const RuleFile> file) {
    auto checkpoint = std::make_shared<Checkpoint>();
    checkpoint->config = test_.config;
    checkpoint->quantization_config = test_.quantization_config;
    plan_ = MakePlanUnder(std::move(file), book, checkpoint, {test_.tp}, &found_);
    for (const ExpectedModule& expected : test_.expect) Module(expected);
    if (plan_) DeadEntries();
    UnexpectedErrors();
  }

  void Cover(std::set<std::string>* all, std::set<std::string>* touched) const {
    if (!plan_) return;
    const Decisions& d = plan_->decisions;
    std::set<int32_t> units, containers;
    for (const ExpectedModule& expected : test_.expect) {
      const Place place = Find(expected.path);
      if (place.container >= 0) containers.insert(place.container);
      if (place.module < 0) continue;
      const Unit& unit = d.UnitOf(place.module);
      units.insert(d.unit_of[static_cast<size_t>(place.module)]);
      units.insert(unit.parts.begin(), unit.parts.end());
    }
    for (size_t u = 0; u < d.units.units.size(); ++u) {
      const Unit& unit = d.units.units[u];
      if (!IsLinear(unit.kind) && unit.kind != NodeKind::kFused) continue;
      all->insert(unit.Display());
      if (units.count(static_cast<int32_t>(u)) > 0 || containers.count(unit.container) > 0)
        touched->insert(unit.Display());
    }
  }

 private:
  void Differ(const ExpectedModule& expected, std::string field, std::string wanted,
              std::string got, std::string decided_by = {}) {
    outcome_->differences.push_back({expected.path, std::move(field), std::move(wanted),
                                     std::move(got), std::move(decided_by)});
  }

  Place Find(const std::string& path) const {
    Place place;
    place.module = plan_->Find(path);
    if (place.module < 0) place.container = plan_->decisions.containers.At(path);
    return place;
  }

  const Unit& UnitAt(int32_t unit) const {
    return plan_->decisions.units.units[static_cast<size_t>(unit)];
  }

  // Schemes of the linears of a container, each once.
  std::set<std::string> SchemesOf(int32_t container) const {
    std::set<std::string> schemes;
    for (const Unit& unit : plan_->decisions.units.units)
      if (unit.container == container && IsLinear(unit.kind))
        for (int32_t i = 0; i < unit.count; ++i) {
          const auto& module = plan_->decisions.modules[static_cast<size_t>(unit.first + i)];
          if (!module.absent && module.scheme >= 0)
            schemes.insert(plan_->SchemeName(module.scheme));
        }
    return schemes;
  }

  // A shard of the module begins or ends inside a block of its own scheme.
  bool SubBlock(int32_t id) const {
    const Decisions& d = plan_->decisions;
    const Unit& unit = d.UnitOf(id);
    if (unit.kind == NodeKind::kFused)
      return std::any_of(unit.parts.begin(), unit.parts.end(), [&](int32_t part) {
        return SubBlock(UnitAt(part).first + id - unit.first);
      });
    const int8_t scheme = d.modules[static_cast<size_t>(id)].scheme;
    const Cut* cut = plan_->CutOf(unit);
    if (scheme < 1 || cut == nullptr) return false;
    const Scheme& s = d.quant.schemes[static_cast<size_t>(scheme)];
    return !InsideBlock(unit, *cut, s).empty();
  }

  bool Reported(Code code) const {
    return std::any_of(found_.findings().begin(), found_.findings().end(),
                       [&](const Finding& finding) { return finding.code == code; });
  }

  // Whether a finding stands at the rule of `place` (or of a part), names its path or its entry.
  bool About(const Finding& finding, const Place& place, const std::string& path) const {
    if (finding.message.find("`" + path + "`") != std::string::npos) return true;
    if (place.module < 0) return false;
    const Decisions& d = plan_->decisions;
    const auto at_rule = [&](const Unit& unit) {
      const Location rule = RuleAt(d, unit);
      return finding.at.path == rule.path && finding.at.line == rule.line &&
             finding.at.column == rule.column;
    };
    const Unit& unit = d.UnitOf(place.module);
    if (at_rule(unit)) return true;
    if (std::any_of(unit.parts.begin(), unit.parts.end(),
                    [&](int32_t part) { return at_rule(UnitAt(part)); }))
      return true;
    const int32_t entry = d.modules[static_cast<size_t>(place.module)].entry;
    if (entry < 0 || finding.at.pointer.empty()) return false;
    const Location& at = d.quant.list.entry(static_cast<size_t>(entry)).at;
    return finding.at.path == at.path && finding.at.pointer == at.pointer;
  }

  // See rule_test.h.
  bool Concerns(Code code, const Place& place, const std::string& path) const {
    if (!Reported(code)) return false;
    if (!plan_) return true;
    if (!place) return false;
    const Decisions& d = plan_->decisions;
    if (place.module >= 0) {
      const Unit& unit = d.UnitOf(place.module);
      const Cut* cut = plan_->CutOf(unit);
      if (code == Code::kUncuttable) return cut != nullptr && cut->ranks.empty();
      if (code == Code::kSubBlockShard) return SubBlock(place.module);
      if (code == Code::kPartsDisagree)
        return unit.kind == NodeKind::kFused &&
               d.modules[static_cast<size_t>(place.module)].together == Together::kDisagree;
    } else if (code == Code::kExpertsDisagree) {
      return SchemesOf(place.container).size() > 1;
    }
    for (const Finding& finding : found_.findings())
      if (finding.code == code && About(finding, place, path)) return true;
    return false;
  }

  std::string DecidedBy(int32_t id) const {
    const ModuleView view = ViewOf(*plan_, id, nullptr);
    std::string out = RuleAt(plan_->decisions, plan_->decisions.UnitOf(id)).ToString();
    if (!view.entry.empty())
      out += fmt::format(", {} in `{}` [{}] ({})", Quoted(view.entry), view.list, view.entry_index,
                         view.match);
    else if (!view.reason.empty())
      out += fmt::format(", {}", view.reason);
    return out;
  }

  // Slugs of all findings of errors or of the rest that concern the module.
  std::string Slugs(const Place& place, const std::string& path, bool errors) const {
    std::string out;
    for (const CodeInfo& info : AllCodes())
      if ((info.level == Level::kError) == errors && Concerns(info.code, place, path))
        out += fmt::format("{}{}", out.empty() ? "" : ", ", info.slug);
    return out.empty() ? "none" : out;
  }

  void Slug(const ExpectedModule& expected, const std::optional<Code>& code, const Place& place,
            bool errors) {
    if (!code || Concerns(*code, place, expected.path)) return;
    Differ(expected, errors ? "error" : "note", Info(*code).slug,
           Slugs(place, expected.path, errors));
  }

  void Module(const ExpectedModule& expected) {
    if (!plan_) {
      Slug(expected, expected.error, {}, true);
      if (!expected.error) Differ(expected, "plan", "a plan", "none, because of errors");
      return;
    }
    const Place place = Find(expected.path);
    const Decisions& d = plan_->decisions;
    const bool here = place.container >= 0 ||
                      (place.module >= 0 &&
                       (!d.modules[static_cast<size_t>(place.module)].absent ||
                        d.modules[static_cast<size_t>(place.module)].reason == Reason::kSame));
    if (expected.absent) {
      if (here)
        Differ(expected, "module", "absent", "present",
               place.module >= 0 ? DecidedBy(place.module) : "");
      return;
    }
    if (!here) {
      const std::string nearest = NearestPath(d, expected.path);
      Differ(expected, "module", "present",
             nearest.empty() || place ? "absent"
                                      : fmt::format("absent; the nearest is `{}`", nearest));
      return;
    }
    Slug(expected, expected.error, place, true);
    Slug(expected, expected.note, place, false);
    if (place.container >= 0)
      ContainerFields(expected, place.container);
    else
      Fields(expected, place.module);
  }

  void ContainerFields(const ExpectedModule& expected, int32_t container) {
    if (expected.scheme) {
      const std::string got = fmt::format("{}", fmt::join(SchemesOf(container), ", "));
      if (got != *expected.scheme) Differ(expected, "scheme", *expected.scheme, got);
    }
    if (expected.kind || expected.shape || expected.parts || !expected.per_rank.empty())
      Differ(expected, "module", "a linear or fused module", "a container of experts");
  }

  void Fields(const ExpectedModule& expected, int32_t id) {
    const Unit& unit = plan_->decisions.UnitOf(id);
    const ModuleView view = ViewOf(*plan_, id, nullptr);
    const bool linear = IsLinear(unit.kind) || unit.kind == NodeKind::kFused;
    const auto field = [&](const char* name, const std::string& wanted, const std::string& got) {
      if (wanted != got) Differ(expected, name, wanted, got, DecidedBy(id));
    };
    std::vector<std::string> parts;
    for (const int32_t part : unit.parts) {
      const Unit& p = UnitAt(part);
      if (!plan_->decisions.modules[static_cast<size_t>(p.first + id - unit.first)].absent)
        parts.push_back(PathText(p.node->segments));
    }
    if (expected.kind) field("kind", *expected.kind, std::string(view.kind));
    if (expected.parts)
      field("parts", fmt::format("[{}]", fmt::join(*expected.parts, ", ")),
            fmt::format("[{}]", fmt::join(parts, ", ")));
    if (expected.scheme)
      field("scheme", *expected.scheme,
            !linear               ? "none, it is no linear"
            : view.scheme.empty() ? Undecided(view)
                                  : view.scheme);
    if (expected.shape)
      field("shape", Text(*expected.shape), Text(linear ? view.shape : unit.shape));
    if (expected.per_rank.empty()) return;
    std::vector<Sizes> got;
    if (view.cut != nullptr)
      for (const Shard& shard : view.cut->ranks)
        got.push_back({shard.row_count(), shard.cols.size()});
    field("per_rank", Text(expected.per_rank),
          got.empty() && view.cut != nullptr ? "none: " + view.cut->why : Text(got));
  }

  static std::string Undecided(const ModuleView& view) {
    return view.together.empty() || view.together == "agree"
               ? "none"
               : fmt::format("none, its parts: {}", view.together);
  }

  void DeadEntries() {
    const Decisions& d = plan_->decisions;
    std::set<std::string> dead;
    for (const int32_t id : d.dead) {
      const std::string& entry = d.quant.list.entry(static_cast<size_t>(id)).text;
      const std::string nearest = d.quant.list.is_pattern(static_cast<size_t>(id))
                                      ? ""
                                      : NearestPath(d, d.quant.list.name(static_cast<size_t>(id)));
      if (!dead.insert(entry).second) continue;
      const auto declared =
          std::find_if(test_.dead.begin(), test_.dead.end(),
                       [&](const ExpectedDead& expected) { return expected.entry == entry; });
      const auto text = [](const std::string& path) { return path.empty() ? "none" : path; };
      if (declared == test_.dead.end())
        outcome_->differences.push_back(
            {entry, "entry", "matches a module",
             nearest.empty() ? "dead" : fmt::format("dead; the nearest is `{}`", nearest), ""});
      else if (declared->nearest != nearest)
        outcome_->differences.push_back(
            {entry, "nearest", text(declared->nearest), text(nearest), ""});
    }
    for (const ExpectedDead& expected : test_.dead)
      if (dead.count(expected.entry) == 0) {
        bool listed = false;
        for (size_t i = 0; i < d.quant.list.size(); ++i)
          listed = listed || d.quant.list.entry(i).text == expected.entry;
        outcome_->differences.push_back(
            {expected.entry, "entry", "dead", listed ? "matches a module" : "not in the list", ""});
      }
  }

  void UnexpectedErrors() {
    for (const Finding& finding : found_.findings()) {
      if (finding.level != Level::kError) continue;
      const bool expected =
          std::any_of(test_.expect.begin(), test_.expect.end(), [&](const ExpectedModule& module) {
            if (module.error != finding.code) return false;
            return !plan_ || finding.code == Code::kUncuttable ||
                   About(finding, Find(module.path), module.path);
          });
      if (expected) continue;
      outcome_->differences.push_back({"", "error", "none",
                                       fmt::format("{}[{}]: {}", Info(finding.code).slug,
                                                   CodeName(finding.code), finding.message),
                                       finding.at.ToString()});
    }
  }

  const RuleTest& test_;
  TestOutcome* outcome_;
  Diagnostics found_;
  std::optional<Plan> plan_;
};

}  // namespace

size_t TestReport::failed() const {
  return static_cast<size_t>(std::count_if(outcomes.begin(), outcomes.end(),
                                           [](const TestOutcome& o) { return !o.passed(); }));
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): shared with the plans that are made
TestReport RunRuleTests(const Book& book, std::shared_ptr<const RuleFile> file,
                        const TestOptions& options, Diagnostics* out) {
  TestReport report;
  report.file = file->path;
  if (!file->sound) {
    out->Add(Code::kUnsoundRules,
             fmt::format("{} has mistakes, so its tests are not run", file->path),
             {nullptr, file->path, 0, 0, 0, ""})
        .Help(fmt::format("see `ferrule check {}`", file->path));
    return report;
  }
  const YamlNode* tests = file->yaml.root.Find("tests");
  std::set<std::string> all, touched;
  for (size_t i = 0; tests != nullptr && i < tests->items.size(); ++i) {
    const YamlNode* it = tests->items[i].Find("it");
    if (!options.filter.empty() &&
        (it == nullptr || it->text.find(options.filter) == std::string::npos))
      continue;
    RuleTest test;
    Diagnostics mistakes;
    const bool good = ParseRuleTest(book, *file, tests->items[i], &test, &mistakes);
    out->Append(mistakes);
    report.outcomes.push_back({file->At(test.place), test.it, {}});
    TestOutcome& outcome = report.outcomes.back();
    if (!good) {
      for (const Finding& finding : mistakes.findings())
        outcome.differences.push_back(
            {"", "test", "can be read", finding.message, finding.at.ToString()});
      continue;
    }
    CaseRunner runner(test, &outcome);
    runner.Run(book, file);
    runner.Cover(&all, &touched);
  }
  if (options.filter.empty())
    std::set_difference(all.begin(), all.end(), touched.begin(), touched.end(),
                        std::back_inserter(report.untouched));
  return report;
}

void CheckTests(const Book& book, const RuleFile& file, Diagnostics* out) {
  const YamlNode* tests = file.sound ? file.yaml.root.Find("tests") : nullptr;
  for (size_t i = 0; tests != nullptr && i < tests->items.size(); ++i) {
    RuleTest test;
    ParseRuleTest(book, file, tests->items[i], &test, out);
  }
}

void CheckExample(const Book& book, std::shared_ptr<const RuleFile> file, Diagnostics* out) {
  if (!file->sound) return;
  auto config = ParseJson(file->path + " (example)", file->example_json, {}, out);
  if (!config) return;
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->config = std::move(*config);
  MakePlanUnder(std::move(file), book, checkpoint, {}, out);
}

std::string ToHuman(const TestOutcome& outcome) {
  const std::string it = outcome.it.empty() ? "(a test without a sentence)" : Printable(outcome.it);
  if (outcome.passed()) return fmt::format("  ok    {}\n", it);
  std::string out = fmt::format("  FAIL  {:<52}  {}\n", it, outcome.at.ToString());
  size_t width = 0;
  for (const TestDifference& difference : outcome.differences)
    width = std::max(width, difference.field.size());
  for (size_t i = 0; i < outcome.differences.size(); ++i) {
    const TestDifference& d = outcome.differences[i];
    const bool first = i == 0 || outcome.differences[i - 1].path != d.path;
    const bool last = i + 1 == outcome.differences.size() ||
                      outcome.differences[i + 1].path != d.path ||
                      outcome.differences[i + 1].decided_by != d.decided_by;
    if (first && !d.path.empty()) out += fmt::format("        {}\n", Printable(d.path));
    out += fmt::format("          {:<{}} - {}\n", d.field, width, Printable(d.expected));
    out += fmt::format("          {:<{}} + {}\n", "", width, Printable(d.got));
    if (last && !d.decided_by.empty())
      out += fmt::format("        {} {}\n", d.path.empty() ? "at" : "decided by",
                         Printable(d.decided_by));
  }
  return out;
}

}  // namespace ferrule
