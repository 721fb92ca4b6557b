// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/engine_modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/lists/name_match.h"
#include "engine/runtimes/plan_question.h"

namespace ferrule {
namespace {

bool IsPlaceholder(std::string_view segment) {
  return segment.size() > 2 && segment.front() == '<' && segment.back() == '>';
}

// A path taken apart, with the number that each `#` stands for.
struct Taken {
  std::vector<std::string> segments;
  std::vector<int> number;  // position in EngineModule::numbers, -1 for a text
};

Taken TakeApart(const EngineModule& module) {
  Taken out;
  int next = 0;
  for (const std::string_view segment : Segments(module.path)) {
    out.segments.emplace_back(segment);
    out.number.push_back(segment == "#" ? next++ : -1);
  }
  return out;
}

// Where the run `from` begins; npos when it is nowhere.
size_t FindRun(const Taken& path, const EngineModule& module,
               const std::vector<std::string>& from) {
  const auto fits = [&](size_t at, const std::string& piece) {
    if (path.number[at] < 0) return path.segments[at] == piece;
    if (IsPlaceholder(piece)) return true;
    return path.number[at] != module.range &&
           piece == std::to_string(module.numbers[static_cast<size_t>(path.number[at])]);
  };
  for (size_t at = 0; at + from.size() <= path.segments.size(); ++at) {
    size_t i = 0;
    while (i < from.size() && fits(at + i, from[i])) ++i;
    if (i == from.size()) return at;
  }
  return std::string::npos;
}

void Rewrite(const PathRule& rule, EngineModule* module) {
  const Taken path = TakeApart(*module);
  const size_t at = FindRun(path, *module, rule.from);
  if (at == std::string::npos) return;
  EngineModule out = *module;
  out.path.clear();
  out.numbers.clear();
  out.index.clear();
  out.range = -1;
  const auto add = [&](const std::string& segment, int number) {
    if (!out.path.empty()) out.path += '.';
    out.path += segment;
    if (number < 0) return;
    if (number == module->range) out.range = static_cast<int>(out.numbers.size());
    out.numbers.push_back(module->numbers[static_cast<size_t>(number)]);
    out.index.push_back(module->index[static_cast<size_t>(number)]);
  };
  for (size_t i = 0; i < at; ++i) add(path.segments[i], path.number[i]);
  for (const std::string& piece : rule.to) {
    const auto from = std::find(rule.from.begin(), rule.from.end(), piece);
    const bool bound = IsPlaceholder(piece) && from != rule.from.end();
    if (bound)
      add("#", path.number[at + static_cast<size_t>(from - rule.from.begin())]);
    else if (!piece.empty())
      add(piece, -1);
  }
  for (size_t i = at + rule.from.size(); i < path.segments.size(); ++i)
    add(path.segments[i], path.number[i]);
  if (out.range < 0 && module->range >= 0) out.count = 1;  // all share one name
  *module = std::move(out);
}

class Builder {
 public:
  Builder(const Plan& plan, const Runtime& runtime, const EngineModel& model, bool draft)
      : plan_(plan),
        d_(plan.decisions),
        runtime_(runtime),
        model_(model),
        draft_(draft),
        description_(DescriptionOf(plan)),
        scope_(plan.checkpoint->config, description_.value) {
    fuses_ = model.fuses;
    for (const auto& fuse : runtime.modules.fuses)
      if (std::find(model.apart.begin(), model.apart.end(), fuse.first) == model.apart.end())
        fuses_.push_back(fuse);
  }

  std::vector<EngineModule> Run() {
    Collect();
    Fuse();
    Split();
    for (EngineModule& module : modules_) Name(&module);
    Unite();
    for (const AddRule& rule : model_.adds) Add(rule);
    return std::move(modules_);
  }

 private:
  void Add(const AddRule& rule) {
    if (!Holds(rule.when, scope_)) return;
    const auto known = std::find_if(modules_.begin(), modules_.end(),
                                    [&](const auto& module) { return module.path == rule.path; });
    if (known != modules_.end()) {  // stored after all
      known->layer = rule.layer;
      return;
    }
    EngineModule& module = modules_.emplace_back();
    module.path = rule.path;
    module.layer = rule.layer;
    if (rule.path.find('#') != std::string::npos) {
      module.numbers = {rule.first};
      module.index = {"n"};
      module.range = 0;
      module.count = rule.count;
    }
    module.plain = IsPlain(module);
  }

  // What is stored, without what the engine leaves out.
  void Collect() {
    std::set<std::string> stacks;
    int32_t last_container = -1;
    for (size_t u = 0; u < d_.units.units.size(); ++u) {
      const Unit& unit = d_.units.units[u];
      if (unit.draft != draft_ || !IsBuilt(unit)) continue;
      EngineModule module{unit.path,     unit.numbers,       unit.index, unit.range,
                          unit.count,    LayerKind::kLinear, false,      {static_cast<int32_t>(u)},
                          unit.container};
      if (unit.quantize == Quantize::kNamed) module.layer = LayerKind::kHead;
      if (unit.kind == NodeKind::kWeight) module.layer = WeightLayer(unit.path);
      if (Listed(runtime_.modules.omits, module) || Listed(model_.omits, module)) continue;
      if (unit.container >= 0 && model_.linear_experts) module.container = -1;
      if (module.container >= 0) {
        if (unit.container == last_container && !modules_.empty() &&
            modules_.back().container == unit.container) {
          modules_.back().units.push_back(static_cast<int32_t>(u));
          continue;
        }
        last_container = unit.container;
        const Container& container = d_.units.containers[static_cast<size_t>(unit.container)];
        module.path = container.path;
        module.numbers = container.numbers;
        module.index.resize(container.numbers.size());
        module.range = -1;
        module.count = 1;
        module.layer = LayerKind::kExperts;
      } else if (unit.stack > 0) {
        module.path = module.path.substr(0, module.path.rfind('.'));
        module.layer = LayerKind::kExperts;
        if (!stacks.insert(Key(module)).second) {
          for (EngineModule& known : modules_)
            if (known.layer == LayerKind::kExperts && Key(known) == Key(module))
              known.units.push_back(static_cast<int32_t>(u));
          continue;
        }
      }
      modules_.push_back(std::move(module));
    }
  }

  bool IsBuilt(const Unit& unit) const {
    if (unit.kind == NodeKind::kWeight) return HasWeight(unit.path);
    if (!IsLinear(unit.kind)) return false;
    const Module& first = d_.modules[static_cast<size_t>(unit.first)];
    return !first.absent ||
           (first.reason == Reason::kSame && unit.quantize == Quantize::kNamed);  // a tied head
  }
  bool HasWeight(std::string_view path) const {
    const auto in = [&](const EngineModel& model) {
      return std::any_of(model.weights.begin(), model.weights.end(),
                         [&](const auto& entry) { return entry.first == LastSegment(path); });
    };
    return in(model_) || in(runtime_.modules);
  }
  LayerKind WeightLayer(std::string_view path) const {
    for (const EngineModel* model : {&model_, &runtime_.modules})
      for (const auto& [name, layer] : model->weights)
        if (name == LastSegment(path)) return layer;
    return LayerKind::kLinear;
  }

  bool Listed(const std::vector<ModuleRule>& rules, const EngineModule& module) const {
    const Taken path = TakeApart(module);
    return std::any_of(rules.begin(), rules.end(), [&](const ModuleRule& rule) {
      const bool named = std::any_of(rule.paths.begin(), rule.paths.end(), [&](const auto& run) {
        return FindRun(path, module, run) != std::string::npos;
      });
      const bool under = rule.under.empty() || std::find(rule.under.begin(), rule.under.end(),
                                                         DialectName()) != rule.under.end();
      return named && under && Holds(rule.when, scope_) && Says(rule.function);
    });
  }
  std::string DialectName() const { return d_.quant.dialect ? d_.quant.dialect->name : ""; }

  // Whether a function says yes of the description; without one it is asked of none.
  bool Says(const std::string& function) const {
    if (function.empty()) return true;
    const auto known = said_.find(function);
    if (known != said_.end()) return known->second;
    PythonRegexes regexes;
    RuntimeQuestion question;
    if (const MethodRule* method = MethodOf(runtime_, description_))
      question = BaseQuestion(description_, runtime_, *method, model_, &regexes);
    std::set<std::string> drafts;  // model.layers.61, mtp
    for (const Unit& unit : d_.units.units)
      if (unit.draft) drafts.insert(DraftOf(unit));
    QuestionList& list = question.lists["draft"];
    for (const std::string& draft : drafts) list.push_back({draft, {}, list.size(), 0});
    const bool yes = Emulate(runtime_, function, question, &regexes).result == "yes";
    return said_.emplace(function, yes).first->second;
  }
  // The path of a draft layer up to its number.
  static std::string DraftOf(const Unit& unit) {
    const size_t number = unit.path.find('#');
    if (number == std::string::npos) return std::string(Segments(unit.path).front());
    return Concrete(unit.path.substr(0, number + 1), std::span(unit.numbers).first(1));
  }
  bool IsPlain(const EngineModule& module) const {
    return Listed(model_.plain, module) || Listed(runtime_.modules.plain, module);
  }

  static std::string Key(const EngineModule& module, std::string_view path) {
    std::string key(path);
    for (const int32_t number : module.numbers) key += fmt::format(" {}", number);
    return key + fmt::format("/{}/{}", module.range, module.count);
  }
  static std::string Key(const EngineModule& module) { return Key(module, module.path); }

  // The first fused module of which all parts are there; of three and more the last may be
  // missing.
  void Fuse() {
    std::map<std::string, size_t> at;
    for (size_t i = 0; i < modules_.size(); ++i)
      if (modules_[i].layer == LayerKind::kLinear) at.emplace(Key(modules_[i]), i);
    std::vector<bool> gone(modules_.size());
    for (size_t i = 0; i < modules_.size(); ++i) {
      if (gone[i] || modules_[i].layer != LayerKind::kLinear) continue;
      for (const auto& [name, parts] : fuses_) {
        const std::string& path = modules_[i].path;
        if (parts.empty() || !HasLastSegments(parts[0], path)) continue;
        const std::string parent = path.substr(0, path.size() - parts[0].size());
        std::vector<size_t> found;
        for (const std::string& part : parts) {
          const auto known = at.find(Key(modules_[i], parent + part));
          if (known == at.end() || gone[known->second]) break;
          found.push_back(known->second);
        }
        if (found.size() < parts.size() && (parts.size() < 3 || found.size() + 1 < parts.size()))
          continue;
        for (size_t k = 1; k < found.size(); ++k) {
          gone[found[k]] = true;
          for (const int32_t unit : modules_[found[k]].units) modules_[i].units.push_back(unit);
        }
        modules_[i].path = parent + name;
        break;
      }
    }
    size_t kept = 0;
    for (size_t i = 0; i < modules_.size(); ++i)
      if (!gone[i] && kept++ != i) modules_[kept - 1] = std::move(modules_[i]);
    modules_.resize(kept);
  }

  void Split() {
    if (model_.splits.empty()) return;
    std::vector<EngineModule> out;
    for (EngineModule& module : modules_) {
      const auto split = std::find_if(model_.splits.begin(), model_.splits.end(), [&](auto& entry) {
        return HasLastSegments(entry.first, module.path);
      });
      if (split == model_.splits.end()) {
        out.push_back(std::move(module));
        continue;
      }
      const std::string parent = module.path.substr(0, module.path.size() - split->first.size());
      for (const std::string& part : split->second) {
        out.push_back(module);
        out.back().path = parent + part;
      }
    }
    modules_ = std::move(out);
  }

  void Name(EngineModule* module) const {
    EngineModule built = *module;
    for (const PathRule& rule : model_.names) Rewrite(rule, module);
    module->plain = IsPlain(*module);
    if (!module->plain || model_.paths.empty()) return;
    for (const PathRule& rule : model_.paths) Rewrite(rule, &built);
    built.plain = true;
    *module = std::move(built);
  }

  // Modules of several layers that are asked by one name are one question.
  void Unite() {
    std::map<std::string, size_t> at;
    std::vector<EngineModule> out;
    out.reserve(modules_.size());
    for (EngineModule& module : modules_) {
      const bool named = module.numbers.empty() && module.container < 0;
      const auto [known, fresh] = at.emplace(module.path, out.size());
      if (fresh || !named)
        out.push_back(std::move(module));
      else
        for (const int32_t unit : module.units) out[known->second].units.push_back(unit);
    }
    modules_ = std::move(out);
  }

  const Plan& plan_;
  const Decisions& d_;
  const Runtime& runtime_;
  const EngineModel& model_;
  const bool draft_;
  const Description description_;
  const ConfigScope scope_;
  FusedMap fuses_;
  std::vector<EngineModule> modules_;
  mutable std::map<std::string, bool> said_;  // function → its answer
};

}  // namespace

std::string EngineModule::Name(int32_t i) const {
  std::vector<int32_t> concrete = numbers;
  if (range >= 0) concrete[static_cast<size_t>(range)] += i;
  return Concrete(path, concrete);
}

std::string EngineModule::Pattern() const {
  std::string out;
  size_t next = 0;
  for (const char c : path) {
    if (c != '#') {
      out += c;
      continue;
    }
    out += index[next].empty() ? std::to_string(numbers[next]) : "<" + index[next] + ">";
    ++next;
  }
  return out;
}

bool Holds(const std::optional<Dim>& when, const Scope& scope) {
  if (!when) return true;
  for (const Expr& expr : when->alternatives) {
    const Answer answer = expr.Evaluate(scope);
    if (answer.ok()) return answer.value.kind == ExprValue::Kind::kBool && answer.value.number != 0;
  }
  return false;
}

std::vector<EngineModule> EngineModules(const Plan& plan, const Runtime& runtime,
                                        const EngineModel& model, bool draft) {
  return Builder(plan, runtime, model, draft).Run();
}

}  // namespace ferrule
