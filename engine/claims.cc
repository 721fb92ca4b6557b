// SPDX-License-Identifier: Apache-2.0
// The skip list and the rules → a claim for every linear; entries that match nothing.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "engine/decision.h"
#include "engine/grouped.h"

namespace ferrule {
namespace {

// Concrete paths of a unit, one after the other, without an allocation for each.
class PathWriter {
 public:
  PathWriter(const Unit& unit, std::string_view root, std::string_view alias) {
    size_t next = 0;
    std::string* to = &head_;
    std::string path(unit.path);
    if (!root.empty()) path = std::string(alias) + path.substr(root.size());
    // An alias without '#' in either root leaves the numbers in their order.
    for (size_t i = 0; i < path.size(); ++i) {
      const bool number = path[i] == '#' && (i == 0 || path[i - 1] == '.') &&
                          (i + 1 == path.size() || path[i + 1] == '.');
      if (!number) {
        *to += path[i];
      } else if (static_cast<int>(next) == unit.range) {
        from_ = unit.numbers[next++];
        ranged_ = true;
        to = &tail_;
      } else {
        *to += std::to_string(unit.numbers[next++]);
      }
    }
    buffer_ = head_;
  }

  std::string_view At(int32_t i) {
    if (!ranged_) return head_;
    buffer_.resize(head_.size());
    char digits[12];
    const auto end = fmt::format_to(digits, "{}", from_ + i);
    buffer_.append(digits, static_cast<size_t>(end - digits));
    buffer_ += tail_;
    return buffer_;
  }

 private:
  std::string head_, tail_, buffer_;
  int32_t from_ = 0;
  bool ranged_ = false;
};

bool Below(std::string_view path, std::string_view root) {
  return path.size() > root.size() && path.substr(0, root.size()) == root &&
         path[root.size()] == '.';
}

// A name as a regular expression: only the dot means something in it.
std::string Escaped(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '.' ? std::string("\\.") : std::string(1, c);
  return out;
}

class Claimer {
 public:
  Claimer(Decisions* decisions, Diagnostics* out)
      : d_(*decisions),
        list_(d_.quant.list),
        out_(out),
        used_(list_.size(), false),
        roots_(list_.size()) {}

  void Run() {
    for (const Unit& unit : d_.units.units)
      if (unit.kind == NodeKind::kFused) FusedUnit(unit);
    for (const Unit& unit : d_.units.units)
      if (unit.kind != NodeKind::kFused) ForEachPath(unit);
    ReportRoots();
    ReportDead();
  }

 private:
  // Calls visit(i, hits) for each module of the unit with all entries that name it by its path or
  // by a declared second name of its root. Most templates occur in no entry, with whatever numbers:
  // then no path is written.
  template <typename Visit>
  void Hits(const Unit& unit, bool literal, const Visit& visit) {
    std::vector<PathWriter> writers;
    const auto add = [&](std::string_view root, std::string_view alias) {
      writers.emplace_back(unit, root, alias);
      if (!Named(writers.back().At(0), literal)) writers.pop_back();
      return !writers.empty();
    };
    const bool own = add("", "");
    for (const auto& [root, alias] : d_.units.aliases)
      if (Below(unit.path, root)) add(root, alias);
    std::vector<Hit> hits;
    for (int32_t i = 0; i < unit.count; ++i) {
      hits.clear();
      for (size_t w = 0; w < writers.size(); ++w) {
        const std::string_view path = writers[w].At(i);
        if ((w > 0 || !own) && d_.paths.At(path) >= 0) continue;  // a real module of that name
        if (literal) {
          const Hit hit = list_.MatchLiteral(path);
          if (hit) hits.push_back(hit);
        } else {
          list_.MatchAll(path, &hits);
        }
      }
      visit(i, hits);
    }
  }

  // Whether an entry may name a path of the same template as `path`.
  bool Named(std::string_view path, bool literal) const {
    NormalName normal;
    if (!Normalise(path, &normal)) return true;
    return literal ? list_.MayMatchLiteral(normal.view()) : list_.MayMatch(normal.view());
  }

  void Use(const Hit& hit, const Unit& unit) {
    const size_t entry = static_cast<size_t>(hit.entry);
    used_[entry] = true;
    if (hit.how != Primitive::kLastSegments) return;
    // The root: everything before the first number.
    const std::string_view root = std::string_view(unit.path).substr(0, unit.path.find('#'));
    std::vector<std::string_view>& seen = roots_[entry];
    if (std::find(seen.begin(), seen.end(), root) == seen.end()) seen.push_back(root);
  }

  void FusedUnit(const Unit& unit) {
    const int32_t id = static_cast<int32_t>(&unit - d_.units.units.data());
    if (list_.size() == 0) return;
    Hits(unit, true, [&](int32_t i, const std::vector<Hit>& hits) {
      if (hits.empty()) return;
      for (const Hit& hit : hits) Use(hit, unit);
      for (const int32_t part : unit.parts) {
        const Unit& p = d_.units.units[static_cast<size_t>(part)];
        Module& module = d_.modules[static_cast<size_t>(p.first + i)];
        module.entry = hits[0].entry;
        module.how = hits[0].how;
        module.via = id;
      }
    });
  }

  void ForEachPath(const Unit& unit) {
    if (!d_.quant.dialect) {
      for (int32_t i = 0; i < unit.count; ++i)
        d_.modules[static_cast<size_t>(unit.first + i)].reason = Reason::kNotQuantized;
      return;
    }
    const bool linear = IsLinear(unit.kind);
    const bool grouped = d_.quant.schemes.size() > 1 && d_.quant.schemes[1].targets.has_value();
    Hits(unit, false, [&](int32_t i, const std::vector<Hit>& hits) {
      for (const Hit& hit : hits) Use(hit, unit);
      if (!linear) return;
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      if (!hits.empty()) {
        module.entry = hits[0].entry;
        module.how = hits[0].how;
        module.via = -1;
        module.reason = Reason::kEntry;
        return;
      }
      if (module.via >= 0) {
        module.reason = Reason::kFusedEntry;
        return;
      }
      if (unit.quantize == Quantize::kNever) {
        module.reason = Reason::kNever;
      } else if (grouped) {
        Target(unit, i, &module);
      } else if (unit.quantize == Quantize::kNamed) {
        module.reason = Reason::kNamed;
      } else {
        module.reason = Reason::kDefault;
        module.claim = 1;
      }
    });
  }

  // The group that names the module; names and patterns before classes, then the first.
  void Target(const Unit& unit, int32_t i, Module* module) {
    const std::string path = unit.PathOf(i);
    int8_t by_class = kNoScheme;
    for (size_t s = 1; s < d_.quant.schemes.size(); ++s) {
      const Hit hit = d_.quant.schemes[s].targets->Match(path);
      if (hit && hit.how != Primitive::kClassName) {
        module->claim = static_cast<int8_t>(s);
        module->reason = Reason::kTarget;
        return;
      }
      if (by_class == kNoScheme && Linear(d_.quant.schemes[s])) by_class = static_cast<int8_t>(s);
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

  static bool Linear(const Scheme& scheme) {
    for (size_t t = 0; t < scheme.targets->size(); ++t)
      if (!scheme.targets->is_pattern(t) && scheme.targets->name(t) == "Linear") return true;
    return false;
  }

  void ReportRoots() {
    for (size_t entry = 0; entry < roots_.size(); ++entry) {
      if (roots_[entry].size() < 2) continue;
      std::vector<std::string> names;
      for (const std::string_view root : roots_[entry])
        names.emplace_back("`" + std::string(root.substr(0, root.find_last_not_of('.') + 1)) + "`");
      out_->Add(Code::kSeveralRoots,
                fmt::format("{} names modules below {}", Quoted(list_.entry(entry).text),
                            fmt::join(names, " and ")),
                list_.entry(entry).at);
    }
  }

  // An entry may name the tensor of a module, a leftover, or a container.
  bool NamesSomething(const std::string& name) const {
    for (const std::string_view suffix : {".bias", ".weight"})
      if (name.size() > suffix.size() &&
          std::string_view(name).substr(name.size() - suffix.size()) == suffix &&
          d_.paths.At(std::string_view(name).substr(0, name.size() - suffix.size())) >= 0)
        return true;
    for (const auto& leftover : d_.rules->leftovers) {
      const std::string text = PathText(leftover);
      NormalName normal;
      if (!Normalise(name, &normal)) continue;
      std::string pattern;
      for (const Segment& segment : leftover) {
        if (!pattern.empty()) pattern += '.';
        pattern += segment.placeholder ? "#" : segment.text;
      }
      if (normal.view() == pattern) return true;
    }
    return false;
  }

  // Whether modules lie below a path that names none itself.
  bool Container(const NormalName& name) const {
    const std::string begin = std::string(name.view()) + ".";
    for (int32_t id = 0; id < static_cast<int32_t>(d_.paths.templates()); ++id) {
      if (d_.paths.Text(id).substr(0, begin.size()) != begin) continue;
      for (size_t i = 0; i < d_.paths.Count(id); ++i)
        if (std::equal(name.numbers, name.numbers + name.count, d_.paths.Numbers(id, i).begin()))
          return true;
    }
    return false;
  }

  void ReportDead() {
    Grouped grouped;
    std::unordered_map<std::string, int64_t> seen;
    std::unordered_map<std::string, int64_t> templates;
    for (size_t entry = 0; entry < list_.size(); ++entry) {
      const std::string& name = list_.name(entry);
      if (!seen.emplace(list_.entry(entry).text, 0).second)
        out_->Add(Code::kDuplicateEntry,
                  fmt::format("{} stands twice in `{}`", Quoted(list_.entry(entry).text),
                              d_.quant.list_key),
                  list_.entry(entry).at);
      if (used_[entry] || (!list_.is_pattern(entry) && NamesSomething(name))) continue;
      d_.dead.push_back(static_cast<int32_t>(entry));
      NormalName normal;
      const std::string key =
          !list_.is_pattern(entry) && Normalise(name, &normal) ? std::string(normal.view()) : name;
      const int64_t group =
          templates.emplace(key, static_cast<int64_t>(templates.size())).first->second;
      grouped.Add(Code::kDeadEntry, nullptr, group, [&] {
        Finding finding(Code::kDeadEntry,
                        fmt::format("{} in `{}` matches no module", Quoted(list_.entry(entry).text),
                                    d_.quant.list_key),
                        list_.entry(entry).at);
        finding.Fact("entries", "{n} of this form");
        if (list_.is_pattern(entry)) {
          finding.Fact("note", "patterns are matched from the start of the path");
          return finding;
        }
        if (normal.size > 0 && Container(normal)) {
          finding.Fact("note", fmt::format("it holds modules, but a name in a list of dialect `{}` "
                                           "does not cover what is below it",
                                           d_.quant.dialect->name));
          const std::string& prefix = d_.quant.dialect->pattern_prefix;
          if (!prefix.empty())
            finding.Help(fmt::format("write `{}{}.*`", prefix, Escaped(name + ".")));
          return finding;
        }
        std::string nearest = NearestPath(d_, name);
        if (nearest.empty() && Normalise("model." + name, &normal) && Container(normal))
          nearest = "model." + name;
        if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
        return finding;
      });
    }
    grouped.Flush(out_);
  }

  Decisions& d_;
  const SkipList& list_;
  Diagnostics* out_;
  std::vector<bool> used_;
  std::vector<std::vector<std::string_view>> roots_;  // of entries that hit by last segments
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
    case Reason::kSame:
      return "reads another tensor";
  }
  return "";
}

}  // namespace ferrule
