// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "engine/lists/name_match.h"
#include "engine/runtimes/patch.h"
#include "engine/runtimes/plan_question.h"

namespace ferrule {
namespace {

struct Wrong {  // a module that the engine does not run as it is stored
  std::string name, why;
};

struct Trial {
  std::vector<Wrong> wrong;
  std::string error;  // the patched config has a mistake that it did not have
  int64_t asked = 0;
  int64_t idle = 0;  // modules that are stored quantized and run in BF16
  std::string idle_one;
  bool right() const { return wrong.empty() && error.empty(); }
  size_t badness() const { return error.empty() ? wrong.size() : SIZE_MAX; }
};

// How the modules that stay BF16 are named in the list.
enum class Names : uint8_t {
  kEngine,  // as the engine builds them
  kParts,   // and as its tables split them
  kStored,  // and as they are stored
  kLeaves,  // and every linear of every expert
};

class Exporter {
 public:
  Exporter(const Book& book, const Runtime& runtime, const Plan& plan, const Diagnostics& planned,
           const ExportOptions& options, Diagnostics* out)
      : book_(book),
        runtime_(runtime),
        plan_(plan),
        checkpoint_(plan.checkpoint),
        options_(options),
        out_(out),
        name_(fmt::format("{}@{}", runtime.engine, runtime.version)) {
    for (const Finding& finding : planned.findings())
      if (finding.level == Level::kError) known_.insert(finding.message);
  }

  std::optional<Export> Run() {
    Diagnostics compared;
    auto as = ComparePlan(plan_, runtime_, &compared);
    if (!as) {
      out_->Append(compared);
      return std::nullopt;
    }
    as_ = std::move(*as);
    if (Refused()) return std::nullopt;
    if (!FindDescriptions()) return std::nullopt;
    return options_.mapping ? Mapping() : List();
  }

 private:
  // The engine stops before it builds a module, whatever a list says.
  bool Refused() {
    if (as_.refusal.empty()) return false;
    out_->Add(Code::kCannotExport,
              fmt::format("{} refuses the checkpoint, and no list helps", name_),
              DescriptionOf(plan_).value.location())
        .Fact("engine", as_.refusal)
        .Fact("effect", "it stops before it asks for a list: nothing is written")
        .Help("take another version of the engine: see `ferrule matrix DIR`");
    return true;
  }

  bool FindDescriptions() {
    const JsonValue section = plan_.decisions.rules->config_section.empty()
                                  ? JsonValue()
                                  : checkpoint_->config.Find(plan_.decisions.rules->config_section);
    const QuantSources sources{checkpoint_->config, section, checkpoint_->quantization_config,
                               checkpoint_->hf_quant_config, checkpoint_->quant_model_description};
    auto found = ferrule::FindDescriptions(sources, book_.dialects, out_);
    if (!found) return false;
    descriptions_ = std::move(*found);
    if (descriptions_.empty()) {
      out_->Add(Code::kCannotExport, "the checkpoint is not quantized: there is no list to write",
                checkpoint_->config.location());
      return false;
    }
    dialect_ = options_.dialect.empty() ? descriptions_[0].dialect
                                        : FindDialect(options_.dialect, book_.dialects);
    if (dialect_ == nullptr) {
      std::vector<std::string> known;
      for (const auto& dialect : book_.dialects) known.push_back(dialect->name);
      out_->Add(Code::kUsage, fmt::format("there is no dialect {}", Quoted(options_.dialect)))
          .Help(fmt::format("the dialects are {}", fmt::join(known, ", ")));
      return false;
    }
    if (!dialect_->list.keys.empty()) return true;
    std::vector<std::string> with_list;
    for (const auto& dialect : book_.dialects)
      if (!dialect->list.keys.empty()) with_list.push_back(dialect->name);
    out_->Add(Code::kCannotExport,
              fmt::format("dialect `{}` has no list of what stays BF16", dialect_->name),
              descriptions_[0].value.location())
        .Fact("effect", "there is nothing that could be rewritten, and nothing is written")
        .Help(fmt::format("`--dialect` with one that has a list: {}", fmt::join(with_list, ", ")));
    return false;
  }

  // The key of the list as it is, else the first of the dialect.
  std::string OwnKey() const {
    const std::string& own = plan_.decisions.quant.list_key;
    return own.empty() ? dialect_->list.keys[0] : own;
  }

  // The keys under which the list may stand, its own first.
  std::vector<std::string> Keys() const {
    std::vector<std::string> keys = dialect_->list.keys;
    const auto own = std::find(keys.begin(), keys.end(), plan_.decisions.quant.list_key);
    if (own != keys.end()) std::rotate(keys.begin(), own, own + 1);
    return keys;
  }

  std::optional<Export> List() {
    const SkipList& list = plan_.decisions.quant.list;
    std::vector<std::string> original;
    for (size_t i = 0; i < list.size(); ++i) original.push_back(list.entry(i).text);
    if (dialect_ == descriptions_[0].dialect) {
      best_ = Compared(as_);
      if (best_->right()) return Done(OwnKey(), original, *best_);
    }
    if (!Reopen()) return std::nullopt;
    for (const std::string& key : Keys()) {
      const Trial as_is = Try(key, original);
      if (as_is.right()) return Done(key, original, as_is);
      if (!as_is.error.empty()) continue;
      // What stays BF16 without any list is in the engine's code, and no list quantizes it.
      const Trial empty = Try(key, {});
      if (empty.right()) return Done(key, {}, empty);
      if (empty.idle > 0) {
        unlisted_ = empty;
        continue;
      }
      std::set<std::string> wrong;
      for (const Wrong& module : as_is.wrong) wrong.insert(module.name);
      const std::vector<std::string> none;
      const std::pair<const std::vector<std::string>*, bool> bases[] = {
          {&original, false}, {&original, true}, {&none, true}};
      // What is wrong is named beside the list as it is; then all; then all anew.
      for (const auto& [base, all] : bases)
        for (const Names names : {Names::kEngine, Names::kParts, Names::kStored, Names::kLeaves}) {
          std::vector<std::string> entries = *base;
          AddNames(names, all ? nullptr : &wrong, &entries);
          if (tried_.count({key, entries}) > 0) continue;
          const Trial trial = Try(key, entries);
          if (trial.right()) return Done(key, std::move(entries), trial);
        }
    }
    Refuse();
    return std::nullopt;
  }

  void AddNames(Names names, const std::set<std::string>* only, std::vector<std::string>* entries) {
    std::unordered_set<std::string> known(entries->begin(), entries->end());
    const auto add = [&](std::string name) {
      if (known.insert(name).second) entries->push_back(std::move(name));
    };
    for (const AsModule& module : as_.modules) {
      if (module.plain || module.stored < 0 || plan_.SchemeName(module.stored) != "bf16" ||
          (only != nullptr && only->count(module.name) == 0))
        continue;
      add(module.name);
      if (names >= Names::kParts)
        for (std::string& part : Parts(module.name)) add(std::move(part));
      if (names >= Names::kStored)
        for (const int32_t id : module.modules) AddStored(id, names, add);
    }
  }

  template <typename Add>
  void AddStored(int32_t id, Names names, const Add& add) const {
    const Unit& unit = plan_.decisions.UnitOf(id);
    if (unit.container < 0) return add(plan_.decisions.PathOf(id));
    const Container& container =
        plan_.decisions.units.containers[static_cast<size_t>(unit.container)];
    add(Concrete(container.path, container.numbers));
    if (names >= Names::kLeaves)
      for (int32_t i = 0; i < unit.count; ++i) add(unit.PathOf(i));
  }

  // The names into which the class map or a table of the engine splits a module.
  std::vector<std::string> Parts(const std::string& name) const {
    std::vector<std::string> out;
    const std::string_view leaf = LastSegment(name);
    const std::string above = name.substr(0, name.size() - leaf.size());
    const auto split = [&](const FusedMap& map) {
      for (const auto& [fused, parts] : map)
        if (fused == leaf)
          for (const std::string& part : parts) out.push_back(above + part);
    };
    if (const EngineModel* model = ModelOf(runtime_, plan_)) split(model->map);
    for (const auto& [table, map] : runtime_.tables) split(map);
    return out;
  }

  ListPatch PatchOf(const Description& description, const std::string& key,
                    const std::vector<std::string>& entries) const {
    const bool first = &description == &descriptions_[0];
    ListPatch patch;
    if (first && dialect_ != description.dialect && !dialect_->quant_methods.empty())
      patch.method = dialect_->quant_methods[0];
    const auto& keys = description.dialect->list.keys;
    patch.without = keys;
    patch.without.insert(patch.without.end(), dialect_->list.keys.begin(),
                         dialect_->list.keys.end());
    patch.key = first || keys.empty() ? key : keys[0];
    if (!first)
      for (const std::string& own : keys)
        if (description.value.Find(own)) patch.key = own;
    patch.entries = entries;
    return patch;
  }

  bool Reopen() {
    if (scratch_) return true;
    auto again = OpenCheckpoint(checkpoint_->directory, out_);
    if (again) scratch_ = std::make_shared<Checkpoint>(std::move(*again));
    return scratch_ != nullptr;
  }

  Trial Try(const std::string& key, const std::vector<std::string>& entries) {
    tried_.emplace(key, entries);
    scratch_->config = checkpoint_->config;
    scratch_->hf_quant_config = checkpoint_->hf_quant_config;
    scratch_->quant_model_description = checkpoint_->quant_model_description;
    scratch_->quantization_config = checkpoint_->quantization_config;
    const bool good =
        std::all_of(descriptions_.begin(), descriptions_.end(), [&](const Description& one) {
          const std::string text = PatchedDescription(one.value, PatchOf(one, key, entries), false);
          return PatchConfig(one.value, text, scratch_.get());
        });
    Trial trial = good ? Judge(scratch_, runtime_) : Trial();
    if (!good) trial.error = "the patched config cannot be read";
    if (!best_ || trial.badness() < best_->badness()) best_ = trial;
    return trial;
  }

  Trial Judge(const std::shared_ptr<const Checkpoint>& checkpoint, const Runtime& runtime) const {
    Trial trial;
    Diagnostics findings, compared;
    const auto plan = MakePlan(book_, checkpoint, {1}, &findings);
    for (const Finding& finding : findings.findings())
      if (finding.level == Level::kError && known_.count(finding.message) == 0)
        trial.error = fmt::format("{}: {}", CodeName(finding.code), finding.message);
    const auto as = plan ? ComparePlan(*plan, runtime, &compared) : std::nullopt;
    const auto same = [](const AsModule& a, const AsModule& b) { return a.name == b.name; };
    if (!as || !std::equal(as->modules.begin(), as->modules.end(), as_.modules.begin(),
                           as_.modules.end(), same)) {
      if (trial.error.empty()) trial.error = "under the patched config it builds other modules";
      return trial;
    }
    const std::string error = trial.error;
    trial = Compared(*as);
    trial.error = error;
    return trial;
  }

  Trial Compared(const PlanAs& as) const {
    Trial trial;
    for (size_t i = 0; i < as.modules.size(); ++i) {
      const AsModule& module = as.modules[i];
      if (as_.modules[i].stored < 0) continue;
      const bool bf16 = plan_.SchemeName(as_.modules[i].stored) == "bf16";
      ++trial.asked;
      if (module.result == "error" || module.result == "unsupported") {
        trial.wrong.push_back({module.name, fmt::format("stops with {}", module.error)});
      } else if ((module.result == "quant") == bf16 && !module.widened) {
        if (!bf16 && trial.idle++ == 0) trial.idle_one = module.name;
        trial.wrong.push_back({module.name, bf16 ? "runs quantized and is stored in BF16"
                                                 : "runs in BF16 and is stored quantized"});
      }
    }
    return trial;
  }

  Export Done(const std::string& key, std::vector<std::string> entries, const Trial& trial) const {
    Export out;
    const Description& description = descriptions_[0];
    const ListPatch patch = PatchOf(description, key, entries);
    out.key = key;
    out.description = PatchedDescription(description.value, patch, true);
    out.compact = PatchedDescription(description.value, patch, false);
    out.file = description.value.path().substr(description.value.path().rfind('/') + 1);
    out.place = description.value.pointer();
    out.listed = static_cast<int64_t>(plan_.decisions.quant.list.size());
    out.asked = trial.asked;
    out.entries = std::move(entries);
    return out;
  }

  // Fused modules of the rules under the names of their last segments, as a class map.
  std::optional<Export> Mapping() {
    std::map<std::string, std::vector<std::string>> map;
    for (const Unit& unit : plan_.decisions.units.units) {
      if (unit.kind != NodeKind::kFused || unit.parts.size() < 2) continue;
      std::vector<std::string> parts;
      for (const int32_t part : unit.parts)
        parts.emplace_back(
            LastSegment(plan_.decisions.units.units[static_cast<size_t>(part)].path));
      const auto [at, fresh] = map.emplace(std::string(LastSegment(unit.path)), parts);
      if (!fresh && at->second.size() < parts.size()) at->second = parts;
    }
    Runtime patched = runtime_;
    FusedMap own(map.begin(), map.end());
    const EngineModel* model = ModelOf(runtime_, plan_);
    for (EngineModel& other : patched.models)
      if (model != nullptr && other.architecture == model->architecture) other.map = own;
    best_ = Judge(checkpoint_, patched);
    if (!best_->right()) {
      Refuse();
      return std::nullopt;
    }
    Export out;
    out.map = std::move(own);
    out.asked = best_->asked;
    return out;
  }

  void Refuse() const {
    const Trial& best = *best_;
    // A dialect that was asked for is the command line's choice, not a mistake of config.json.
    const bool chosen = !options_.mapping && dialect_ != descriptions_[0].dialect;
    Finding finding(Code::kCannotExport,
                    fmt::format("no {} makes {} run this checkpoint as it is stored",
                                options_.mapping ? "map of fused modules"
                                : chosen ? fmt::format("list of dialect `{}`", dialect_->name)
                                         : "list",
                                name_),
                    chosen ? Location() : descriptions_[0].value.location());
    if (!best.error.empty())
      finding.Fact("refused", best.error);
    else
      finding.Fact("nearest",
                   fmt::format("{} of {} modules stay wrong", best.wrong.size(), best.asked));
    std::map<std::string, std::pair<int64_t, std::string>> reasons;
    for (const Wrong& wrong : best.wrong) {
      auto& [count, example] = reasons[wrong.why];
      if (count++ == 0) example = wrong.name;
    }
    for (const auto& [why, found] : reasons)
      finding.Fact(
          "module",
          fmt::format("{}{} {}", found.second,
                      found.first == 1 ? "" : fmt::format(" and {} more", found.first - 1), why));
    if (unlisted_)
      finding.Fact("cause", fmt::format("without any entry {} modules stay in BF16 all the same, "
                                        "e.g. {}: a list only takes modules out",
                                        unlisted_->idle, unlisted_->idle_one));
    finding.Help(options_.mapping ? "export the list instead"
                 : chosen ? fmt::format("leave `--dialect` out: the checkpoint's own is `{}`",
                                        descriptions_[0].dialect->name)
                          : "take another version of the engine: see `ferrule matrix DIR`");
    out_->Add(std::move(finding));
  }

  const Book& book_;
  const Runtime& runtime_;
  const Plan& plan_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  const ExportOptions& options_;
  Diagnostics* out_;
  std::string name_;
  std::shared_ptr<Checkpoint> scratch_;  // the same tensors, another config for each trial
  PlanAs as_;
  std::vector<Description> descriptions_;
  std::shared_ptr<const Dialect> dialect_;
  std::set<std::string> known_;  // errors that the plan has as it is
  std::set<std::pair<std::string, std::vector<std::string>>> tried_;
  std::optional<Trial> best_;
  std::optional<Trial> unlisted_;  // under an empty list, where that leaves too much in BF16
};

}  // namespace

std::optional<Export> ExportFor(const Book& book, const Runtime& runtime, const Plan& plan,
                                const Diagnostics& planned, const ExportOptions& options,
                                Diagnostics* out) {
  return Exporter(book, runtime, plan, planned, options, out).Run();
}

}  // namespace ferrule
