// SPDX-License-Identifier: Apache-2.0
// Claim and stored → decision; fused modules; experts.
#include "engine/plan/decision.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/plan/grouped.h"

namespace ferrule {
namespace {

class Decider {
 public:
  Decider(const Checkpoint& checkpoint, Decisions* decisions, Diagnostics* out)
      : checkpoint_(checkpoint), d_(*decisions), out_(out) {}

  void Run() {
    for (const Unit& unit : d_.units.units)
      if (IsLinear(unit.kind)) Linear(unit);
    for (const Unit& unit : d_.units.units)
      if (IsLinear(unit.kind) && unit.same) Read(unit);
    // From few parts to many, so that narrower covers are known when a wider one disagrees.
    std::vector<const Unit*> fused;
    for (const Unit& unit : d_.units.units)
      if (unit.kind == NodeKind::kFused) fused.push_back(&unit);
    std::stable_sort(fused.begin(), fused.end(), [](const Unit* a, const Unit* b) {
      return a->parts.size() < b->parts.size();
    });
    for (const Unit* unit : fused)
      for (const int32_t part : unit->parts) covers_[part].push_back(unit);
    for (const Unit* unit : fused)
      for (int32_t i = 0; i < unit->count; ++i) Fused(*unit, i);
    Experts();
    grouped_.Flush(out_);
  }

 private:
  Module& At(const Unit& unit, int32_t i) {
    return d_.modules[static_cast<size_t>(unit.first + i)];
  }
  const Scheme& SchemeAt(int8_t scheme) const {
    return d_.quant.schemes[static_cast<size_t>(scheme)];
  }

  void Linear(const Unit& unit) {
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = At(unit, i);
      if (unit.same && !d_.has_headers) {
        module.absent = true;
        module.reason = Reason::kSame;
      }
      if (module.absent) {
        module.scheme = kNoScheme;
        continue;
      }
      module.scheme =
          d_.has_headers ? (module.stored >= 0 ? module.stored : kNoScheme) : module.claim;
      if (d_.has_headers && module.stored >= 0 && module.stored != module.claim)
        Differs(unit, i, module);
    }
  }

  // What reads another tensor runs in its scheme: a table of embeddings has none, and is BF16.
  void Read(const Unit& unit) {
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = At(unit, i);
      if (!module.absent || module.reason != Reason::kSame) continue;
      const int32_t other = SameAs(d_, unit, i);
      if (other < 0) continue;
      const Module& read = d_.modules[static_cast<size_t>(other)];
      module.scheme = IsLinear(d_.UnitOf(other).kind) ? read.scheme : int8_t{0};
      module.has_dtype = read.has_dtype;
      module.dtype = read.dtype;
    }
  }

  // Which entry or rule a claim comes from, for people.
  std::string Because(const Unit& unit, const Module& module) const {
    switch (module.reason) {
      case Reason::kEntry:
      case Reason::kFusedEntry:
      case Reason::kLayer:
      case Reason::kOnly:
        return fmt::format("{} in `{}` [{}] ({})",
                           Quoted(d_.quant.TextOf(module.where, module.entry)),
                           d_.quant.KeyOf(module.where), module.entry, PrimitiveName(module.how));
      case Reason::kNotInOnly:
        return fmt::format("no entry of `{}` names it", d_.quant.KeyOf(kInOnly));
      case Reason::kNever:
      case Reason::kNamed:
        return fmt::format("{}, {}", ReasonName(module.reason), RuleAt(d_, unit).ToString());
      case Reason::kDefault:
        if (d_.quant.base == 0 && !d_.quant.layers.empty())
          return fmt::format("no entry of `{}` names it", d_.quant.layers[0].key);
        return d_.quant.list_key.empty()
                   ? fmt::format("dialect `{}` quantizes all, and there is no list",
                                 d_.quant.dialect->name)
                   : fmt::format("no entry of `{}` names it", d_.quant.list_key);
      default:
        return std::string(ReasonName(module.reason));
    }
  }

  void Differs(const Unit& unit, int32_t i, const Module& module) {
    const int64_t detail = (static_cast<int64_t>(module.claim) << 16) |
                           (static_cast<int64_t>(module.stored) << 8) |
                           static_cast<int64_t>(module.reason);
    grouped_.Add(Code::kClaimDiffers, unit.node, detail, [&] {
      Finding finding(Code::kClaimDiffers,
                      fmt::format("`{}` is {} by config.json, but stored as {}", unit.PathOf(i),
                                  SchemeAt(module.claim).name, SchemeAt(module.stored).name),
                      RuleAt(d_, unit));
      finding.Fact("found", "{n} modules, e.g. " + TensorText(checkpoint_, module.weight));
      finding.Fact("claim", Because(unit, module));
      finding.Fact("effect",
                   module.stored == 0
                       ? "an engine that goes by config.json looks for scales that do not "
                         "exist, or quantizes what should stay BF16"
                       : "an engine that goes by config.json reads FP8 bytes as numbers "
                         "without their scales");
      return finding;
    });
  }

  bool Same(const Module& a, const Module& b) const {
    if (a.scheme != b.scheme || a.scheme < 0) return false;
    return !a.has_dtype || !b.has_dtype || a.dtype == b.dtype;
  }

  void Fused(const Unit& unit, int32_t i) {
    Module& fused = At(unit, i);
    fused.absent = true;
    fused.scheme = fused.stored = fused.claim = kNoScheme;
    const Module* first = nullptr;
    bool agree = true, claims = true, undecided = false;
    for (const int32_t part : unit.parts) {
      const Module& module = At(d_.units.units[static_cast<size_t>(part)], i);
      if (module.absent) continue;
      undecided = undecided || module.scheme < 0;
      if (first == nullptr) {
        first = &module;
        continue;
      }
      agree = agree && Same(*first, module);
      claims = claims && first->claim == module.claim;
    }
    if (first == nullptr) return;
    fused.absent = false;
    if (claims) fused.claim = first->claim;
    fused.reason = first->reason;
    if (agree && first->scheme >= 0) {
      fused.scheme = first->scheme;
      fused.stored = first->stored;
      fused.dtype = first->dtype;
      fused.has_dtype = first->has_dtype;
      fused.entry = first->entry;
      fused.how = first->how;
      // Stored alike, but an engine that goes by config.json takes them apart.
      if (!claims && !unit.node->mixed_apart && !ClaimsCovered(unit, i)) ClaimsDisagree(unit, i);
      return;
    }
    if (undecided) {
      fused.together = Together::kDisagree;  // a part has no scheme, which was reported
      return;
    }
    if (unit.node->mixed_apart) {
      fused.together = Together::kApart;
      return;
    }
    if (Covered(unit, i)) {
      fused.together = Together::kNarrower;
      return;
    }
    fused.together = Together::kDisagree;
    Disagree(unit, i);
  }

  // Whether narrower fused modules that agree hold every part: as decided, and as claimed.
  bool Covered(const Unit& unit, int32_t i) {
    return CoveredBy(unit, i, [&](const Unit& other) { return At(other, i).scheme >= 0; });
  }
  bool ClaimsCovered(const Unit& unit, int32_t i) {
    return CoveredBy(unit, i, [&](const Unit& other) { return At(other, i).claim >= 0; });
  }
  template <typename Agrees>
  bool CoveredBy(const Unit& unit, int32_t i, const Agrees& agrees) {
    for (const int32_t part : unit.parts) {
      bool found = false;
      for (const Unit* other : covers_[part]) {
        const bool narrower =
            other->parts.size() < unit.parts.size() &&
            std::all_of(other->parts.begin(), other->parts.end(), [&](int32_t p) {
              return std::find(unit.parts.begin(), unit.parts.end(), p) != unit.parts.end();
            });
        found = found || (narrower && agrees(*other));
      }
      if (!found && !At(d_.units.units[static_cast<size_t>(part)], i).absent) return false;
    }
    return true;
  }

  void ClaimsDisagree(const Unit& unit, int32_t i) {
    grouped_.Add(Code::kPartsDisagree, unit.node, 1, [&] {
      std::string schemes;
      std::vector<std::pair<std::string, std::string>> facts;
      for (const int32_t part : unit.parts) {
        const Unit& p = d_.units.units[static_cast<size_t>(part)];
        const Module& module = At(p, i);
        if (module.absent) continue;
        const std::string name = PathText(p.node->segments);
        const std::string& scheme = SchemeAt(module.claim).name;
        schemes += fmt::format("{}`{}` {}", schemes.empty() ? "" : ", ", name, scheme);
        facts.emplace_back(name, fmt::format("{}: {}", scheme, Because(p, module)));
      }
      Finding finding(
          Code::kPartsDisagree,
          fmt::format("config.json takes the parts of `{}` apart: {}; all are stored as {}",
                      unit.PathOf(i), schemes, SchemeAt(At(unit, i).scheme).name),
          RuleAt(d_, unit));
      for (auto& [name, text] : facts) finding.Fact(std::move(name), std::move(text));
      finding.Fact("modules", "{n} of this form");
      finding.Help("list all of its parts or none of them");
      return finding;
    });
  }

  void Disagree(const Unit& unit, int32_t i) {
    grouped_.Add(Code::kPartsDisagree, unit.node, 0, [&] {
      std::string schemes;
      for (const int32_t part : unit.parts) {
        const Unit& p = d_.units.units[static_cast<size_t>(part)];
        const Module& module = At(p, i);
        if (module.absent) continue;
        schemes += fmt::format("{}`{}` {}", schemes.empty() ? "" : ", ", PathText(p.node->segments),
                               SchemeAt(module.scheme).name);
        if (module.has_dtype && module.scheme == 0 && module.dtype != DType::kBF16)
          schemes += fmt::format(" ({})", DTypeName(module.dtype));
      }
      Finding finding(Code::kPartsDisagree,
                      fmt::format("the parts of `{}` disagree: {}", unit.PathOf(i), schemes),
                      RuleAt(d_, unit));
      for (const int32_t part : unit.parts) {
        const Unit& p = d_.units.units[static_cast<size_t>(part)];
        const Module& module = At(p, i);
        if (module.absent) continue;
        std::string text = fmt::format("{}: {}", SchemeAt(module.scheme).name, Because(p, module));
        if (module.weight >= 0) text += "; " + TensorText(checkpoint_, module.weight);
        finding.Fact(PathText(p.node->segments), text);
      }
      finding.Fact("modules", "{n} of this form");
      finding.Help("list all of its parts or none of them");
      return finding;
    });
  }

  void Experts() {
    d_.container_scheme.assign(d_.units.containers.size(), kNoScheme);
    std::vector<bool> differ(d_.units.containers.size(), false);
    for (size_t c = 0; c < d_.units.containers.size(); ++c)
      d_.containers.Add(d_.units.containers[c].path, d_.units.containers[c].numbers,
                        static_cast<int32_t>(c));
    d_.containers.Seal();
    std::map<int32_t, std::pair<const Unit*, int32_t>> first;  // container → a linear that counts
    for (const Unit& unit : d_.units.units) {
      if (unit.container < 0 || !IsLinear(unit.kind)) continue;
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = At(unit, i);
        if (module.absent || module.scheme < 0) continue;
        const auto at = first.emplace(unit.container, std::pair(&unit, i)).first;
        const Module& other = At(*at->second.first, at->second.second);
        const size_t container = static_cast<size_t>(unit.container);
        if (Same(other, module)) {
          if (!differ[container]) d_.container_scheme[container] = module.scheme;
          continue;
        }
        differ[container] = true;
        d_.container_scheme[container] = kNoScheme;
        ExpertsDisagree(at->second, unit, i);
      }
    }
  }

  void ExpertsDisagree(const std::pair<const Unit*, int32_t>& first, const Unit& unit, int32_t i) {
    grouped_.Add(Code::kExpertsDisagree, nullptr, unit.container, [&] {
      const Container& container = d_.units.containers[static_cast<size_t>(unit.container)];
      const Module& a = At(*first.first, first.second);
      const Module& b = At(unit, i);
      Finding finding(
          Code::kExpertsDisagree,
          fmt::format("the experts of `{}` disagree", Concrete(container.path, container.numbers)),
          RuleAt(d_, unit));
      finding.Fact(SchemeAt(a.scheme).name, fmt::format("{}: {}", first.first->PathOf(first.second),
                                                        Because(*first.first, a)));
      finding.Fact(SchemeAt(b.scheme).name,
                   fmt::format("{}: {}", unit.PathOf(i), Because(unit, b)));
      finding.Fact("modules", "{n} differ from the first");
      finding.Help("all linears of a layer's experts run as one module: list all or none");
      return finding;
    });
  }

  const Checkpoint& checkpoint_;
  Decisions& d_;
  Diagnostics* out_;
  Grouped grouped_;
  std::map<int32_t, std::vector<const Unit*>> covers_;
};

}  // namespace

int32_t SameAs(const Decisions& decisions, const Unit& unit, int32_t i) {
  if (!unit.same) return -1;
  const int32_t other = decisions.paths.At(unit.node->same_as);
  if (other >= 0) return other;
  const std::string path = unit.PathOf(i);
  return decisions.paths.At(path.substr(0, path.rfind('.') + 1) + unit.node->same_as);
}

void Decide(const Checkpoint& checkpoint, Decisions* decisions, Diagnostics* out) {
  Decider(checkpoint, decisions, out).Run();
}

}  // namespace ferrule
