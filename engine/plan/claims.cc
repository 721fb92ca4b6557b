// SPDX-License-Identifier: Apache-2.0
// The skip list and the rules → a claim for every linear; entries that match nothing.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "engine/plan/dead_entries.h"
#include "engine/plan/decision.h"
#include "engine/plan/grouped.h"
#include "engine/rules/unit_paths.h"

namespace ferrule {
namespace {

// One list of names, what of it was used, and which of its entries name the module at hand.
struct Named {
  int8_t where = kInList;
  const SkipList* names = nullptr;
  std::vector<bool> used;
  std::vector<std::vector<std::string_view>> roots;  // of entries that hit by last segments
  std::vector<std::pair<Hit, std::string_view>> hits;
};

class Claimer {
 public:
  Claimer(Decisions* decisions, Diagnostics* out) : d_(*decisions), out_(out) {
    Add(kInList, d_.quant.list);
    if (d_.quant.only) Add(kInOnly, d_.quant.only->names);
    for (size_t t = 0; t < d_.quant.layers.size(); ++t)
      Add(static_cast<int8_t>(t), d_.quant.layers[t].names);
  }

  void Run() {
    for (const Unit& unit : d_.units.units)
      if (unit.kind == NodeKind::kFused) FusedUnit(unit);
    for (const Unit& unit : d_.units.units)
      if (unit.kind != NodeKind::kFused) PlainUnit(unit);
    grouped_.Flush(out_);
    for (const Named& named : named_) {
      ReportRoots(named);
      ReportDead(named.where, named.used, &d_, out_);
    }
    ReportEmptyGroups();
  }

 private:
  void Add(int8_t where, const SkipList& names) {
    named_.push_back({where, &names, std::vector<bool>(names.size()), {}, {}});
    named_.back().roots.resize(names.size());
  }

  Named* In(int8_t where) {
    for (Named& named : named_)
      if (named.where == where) return &named;
    return nullptr;
  }

  // The unit's own paths, then those by declared second names of its root.
  std::vector<UnitPaths> PathsOf(const Unit& unit) const {
    std::vector<UnitPaths> paths;
    paths.emplace_back(unit, "", "");
    for (const auto& [root, alias] : d_.units.aliases)
      if (IsBelow(unit.path, root)) paths.emplace_back(unit, root, alias);
    return paths;
  }

  // False: no list names any module of the unit, so that all have the same claim.
  bool MayHit(const Unit& unit, bool literal) const {
    const std::vector<UnitPaths> paths = PathsOf(unit);
    return std::any_of(paths.begin(), paths.end(), [&](const UnitPaths& path) {
      const auto may = [&](const SkipList& names) {
        return literal ? names.MayNameLiterally(path.form())
                       : names.has_classes() || names.MayName(path.form(), path.begin());
      };
      return std::any_of(named_.begin(), named_.end(),
                         [&](const Named& named) { return may(*named.names); }) ||
             (!literal && MayBeTarget(path));
    });
  }
  // Beyond its class, which is all linears'.
  bool MayBeTarget(const UnitPaths& path) const {
    return std::any_of(d_.quant.schemes.begin(), d_.quant.schemes.end(), [&](const Scheme& scheme) {
      return scheme.targets && scheme.targets->MayName(path.form(), path.begin());
    });
  }

  // Calls visit(i) for each module of the unit with `hits` filled: all entries that name it by its
  // path or by a declared second name of its root.
  template <typename Visit>
  void Hits(const Unit& unit, bool literal, const Visit& visit) {
    std::vector<UnitPaths> writers = PathsOf(unit);
    std::vector<Hit> hits;
    for (int32_t i = 0; i < unit.count; ++i) {
      paths_.clear();
      for (Named& named : named_) named.hits.clear();
      for (size_t w = 0; w < writers.size(); ++w) {
        const std::string_view path = writers[w].At(i);
        if (w > 0 && d_.paths.At(path) >= 0) continue;  // a real module of that name
        paths_.push_back(path);
        for (Named& named : named_) {
          hits.clear();
          if (!literal)
            named.names->MatchAll(path, &hits);
          else if (const Hit hit = named.names->MatchLiteral(path))
            hits.push_back(hit);
          for (const Hit& hit : hits) {
            Use(&named, hit, unit);
            named.hits.emplace_back(hit, path);
          }
        }
      }
      visit(i);
    }
  }

  static void Use(Named* named, const Hit& hit, const Unit& unit) {
    const size_t entry = static_cast<size_t>(hit.entry);
    named->used[entry] = true;
    if (hit.how != Primitive::kLastSegments) return;
    // The root: everything before the first number.
    const std::string_view root = std::string_view(unit.path).substr(0, unit.path.find('#'));
    std::vector<std::string_view>& seen = named->roots[entry];
    if (std::find(seen.begin(), seen.end(), root) == seen.end()) seen.push_back(root);
  }

  void FusedUnit(const Unit& unit) {
    const int32_t id = static_cast<int32_t>(&unit - d_.units.units.data());
    if (!MayHit(unit, true)) return;
    Hits(unit, true, [&](int32_t i) {
      const auto named = std::find_if(named_.begin(), named_.end(),
                                      [](const Named& one) { return !one.hits.empty(); });
      if (named == named_.end()) return;
      const Hit& hit = named->hits[0].first;
      if (hit.how != Primitive::kAncestor && hit.how != Primitive::kSegments)
        FusedListed(unit, i, *named, hit);
      for (const int32_t part : unit.parts) {
        const Unit& p = d_.units.units[static_cast<size_t>(part)];
        Module& module = d_.modules[static_cast<size_t>(p.first + i)];
        module.where = named->where;
        module.entry = hit.entry;
        module.how = hit.how;
        module.via = id;
      }
    });
  }

  void FusedListed(const Unit& unit, int32_t i, const Named& named, const Hit& hit) {
    grouped_.Add(Code::kFusedListed, unit.node, named.where, [&] {
      const ListEntry& entry = named.names->entry(static_cast<size_t>(hit.entry));
      Finding finding(Code::kFusedListed,
                      fmt::format("{} in `{}` names the fused module `{}`", Quoted(entry.text),
                                  d_.quant.KeyOf(named.where), unit.PathOf(i)),
                      entry.at);
      finding.Fact("modules", "{n} of this form");
      finding.Fact("effect",
                   "the claim of all its parts; engines that look only for the parts miss it");
      return finding;
    });
  }

  void PlainUnit(const Unit& unit) {
    if (!d_.quant.dialect) {
      for (int32_t i = 0; i < unit.count; ++i)
        d_.modules[static_cast<size_t>(unit.first + i)].reason = Reason::kNotQuantized;
      return;
    }
    const bool linear = IsLinear(unit.kind);
    const std::span<Module> all =
        std::span(d_.modules)
            .subspan(static_cast<size_t>(unit.first), static_cast<size_t>(unit.count));
    if (!MayHit(unit, false) &&
        (!linear ||
         std::all_of(all.begin(), all.end(), [](const Module& m) { return m.via < 0; }))) {
      if (linear && !all.empty()) Alike(unit, all);
      return;
    }
    Hits(unit, false, [&](int32_t i) {
      if (!linear) return;
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      Linear(unit, &module);
      if (module.entry >= 0 && module.via < 0) Accident(unit, i, module);
    });
  }

  // Claims of modules that no list names: the first stands for all.
  void Alike(const Unit& unit, std::span<Module> modules) {
    paths_.clear();
    for (Named& named : named_) named.hits.clear();
    Linear(unit, &modules[0]);
    std::fill(modules.begin() + 1, modules.end(), modules[0]);
  }

  // What the lists say, in the order of the dialect; then the rule; then the method's default.
  void Linear(const Unit& unit, Module* module) {
    const Module via = *module;  // what names its fused module
    module->entry = module->via = -1;
    bool base_only = false, named = false;
    for (const Section section : d_.quant.dialect->order) {
      switch (section) {
        case Section::kList:
          if (!Take(kInList, via, module)) break;
          Overlap(unit);
          if (!d_.quant.dialect->list.leaves_base) return;
          base_only = true;
          break;
        case Section::kOnly:
          if (!d_.quant.only) break;
          named = Take(kInOnly, via, module);
          if (named) break;
          module->reason = Reason::kNotInOnly;
          return;
        case Section::kLayers:
          if (!base_only && Layer(unit, via, module)) return;
          break;
        case Section::kGroups:
          break;
      }
    }
    if (unit.quantize == Quantize::kNever) {
      module->reason = Reason::kNever;
    } else if (!d_.quant.dialect->groups_key.empty()) {
      Target(unit, module);
    } else if (unit.quantize == Quantize::kNamed && !named) {
      module->reason = Reason::kNamed;
    } else {
      if (!named) module->reason = Reason::kDefault;
      module->claim = d_.quant.base;
      if (!named && !unit.as.empty() && d_.quant.base > 0) Elsewhere(unit, module);
    }
  }

  // The scheme that the rule file reads from a key beside the description, in dialects that know
  // such keys.
  void Elsewhere(const Unit& unit, Module* module) {
    const std::vector<Scheme>& schemes = d_.quant.schemes;
    bool any = false;
    for (size_t s = 1; s < schemes.size(); ++s) {
      if (!schemes[s].rule->named) continue;
      any = true;
      if (schemes[s].name != unit.as) continue;
      module->claim = static_cast<int8_t>(s);
      module->reason = Reason::kElsewhere;
      return;
    }
    // A method without such schemes came later and replaced what the key speaks of.
    if (!any || !refused_.insert(unit.node).second) return;
    out_->Add(
            Code::kUnknownScheme,
            fmt::format("config.json asks for the scheme `{}` here, and dialect `{}` does not have "
                        "it",
                        unit.as, d_.quant.dialect->name),
            RuleAt(d_, unit))
        .Help("add it to the dialect with `named: true`");
  }

  // Whether a list names the module, itself or through its fused module; then its claim's reason.
  bool Take(int8_t where, const Module& via, Module* module) {
    const Named& named = *In(where);
    if (!named.hits.empty()) {
      module->entry = named.hits[0].first.entry;
      module->how = named.hits[0].first.how;
      module->reason = where == kInOnly ? Reason::kOnly : Reason::kEntry;
    } else if (via.via >= 0 && via.where == where) {
      module->entry = via.entry;
      module->how = via.how;
      module->via = via.via;
      module->reason = where == kInOnly ? Reason::kOnly : Reason::kFusedEntry;
    } else {
      return false;
    }
    module->where = where;
    return true;
  }

  bool Layer(const Unit& unit, const Module& via, Module* module) {
    for (size_t t = 0; t < d_.quant.layers.size(); ++t) {
      const LayerTable& table = d_.quant.layers[t];
      Named& named = *In(static_cast<int8_t>(t));
      if (table.rule->ordered)
        std::stable_sort(named.hits.begin(), named.hits.end(), [](const auto& a, const auto& b) {
          return a.first.entry < b.first.entry;
        });
      // A container's entry does not reach what is never quantized, nor a class a head.
      if (!named.hits.empty()) {
        const Primitive how = named.hits[0].first.how;
        if ((unit.quantize == Quantize::kNever && how != Primitive::kExact) ||
            (unit.quantize == Quantize::kNamed && how == Primitive::kClassName))
          continue;
      }
      if (!Take(named.where, via, module)) continue;
      module->reason = Reason::kLayer;
      module->claim = table.schemes[static_cast<size_t>(module->entry)];
      return true;
    }
    return false;
  }

  // The group that names the module; names and patterns before classes, then the first.
  void Target(const Unit& unit, Module* module) {
    int8_t by_class = kNoScheme;
    for (size_t s = 1; s < d_.quant.schemes.size(); ++s) {
      for (const std::string_view path : paths_) {
        const Hit hit = d_.quant.schemes[s].targets->Match(path);
        if (!hit || hit.how == Primitive::kClassName) continue;
        module->claim = static_cast<int8_t>(s);
        module->reason = Reason::kTarget;
        return;
      }
      if (by_class == kNoScheme && HasLinear(d_.quant.schemes[s]))
        by_class = static_cast<int8_t>(s);
    }
    if (unit.quantize == Quantize::kNamed) {
      module->reason = Reason::kNamed;
    } else if (by_class != kNoScheme) {
      module->claim = by_class;
      module->reason = Reason::kTarget;
    } else {
      module->reason = Reason::kNoTarget;
    }
  }

  // Groups that no module belongs to: their targets are names of another release or of an engine.
  void ReportEmptyGroups() {
    std::set<int8_t> claimed;
    for (const Module& module : d_.modules) claimed.insert(module.claim);
    for (size_t s = 1; s < d_.quant.schemes.size(); ++s) {
      const Scheme& scheme = d_.quant.schemes[s];
      if (!scheme.targets || claimed.count(static_cast<int8_t>(s)) > 0) continue;
      std::string targets;
      for (size_t t = 0; t < std::min<size_t>(scheme.targets->size(), 3); ++t)
        targets += (t == 0 ? "" : ", ") + Quoted(scheme.targets->entry(t).text);
      Finding finding(Code::kDeadEntry,
                      fmt::format("a group of `{}`, {}, applies to no module",
                                  d_.quant.dialect->groups_key, scheme.name),
                      scheme.at);
      finding.Fact("targets", targets + (scheme.targets->size() > 3 ? ", …" : ""));
      finding.Fact("effect", "what it is meant for is planned as if it were not quantized");
      finding.Help(
          "its names may be those of an engine or of another release: look at the headers");
      out_->Add(std::move(finding));
    }
  }

  static bool HasLinear(const Scheme& scheme) {
    for (size_t t = 0; t < scheme.targets->size(); ++t)
      if (!scheme.targets->is_pattern(t) && scheme.targets->name(t) == "Linear") return true;
    return false;
  }

  // The list names the module, and another list names it as quantized.
  void Overlap(const Unit& unit) {
    const Named& list = *In(kInList);
    if (list.hits.empty()) return;
    for (const Named& other : named_) {
      if (other.where == kInList || other.hits.empty()) continue;
      const Hit& hit = other.hits[0].first;
      if (hit.how != Primitive::kExact ||
          (other.where >= 0 && d_.quant.layers[static_cast<size_t>(other.where)]
                                       .schemes[static_cast<size_t>(hit.entry)] == 0))
        continue;
      grouped_.Add(Code::kListsOverlap, unit.node, other.where, [&] {
        const ListEntry& entry = list.names->entry(static_cast<size_t>(list.hits[0].first.entry));
        Finding finding(Code::kListsOverlap,
                        fmt::format("`{}` is named by `{}` and by `{}`", list.hits[0].second,
                                    d_.quant.list_key, d_.quant.KeyOf(other.where)),
                        entry.at);
        finding.Mark(other.names->entry(static_cast<size_t>(hit.entry)).at, "here as quantized");
        finding.Fact("modules", "{n} of this form");
        finding.Fact("effect", fmt::format("{} [{}] is asked first", Quoted(entry.text),
                                           list.hits[0].first.entry));
        finding.Help("take it out of one of the two");
        return finding;
      });
    }
  }

  // Nothing but accidents names the module.
  void Accident(const Unit& unit, int32_t i, const Module& module) {
    const Named& named = *In(module.where);
    std::string why;
    for (const auto& [hit, path] : named.hits) {
      why = named.names->Accident(hit, path);
      if (why.empty()) return;
    }
    grouped_.Add(Code::kAccidentalHit, nullptr, named.where * 100000 + module.entry, [&] {
      const ListEntry& entry = named.names->entry(static_cast<size_t>(module.entry));
      Finding finding(Code::kAccidentalHit,
                      fmt::format("{} in `{}` names `{}` by accident: {}", Quoted(entry.text),
                                  d_.quant.KeyOf(named.where), unit.PathOf(i), why),
                      entry.at);
      finding.Fact("modules", "{n} that nothing else names");
      finding.Fact("effect", "engines that read whole names decide otherwise");
      finding.Help("write whole segments");
      return finding;
    });
  }

  void ReportRoots(const Named& named) {
    for (size_t entry = 0; entry < named.roots.size(); ++entry) {
      if (named.roots[entry].size() < 2) continue;
      std::vector<std::string> names;
      for (const std::string_view root : named.roots[entry])
        names.emplace_back("`" + std::string(root.substr(0, root.find_last_not_of('.') + 1)) + "`");
      out_->Add(Code::kSeveralRoots,
                fmt::format("{} names modules below {}",
                            Quoted(d_.quant.TextOf(named.where, static_cast<int32_t>(entry))),
                            fmt::join(names, " and ")),
                named.names->entry(entry).at);
    }
  }

  Decisions& d_;
  Diagnostics* out_;
  std::set<const RuleNode*> refused_;
  std::vector<Named> named_;
  std::vector<std::string_view> paths_;  // of the module at hand
  Grouped grouped_;
};

}  // namespace

void ClaimModules(Decisions* decisions, Diagnostics* out) { Claimer(decisions, out).Run(); }

Location RuleAt(const Decisions& decisions, const Unit& unit) {
  return decisions.rules->At(unit.node->place);
}

std::string_view ReasonName(Reason reason) {
  switch (reason) {
    case Reason::kNotQuantized:
      return "no quantization_config";
    case Reason::kEntry:
      return "listed";
    case Reason::kFusedEntry:
      return "its fused module is listed";
    case Reason::kNever:
      return "never quantized";
    case Reason::kNamed:
      return "quantized only where named";
    case Reason::kTarget:
      return "target of a group";
    case Reason::kNoTarget:
      return "no group applies";
    case Reason::kDefault:
      return "not listed";
    case Reason::kElsewhere:
      return "a key of config.json says so";
    case Reason::kLayer:
      return "named with a scheme";
    case Reason::kOnly:
      return "named as quantized";
    case Reason::kNotInOnly:
      return "not among what is quantized";
    case Reason::kSame:
      return "reads another tensor";
  }
  return "";
}

}  // namespace ferrule
