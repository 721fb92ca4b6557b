// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/plan/grouped.h"
#include "engine/plan/sub_block.h"

namespace ferrule {
namespace {

// Rows of a fused module on each rank, in the coordinates of its parts side by side.
Cut FusedCut(const Plan& plan, const Unit& unit) {
  Cut cut;
  int64_t offset = 0;
  cut.ranks.resize(static_cast<size_t>(plan.tp));
  for (const int32_t id : unit.parts) {
    const Unit& part = plan.decisions.units.units[static_cast<size_t>(id)];
    if (plan.decisions.modules[static_cast<size_t>(part.first)].absent) continue;
    const Cut& own = *plan.CutOf(part);
    if (own.ranks.empty()) return {{}, own.why};
    for (size_t rank = 0; rank < cut.ranks.size(); ++rank) {
      for (const Range& range : own.ranks[rank].rows)
        cut.ranks[rank].rows.push_back({range.begin + offset, range.end + offset});
      cut.ranks[rank].cols = own.ranks[rank].cols;
    }
    offset += part.rows;
  }
  return cut;
}

constexpr int kMostTp = 64, kMostShown = 8;  // of the sizes that a message names

// "1, 2, 4", the first few: multiples of what replicates go on without end.
std::string Sizes(const std::vector<int>& tp) {
  const size_t shown = std::min<size_t>(tp.size(), kMostShown);
  return fmt::format("{}{}",
                     fmt::join(tp.begin(), tp.begin() + static_cast<ptrdiff_t>(shown), ", "),
                     shown < tp.size() ? " …" : "");
}

class Cutter {
 public:
  Cutter(Plan* plan, Diagnostics* out) : plan_(*plan), d_(plan->decisions), out_(out) {}

  void Run() {
    plan_.cut_of.assign(d_.units.units.size(), -1);
    for (size_t u = 0; u < d_.units.units.size(); ++u)
      if (IsLinear(d_.units.units[u].kind)) plan_.cut_of[u] = LinearCut(d_.units.units[u]);
    for (size_t u = 0; u < d_.units.units.size(); ++u) {
      const Unit& unit = d_.units.units[u];
      if (unit.kind != NodeKind::kFused) continue;
      std::vector<int64_t> key{-1};
      for (const int32_t part : unit.parts) key.push_back(plan_.cut_of[static_cast<size_t>(part)]);
      const auto [at, fresh] = fused_.emplace(key, static_cast<int32_t>(plan_.cuts.size()));
      if (fresh) plan_.cuts.push_back(FusedCut(plan_, unit));
      plan_.cut_of[u] = at->second;
    }
    grouped_.Flush(out_);
  }

 private:
  // What its cut depends on.
  using Key = std::pair<const RuleNode*, std::vector<int64_t>>;
  static Key KeyOf(const Unit& unit) {
    std::vector<int64_t> sizes{unit.rows, unit.in, unit.per, unit.groups};
    for (const Slice& slice : unit.slices) {
      sizes.push_back(slice.rows);
      sizes.push_back(slice.groups);
    }
    return {unit.node, sizes};
  }

  static std::vector<int> SizesOf(const Unit& unit) {
    std::vector<int> good;
    for (int tp = 1; tp <= kMostTp; ++tp)
      if (!Partition(unit, tp).ranks.empty()) good.push_back(tp);
    return good;
  }

  // Those that do for all linears: 1 and perhaps others. Found out once.
  const std::vector<int>& SizesOfAll() {
    if (!of_all_.empty()) return of_all_;
    std::map<int, size_t> times;
    std::set<Key> seen;
    for (const Unit& unit : d_.units.units)
      if (IsLinear(unit.kind) && seen.insert(KeyOf(unit)).second)
        for (const int tp : SizesOf(unit)) ++times[tp];
    for (const auto& [tp, count] : times)
      if (count == seen.size()) of_all_.push_back(tp);
    return of_all_;
  }

  int32_t LinearCut(const Unit& unit) {
    const auto [at, fresh] = cuts_.emplace(KeyOf(unit), static_cast<int32_t>(plan_.cuts.size()));
    if (fresh) plan_.cuts.push_back(Partition(unit, plan_.tp));
    const Cut& cut = plan_.cuts[static_cast<size_t>(at->second)];
    if (cut.ranks.empty())
      Uncuttable(unit, cut.why);
    else
      SubBlock(unit, cut);
    return at->second;
  }

  void Uncuttable(const Unit& unit, const std::string& why) {
    auto& item = grouped_.Add(Code::kUncuttable, unit.node, 0, [&] {
      Finding finding(
          Code::kUncuttable,
          fmt::format("`{}` cannot be cut for tp {}: {}", unit.Display(), plan_.tp, why),
          RuleAt(d_, unit));
      finding.Fact("modules", "{n}");
      const std::string good = Sizes(SizesOf(unit)), of_all = Sizes(SizesOfAll());
      finding.Help(
          good == of_all
              ? fmt::format("it and all other linears can be cut for tp {}", good)
              : fmt::format("it can be cut for tp {}, all linears for tp {}", good, of_all));
      return finding;
    });
    item.count += unit.count - 1;
  }

  void SubBlock(const Unit& unit, const Cut& cut) {
    const Module& module = d_.modules[static_cast<size_t>(unit.first)];
    if (module.scheme < 1) return;
    const Scheme& scheme = d_.quant.schemes[static_cast<size_t>(module.scheme)];
    const std::string what = InsideBlock(unit, cut, scheme);
    if (what.empty()) return;
    auto& item = grouped_.Add(Code::kSubBlockShard, unit.node, 0, [&] {
      Finding finding(Code::kSubBlockShard,
                      fmt::format("`{}` at tp {}: {}", unit.Display(), plan_.tp, what),
                      RuleAt(d_, unit));
      finding.Fact("modules", "{n}");
      finding.Fact(
          "effect",
          scheme.executed()
              ? "runs here; engines that check whole blocks refuse such a shard: see `--as`"
              : fmt::format("{} is not run here; kernels that run it refuse such a shard",
                            scheme.name));
      std::vector<int> whole;
      for (int tp = 1; tp <= kMostTp; ++tp) {
        const Cut other = Partition(unit, tp);
        if (!other.ranks.empty() && InsideBlock(unit, other, scheme).empty()) whole.push_back(tp);
      }
      if (!whole.empty())
        finding.Help(fmt::format("shards are whole blocks at tp {}", fmt::join(whole, ", ")));
      return finding;
    });
    item.count += unit.count - 1;
  }

  Plan& plan_;
  Decisions& d_;
  Diagnostics* out_;
  Grouped grouped_;
  std::map<Key, int32_t> cuts_;
  std::vector<int> of_all_;
  std::map<std::vector<int64_t>, int32_t> fused_;
};

bool IsGoodTp(int tp, Diagnostics* out) {
  if (tp >= 1 && tp <= kMaxTp) return true;
  out->Add(Code::kBadTp, fmt::format("tp must be between 1 and {}, not {}", kMaxTp, tp));
  return false;
}

bool IndexPaths(Decisions* d, Diagnostics* out) {
  d->modules.assign(static_cast<size_t>(d->units.modules), Module());
  d->unit_of.resize(d->modules.size());
  for (size_t u = 0; u < d->units.units.size(); ++u) {
    const Unit& unit = d->units.units[u];
    d->paths.AddRun(unit.path, unit.numbers, static_cast<size_t>(unit.range), unit.count,
                    unit.first);
    std::fill_n(d->unit_of.begin() + unit.first, unit.count, static_cast<int32_t>(u));
  }
  const auto twice = d->paths.Seal();
  if (twice.empty()) return true;
  out->Add(Code::kPathTwice,
           fmt::format("`{}` is declared twice{}", d->PathOf(twice[0].first),
                       twice.size() == 1 ? "" : fmt::format(" ({} such paths)", twice.size())),
           RuleAt(*d, d->UnitOf(twice[0].second)))
      .Mark(RuleAt(*d, d->UnitOf(twice[0].first)), "first here");
  return false;
}

// What must be equal on all ranks: every group, what it runs as and how it is cut.
std::string PlanSha(const Plan& plan) {
  std::string text = fmt::format("{} {} {}\n", plan.rules_sha, plan.model_type, plan.tp);
  for (const Group& group : plan.groups) {
    const Unit& unit = plan.decisions.units.units[static_cast<size_t>(group.unit)];
    const Module& module = plan.decisions.modules[static_cast<size_t>(group.module)];
    text += fmt::format("{} {} {} {} {} {}", unit.Display(), KindName(unit.kind), unit.rows,
                        unit.in, plan.SchemeName(module.scheme), group.count);
    for (const auto& [name, values] : group.indices)
      text += fmt::format(" {}={}", name, fmt::join(values, ","));
    if (const Cut* cut = plan.CutOf(unit))
      for (const Shard& shard : cut->ranks) {
        for (const Range& range : shard.rows) text += fmt::format(" {}-{}", range.begin, range.end);
        text += fmt::format("/{}-{}", shard.cols.begin, shard.cols.end);
      }
    text += '\n';
  }
  return Sha256(text);
}

}  // namespace

const Cut* Plan::CutOf(const Unit& unit) const {
  const size_t u = static_cast<size_t>(&unit - decisions.units.units.data());
  return cut_of[u] < 0 ? nullptr : &cuts[static_cast<size_t>(cut_of[u])];
}

int32_t Plan::Find(std::string_view path) const {
  const int32_t module = decisions.paths.At(path);
  if (module >= 0) return module;
  for (const auto& [root, alias] : decisions.units.aliases) {
    if (path.size() <= alias.size() || path.substr(0, alias.size()) != alias ||
        path[alias.size()] != '.')
      continue;
    const int32_t other = decisions.paths.At(root + std::string(path.substr(alias.size())));
    if (other >= 0) return other;
  }
  return -1;
}

const std::string& Plan::SchemeName(int8_t scheme) const {
  static const std::string kNone;
  return scheme < 0 ? kNone : decisions.quant.schemes[static_cast<size_t>(scheme)].name;
}

std::optional<Plan> MakePlanUnder(std::shared_ptr<const RuleFile> rules, const Book& book,
                                  std::shared_ptr<const Checkpoint> checkpoint,
                                  const PlanOptions& options, Diagnostics* out) {
  Plan plan;
  plan.checkpoint = std::move(checkpoint);
  const Checkpoint& c = *plan.checkpoint;
  plan.tp = options.tp;
  plan.model_type = std::string(c.config.Find("model_type").Text());
  plan.rules_sha = rules->sha256;
  if (!IsGoodTp(options.tp, out)) return std::nullopt;
  Decisions& d = plan.decisions;
  d.rules = std::move(rules);
  d.has_headers = c.has_headers;

  const StoredNames stored(&c.names);

  const JsonValue section =
      d.rules->config_section.empty() ? JsonValue() : c.config.Find(d.rules->config_section);
  const UnitsOptions units{plan.model_type, ConfigScope(c.config, section), c.config.location(),
                           c.has_headers ? &stored : nullptr};
  auto evaluated = EvaluateUnits(*d.rules, units, out);
  const QuantSources sources = SourcesOf(c, section);
  auto quant = ReadQuantSources(sources, book.dialects, {}, out);
  if (!evaluated || !quant) return std::nullopt;
  d.units = std::move(*evaluated);
  d.quant = std::move(*quant);
  if (!IndexPaths(&d, out)) return std::nullopt;

  ClaimModules(&d, out);
  if (c.has_headers) ReadStored(c, stored, book.Fused(d.rules.get()), &d, out);
  Decide(c, &d, out);
  ReportMixedLayers(d, out);
  Cutter(&plan, out).Run();
  plan.groups = GroupModules(plan);
  plan.plan_sha = PlanSha(plan);
  return plan;
}

bool CutAgain(int tp, Plan* plan, Diagnostics* out) {
  if (!IsGoodTp(tp, out)) return false;
  plan->tp = tp;
  plan->cuts.clear();
  Cutter(plan, out).Run();
  plan->groups = GroupModules(*plan);
  plan->plan_sha = PlanSha(*plan);
  return true;
}

std::optional<Plan> MakePlan(const Book& book, std::shared_ptr<const Checkpoint> checkpoint,
                             const PlanOptions& options, Diagnostics* out) {
  const JsonValue type = checkpoint->config.Find("model_type");
  if (type && !type.is_null() && !type.is_string()) {
    out->Add(Code::kJsonType,
             fmt::format("`model_type` is {}, and must be a text", JsonKindName(type.kind())),
             type.location())
        .Fact("effect", "no rule file is for it; it is never guessed");
    return std::nullopt;
  }
  if (!type.is_string()) {
    out->Add(Code::kNoRules, "config.json names no model_type", checkpoint->config.location())
        .Fact("effect", "it is never guessed; transformers refuses such a file too")
        .Help(
            "take the config.json of the release in Hugging Face format; a file without model_type "
            "is "
            "read by the model's own code alone");
    return std::nullopt;
  }
  const auto rules = book.by_model_type.find(type.Text());
  if (rules == book.by_model_type.end()) {
    std::vector<std::string> known;
    for (const auto& [name, file] : book.by_model_type) known.push_back(name);
    Finding& finding =
        out->Add(Code::kNoRules,
                 fmt::format("no rule file describes the model_type {}", Quoted(type.Text())),
                 type.location());
    finding.Fact("known", fmt::format("{}", fmt::join(known, ", ")));
    const std::string nearest = NearestName(type.Text(), known);
    finding.Help(
        nearest.empty()
            ? "copy the nearest file of rules/ and go through the tensor names"
            : fmt::format("if the model stores what `{}` stores, add its model_type to that "
                          "file; never assume it",
                          nearest));
    return std::nullopt;
  }
  if (!rules->second->sound) {
    out->Add(Code::kUnsoundRules,
             fmt::format("{} has mistakes and is not used", rules->second->path),
             {nullptr, rules->second->path, 0, 0, 0, ""})
        .Help(fmt::format("see `ferrule check {}`", rules->second->path));
    return std::nullopt;
  }
  return MakePlanUnder(rules->second, book, std::move(checkpoint), options, out);
}

}  // namespace ferrule
