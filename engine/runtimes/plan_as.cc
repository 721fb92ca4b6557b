// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/plan_as.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "engine/lists/name_match.h"
#include "engine/plan/grouped.h"
#include "engine/runtimes/as_shape.h"
#include "engine/runtimes/engine_modules.h"
#include "engine/runtimes/plan_question.h"

namespace ferrule {
namespace {

class Comparison {
 public:
  Comparison(const Plan& plan, const Runtime& runtime, QuestionCache* cache, const PlanAs* decided,
             Diagnostics* out)
      : plan_(plan),
        d_(plan.decisions),
        runtime_(runtime),
        cache_(*cache),
        decided_(decided),
        out_(out) {
    as_.engine = runtime.engine;
    as_.version = runtime.version;
    for (const auto& [section, version] : runtime.shared)
      if (section == "models")
        as_.classes =
            HasText("@", version) ? version : fmt::format("{}@{}", runtime.engine, version);
    name_ = fmt::format("{}@{}", runtime.engine, runtime.version);
  }

  std::optional<PlanAs> Run() {
    const EngineModel* model = ModelOf(runtime_, plan_);
    if (!FindMethod()) return std::nullopt;
    if (model == nullptr) {
      const std::string_view architecture = Architecture(plan_);
      out_->Add(Code::kRuntimeUnknown,
                fmt::format("how {} names the modules of {} is not described", name_,
                            architecture.empty() ? "this model" : Quoted(architecture)));
      return std::nullopt;
    }
    if (Refuses(*model)) return std::move(as_);
    Ask(*model, false);
    const EngineModel* draft = nullptr;
    const ConfigScope scope(plan_.checkpoint->config, description_.value);
    for (const EngineModel& other : runtime_.models)
      if (!model->draft.empty() && other.architecture == model->draft &&
          Holds(model->draft_when, scope))
        draft = &other;
    if (draft != nullptr)
      Ask(*draft, true);
    else
      SayDraft();
    grouped_.Flush(out_);
    return std::move(as_);
  }

  using Facts = std::vector<std::pair<std::string, std::string>>;

  static std::string_view Architecture(const Plan& plan) {
    return plan.checkpoint->config.Find("architectures")[0].Text();
  }

 private:
  // The engine does not get as far as the modules.
  bool Refuses(const EngineModel& model) {
    const JsonValue& config = plan_.checkpoint->config;
    Location at = config.Find("architectures").location();
    if (decided_ != nullptr)
      as_.refusal = decided_->refusal;
    else if (method_ != nullptr)
      as_.refusal = RefusalOf(description_, runtime_, *method_, model, &cache_);
    if (!as_.refusal.empty()) {
      at = description_.value.location();
    } else if (!model.refuses.error.empty() &&
               (model.refuses.null.empty() || config.Find(model.refuses.null).is_null()) &&
               Holds(model.refuses.when, ConfigScope(config, description_.value))) {
      as_.refusal = model.refuses.error;
    }
    if (as_.refusal.empty()) return false;
    out_->Add(Code::kRuntimeRefuses, fmt::format("{} refuses the checkpoint", name_), at)
        .Fact("engine", as_.refusal)
        .Fact("effect", "it stops before it builds a module");
    return true;
  }

  // Draft layers are stored, and how the engine builds them is not described.
  void SayDraft() {
    int64_t count = 0;
    const Unit* first = nullptr;
    for (const Unit& unit : d_.units.units) {
      if (!unit.draft || !IsLinear(unit.kind) || unit.kind == NodeKind::kFused ||
          d_.modules[static_cast<size_t>(unit.first)].absent)
        continue;
      if (first == nullptr) first = &unit;
      count += unit.count;
    }
    if (first == nullptr) return;
    out_->Add(Code::kRuntimeDraft,
              fmt::format("how {} builds the draft layers of {} is not described", name_,
                          Quoted(Architecture(plan_))),
              RuleAt(d_, *first))
        .Fact("modules", fmt::format("{}, e.g. {}", count, first->PathOf(0)))
        .Fact("effect", "these are not compared; the model's own layers are")
        .Help(
            fmt::format("`draft` of the class's entry in rules/runtimes/{}.yaml names their class",
                        as_.classes.empty() ? name_ : as_.classes));
  }

  bool FindMethod() {
    description_ = DescriptionOf(plan_);
    if (!d_.quant.dialect) return true;  // nothing is asked
    method_ = MethodOf(runtime_, description_);
    if (method_ != nullptr) return true;
    out_->Add(Code::kRuntimeUnknown, fmt::format("what {} does with {} is not described", name_,
                                                 Quoted(d_.quant.dialect->name)));
    return false;
  }

  void Ask(const EngineModel& model, bool draft) {
    const bool asks = method_ != nullptr && !method_->function.empty();
    RuntimeQuestion* question = nullptr;
    if (asks && decided_ == nullptr)
      question = &cache_.Get(description_, runtime_, *method_, model);
    for (const EngineModule& built : EngineModules(plan_, runtime_, model, draft))
      for (int32_t i = 0; i < built.count; ++i) {
        AsModule module = Describe(built, i);
        module.draft = draft;
        module.result = module.word = "none";
        if (asks && !built.plain)
          Answer(NameAsked(model, built, module), built.layer, question, &module);
        if (module.result == "quant")
          module.refusal = BlockRefusal(plan_, runtime_, model, built, module.name);
        Judge(built, &module);
        as_.modules.push_back(std::move(module));
      }
  }

  AsModule Describe(const EngineModule& built, int32_t i) const {
    AsModule out;
    out.name = built.Name(i);
    out.pattern = built.Pattern();
    out.layer = built.layer;
    out.plain = built.plain;
    for (size_t k = 0; k < built.numbers.size(); ++k)
      if (!built.index[k].empty())
        out.numbers.emplace_back(built.index[k],
                                 built.numbers[k] + (static_cast<int>(k) == built.range ? i : 0));
    bool first = true;
    for (const int32_t id : built.units) {
      const Unit& unit = d_.units.units[static_cast<size_t>(id)];
      const int32_t at = unit.first + (built.container < 0 && i < unit.count ? i : 0);
      const Module& module = d_.modules[static_cast<size_t>(at)];
      out.modules.push_back(at);
      if (module.absent && module.reason != Reason::kSame) continue;  // `same:` reads another
      const int8_t scheme = unit.kind == NodeKind::kWeight ? int8_t{0} : module.scheme;
      if (!first && scheme != out.stored) return WithoutScheme(std::move(out), built);
      out.stored = scheme;
      first = false;
    }
    if (built.container >= 0)
      out.stored = d_.container_scheme[static_cast<size_t>(built.container)];
    return out;
  }
  // The rest of what stands in a module whose parts differ.
  AsModule WithoutScheme(AsModule out, const EngineModule& built) const {
    out.stored = kNoScheme;
    for (size_t k = out.modules.size(); k < built.units.size(); ++k)
      out.modules.push_back(d_.units.units[static_cast<size_t>(built.units[k])].first);
    return out;
  }

  std::string NameAsked(const EngineModel& model, const EngineModule& built,
                        const AsModule& module) const {
    if (std::find(model.unnamed.begin(), model.unnamed.end(), LastSegment(built.path)) !=
        model.unnamed.end())
      return {};
    if (!method_->first_expert || built.layer != LayerKind::kExperts) return module.name;
    const Unit& first = d_.units.units[static_cast<size_t>(built.units[0])];
    return fmt::format("{}.0.{}", module.name,
                       model.first_expert.empty() ? LastSegment(first.path)
                                                  : std::string_view(model.first_expert));
  }

  void Answer(const std::string& name, LayerKind layer, RuntimeQuestion* question, AsModule* out) {
    if (decided_ != nullptr) {
      const AsModule& before = decided_->modules[as_.modules.size()];  // built in the same order
      out->word = before.word;
      out->result = before.result;
      out->error = before.error;
      return;
    }
    question->name = name;
    question->texts["layer"] = LayerName(layer);
    for (const auto& [known, word] : runtime_.layers)
      if (known == LayerName(layer)) question->texts["layer"] = word;
    const RuntimeAnswer answer = Emulate(runtime_, method_->function, *question, &cache_.regexes);
    out->word = answer.result;
    out->result = AsResult(answer.result);
    out->error = answer.error;
  }

  void Judge(const EngineModule& built, AsModule* module) {
    const bool known = module->stored >= 0;
    if (known || module->stored == kForeign) ++as_.asked;
    if (module->result == "error" || module->result == "unsupported") {
      module->verdict = AsVerdict::kRefuses;
      ++as_.refused;
      Report(Code::kRuntimeRefuses, built, module->name,
             module->result == "error"
                 ? fmt::format("{} stops with {} at {{n}} modules", name_, module->error)
                 : fmt::format("what {} decides about {{n}} modules hangs on {}", name_,
                               module->error),
             {});
      return;
    }
    const std::string ours = known ? plan_.SchemeName(module->stored) : "";
    if (!module->refusal.empty()) {
      module->verdict = AsVerdict::kRefuses;
      ++as_.refused;
      Report(
          Code::kRuntimeRefuses, built, module->name,
          fmt::format("{} refuses {{n}} modules at tp {}", name_, plan_.tp),
          {{"engine", "ValueError: " + module->refusal},
           {"stored", ours == "bf16" ? "bf16: the engine wrongly takes it for quantized" : ours}});
      return;
    }
    if (!known) return;
    const bool quantized = module->result == "quant";
    module->widened = !quantized && ours != "bf16" && method_ != nullptr &&
                      method_->widens_experts && built.layer == LayerKind::kExperts;
    if (quantized == (ours != "bf16") || module->widened) {
      module->verdict = AsVerdict::kAlike;
      ++as_.alike;
      return;
    }
    module->verdict = AsVerdict::kOtherwise;
    ++as_.otherwise;
    Report(Code::kRuntimeOtherwise, built, module->name,
           fmt::format("{} runs {{n}} modules {} that are {}", name_,
                       quantized ? "quantized" : "in BF16", ours),
           plan_.checkpoint->has_headers ? Facts{}
                                         : Facts{{"known",
                                                  "from the description alone; no headers show how "
                                                  "they are stored"}});
  }

  void Report(Code code, const EngineModule& built, const std::string& name, std::string message,
              const Facts& facts) {
    const auto detail =
        static_cast<int64_t>(std::hash<std::string>{}(message + built.Pattern()) >> 1U);
    const Unit* unit =
        built.units.empty() ? nullptr : &d_.units.units[static_cast<size_t>(built.units[0])];
    grouped_.Add(code, unit == nullptr ? nullptr : unit->node, detail, [&] {
      Finding finding(code, message, unit == nullptr ? Location() : RuleAt(d_, *unit));
      finding.Fact("module", fmt::format("{}, e.g. {}", built.Pattern(), name));
      for (const auto& [key, text] : facts) finding.Fact(key, text);
      return finding;
    });
  }

  const Plan& plan_;
  const Decisions& d_;
  const Runtime& runtime_;
  QuestionCache& cache_;
  const PlanAs* decided_;
  Diagnostics* out_;
  std::string name_;
  Description description_;
  const MethodRule* method_ = nullptr;
  Grouped grouped_;
  PlanAs as_;
};

}  // namespace

std::string_view AsVerdictName(AsVerdict verdict) {
  constexpr std::string_view kNames[] = {"alike", "otherwise", "refuses", "unknown"};
  return kNames[static_cast<size_t>(verdict)];
}

const EngineModel* ModelOf(const Runtime& runtime, const Plan& plan) {
  static const EngineModel kAsStored;
  const std::string_view architecture = Comparison::Architecture(plan);
  const auto find = [&](std::string_view name) {
    const auto at = std::find_if(runtime.models.begin(), runtime.models.end(),
                                 [&](const auto& model) { return model.architecture == name; });
    return at == runtime.models.end() ? nullptr : &*at;
  };
  if (const EngineModel* model = find(architecture)) {
    if (model->becomes.empty()) return model;
    const auto& dialect = plan.decisions.quant.dialect;
    const auto& under = model->becomes_under;
    const bool asked = under.empty() || (dialect && std::find(under.begin(), under.end(),
                                                              dialect->name) != under.end());
    const ConfigScope scope(plan.checkpoint->config, DescriptionOf(plan).value);
    return asked && Holds(model->becomes_when, scope) ? find(model->becomes) : model;
  }
  return runtime.any_model ? &kAsStored : nullptr;
}

std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, Diagnostics* out) {
  QuestionCache cache;
  return ComparePlan(plan, runtime, &cache, nullptr, out);
}

std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, QuestionCache* cache,
                                  const PlanAs* decided, Diagnostics* out) {
  return Comparison(plan, runtime, cache, decided, out).Run();
}

}  // namespace ferrule
