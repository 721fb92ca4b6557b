// SPDX-License-Identifier: Apache-2.0
// All runtime files of the rules: names, what `same_as` joins, and that every name leads somewhere.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/lists/name_match.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/file.h"

namespace ferrule {
namespace {

std::string Name(const Runtime& runtime) {
  return fmt::format("{}@{}", runtime.engine, runtime.version);
}

std::string NearestFunction(const Runtime& runtime, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& function : runtime.functions) known.push_back(function->name);
  const std::string nearest = NearestName(name, known);
  return nearest.empty() ? "define it under `functions` or `helpers`"
                         : fmt::format("did you mean `{}`?", nearest);
}

class NameCheck {
 public:
  NameCheck(const Runtime& runtime, const RuntimeFunction& function, Diagnostics* out)
      : runtime_(runtime), function_(function), out_(out) {}

  bool Run() {
    for (const std::string& map : function_.fused.maps) Map(map, function_.place);
    for (const Step& step : function_.steps) Walk(step);
    return good_;
  }

 private:
  void Unknown(std::string_view what, const std::string& name, const YamlPlace& place) {
    std::vector<std::string> known;
    for (const auto& function : runtime_.functions) known.push_back(function->name);
    const std::string nearest = NearestName(name, known);
    out_->Add(Code::kUnknownName, fmt::format("{} {} is not in this file", what, Quoted(name)),
              runtime_.yaml.At(place))
        .Help(nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
    good_ = false;
  }
  void Map(const std::string& name, const YamlPlace& place) {
    if (name != "argument" && name != "none" && runtime_.Table(name) == nullptr)
      Unknown("the table", name, place);
  }
  void Function(const std::string& name, const YamlPlace& place) {
    if (runtime_.Find(name) == nullptr) Unknown("the function", name, place);
  }
  void Walk(const Test& test, const YamlPlace& place) {
    if (test.kind == Test::Kind::kSays) Function(test.name, place);
    if (test.kind == Test::Kind::kListed && test.match.empty() && function_.match.empty())
      Missing("`listed`", "match", place);
    if (test.kind == Test::Kind::kFused && function_.fused.maps.empty())
      Missing("`fused`", "fused", place);
    for (const Test& inner : test.tests) Walk(inner, place);
  }
  void Walk(const Step& step) {
    if (step.kind == Step::Kind::kAsk) Function(step.text, step.place);
    if (step.kind == Step::Kind::kAsk && !step.map.empty()) Map(step.map, step.place);
    if (step.kind == Step::Kind::kParts && step.of.empty() && function_.fused.maps.empty())
      Missing("`parts`", "fused", step.place);
    if (step.kind == Step::Kind::kIf || step.kind == Step::Kind::kSet ||
        step.kind == Step::Kind::kTest)
      Walk(step.test, step.place);
    for (const Test& test : step.if_any) Walk(test, step.place);
    for (const Step& inner : step.then) Walk(inner);
    for (const Step& inner : step.otherwise) Walk(inner);
  }
  void Missing(std::string_view what, std::string_view key, const YamlPlace& place) {
    out_->Add(Code::kMissingKey,
              fmt::format("{} needs the key `{}` of `{}`", what, key, function_.name),
              runtime_.yaml.At(place));
    good_ = false;
  }

  const Runtime& runtime_;
  const RuntimeFunction& function_;
  Diagnostics* out_;
  bool good_ = true;
};

bool Covers(const Runtime& runtime, std::string_view version) {
  return runtime.version == version ||
         std::find(runtime.covers.begin(), runtime.covers.end(), version) != runtime.covers.end();
}

// Functions that decide which modules a class builds.
std::vector<std::string> AskedBy(const EngineModel& model) {
  std::vector<std::string> out;
  for (const auto* rules : {&model.omits, &model.plain})
    for (const ModuleRule& rule : *rules)
      if (!rule.function.empty()) out.push_back(rule.function);
  return out;
}

// Copies the sections that a file shares with another of its engine.
bool ShareSections(const std::vector<std::shared_ptr<Runtime>>& runtimes, Runtime* runtime,
                   Diagnostics* out) {
  bool good = true;
  for (const auto& share : runtime->shared) {
    const std::string &section = share.first, &version = share.second;
    const auto there = std::find_if(runtimes.begin(), runtimes.end(), [&](const auto& other) {
      const std::string name = Name(*other);
      return name == version || (other->engine == runtime->engine && other->version == version);
    });
    // The other file must write the section out itself.
    const bool owns = there != runtimes.end() && (*there)->yaml.root.Find(section) != nullptr;
    const bool shares = there != runtimes.end() &&
                        std::any_of((*there)->shared.begin(), (*there)->shared.end(),
                                    [&](const auto& entry) { return entry.first == section; });
    if (!owns || shares) {
      out->Add(Code::kUnknownName,
               fmt::format(
                   "`same_as`: {} does not define `{}` itself",
                   HasText("@", version) ? version : fmt::format("{}@{}", runtime->engine, version),
                   section),
               runtime->yaml.At(runtime->yaml.root.KeyPlace(section)));
      good = false;
      continue;
    }
    if (section == "methods") runtime->methods = (*there)->methods;
    if (section == "modules") runtime->modules = (*there)->modules;
    if (section == "models") {
      runtime->models = (*there)->models;
      runtime->any_model = (*there)->any_model;
      // What their entries ask is asked of the file that they come from.
      for (const EngineModel& model : runtime->models)
        for (const std::string& function : AskedBy(model))
          if (runtime->Find(function) == nullptr)
            runtime->origins.emplace_back(function, there->get());
    }
    if (section == "layers") {
      runtime->layers = (*there)->layers;
      runtime->one_output = (*there)->one_output;
      runtime->cuts_interleaved = (*there)->cuts_interleaved;
    }
    if (section == "block_check") runtime->block_check = (*there)->block_check;
  }
  return good;
}

}  // namespace

bool ResolveRuntimes(std::vector<std::shared_ptr<Runtime>>* runtimes, Diagnostics* out) {
  bool good = true;
  for (const auto& runtime : *runtimes) {
    for (auto& function : runtime->functions) {
      if (function->same_as.empty()) continue;
      const auto there = std::find_if(runtimes->begin(), runtimes->end(), [&](const auto& other) {
        return other->engine == runtime->engine && other->version == function->same_as;
      });
      const RuntimeFunction* same =
          there == runtimes->end() ? nullptr : (*there)->Find(function->name);
      if (same == nullptr || !same->same_as.empty() || same->hidden) {
        out->Add(Code::kUnknownName,
                 fmt::format("`same_as`: {}@{} does not define `{}`{}", runtime->engine,
                             function->same_as, function->name,
                             same != nullptr && !same->same_as.empty()
                                 ? fmt::format(" itself, it says `same_as: {}`", same->same_as)
                                 : ""),
                 runtime->yaml.At(function->place));
        good = false;
      } else {
        runtime->origins.emplace_back(function->name, there->get());
      }
    }
  }
  for (const auto& runtime : *runtimes) good = ShareSections(*runtimes, runtime.get(), out) && good;
  for (const auto& runtime : *runtimes) {
    for (const MethodRule& rule : runtime->methods) {
      std::vector<std::string> asked = {rule.function, rule.check, rule.only_if};
      for (const auto& [list, function] : rule.list_functions) asked.push_back(function);
      for (const std::string& function : asked)
        if (!function.empty() && runtime->Find(function) == nullptr) {
          out->Add(Code::kUnknownName,
                   fmt::format("`methods`: `{}` leads to {}, which is not in this file",
                               rule.method, Quoted(function)),
                   runtime->yaml.At(rule.place))
              .Help(NearestFunction(*runtime, function));
          good = false;
        }
    }
    for (const MethodRule& rule : runtime->methods)
      if (!rule.map.empty() && rule.map != "none" && runtime->Table(rule.map) == nullptr) {
        out->Add(Code::kUnknownName,
                 fmt::format("`methods`: `{}` adds {}, which is no table of this file", rule.method,
                             Quoted(rule.map)),
                 runtime->yaml.At(rule.place))
            .Help("write it under `tables`");
        good = false;
      }
    for (const EngineModel& model : runtime->models)
      for (const std::string& function : AskedBy(model))
        if (runtime->Home(function).Find(function) == nullptr) {
          out->Add(Code::kUnknownName,
                   fmt::format("`models`: `{}` asks {}, which is not in this file",
                               model.architecture, Quoted(function)),
                   runtime->yaml.At(model.place))
              .Help(NearestFunction(*runtime, function));
          good = false;
        }
    for (const EngineModel& model : runtime->models)
      for (const auto& [key, name] :
           {std::pair{"draft", &model.draft}, std::pair{"becomes", &model.becomes}})
        if (!name->empty() && std::none_of(runtime->models.begin(), runtime->models.end(),
                                           [name = name](const auto& other) {
                                             return other.architecture == *name;
                                           })) {
          out->Add(Code::kUnknownName,
                   fmt::format("`{}`: {} has no entry in `models`", key, Quoted(*name)),
                   runtime->yaml.At(model.place))
              .Help("add one, `{}` where nothing of it differs");
          good = false;
        }
    for (const auto& function : runtime->functions)
      if (function->same_as.empty()) good = NameCheck(*runtime, *function, out).Run() && good;
    for (const auto& other : *runtimes) {
      if (other == runtime || other->engine != runtime->engine) continue;
      std::vector<std::string> versions = runtime->covers;
      versions.push_back(runtime->version);
      for (const std::string& version : versions)
        if (Covers(*other, version) && runtime->yaml.source->path() < other->yaml.source->path()) {
          out->Add(
              Code::kConflictingKeys,
              fmt::format("{} and {} both cover {}", Name(*runtime), Name(*other), Quoted(version)),
              runtime->yaml.At(runtime->yaml.root));
          good = false;
        }
    }
  }
  return good;
}

std::optional<RuntimeBook> LoadRuntimes(const std::vector<std::string>& directories,
                                        Diagnostics* out, const std::vector<std::string>& files) {
  std::vector<std::shared_ptr<Runtime>> runtimes;
  bool good = true;
  const auto add = [&](const std::string& path) {
    const auto text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, out);
    std::shared_ptr<Runtime> runtime = text ? ParseRuntime(path, *text, out) : nullptr;
    if (runtime == nullptr) return false;
    const std::string name = Name(*runtime);
    // A later file wins over one of the same name.
    const auto same = [&](const auto& known) { return Name(*known) == name; };
    runtimes.erase(std::remove_if(runtimes.begin(), runtimes.end(), same), runtimes.end());
    runtimes.push_back(std::move(runtime));
    if (std::filesystem::path(path).stem() == name) return true;
    out->Add(Code::kBadValue,
             fmt::format("the file describes {}; its name must be `{}.yaml`", name, name),
             runtimes.back()->yaml.At(runtimes.back()->yaml.root))
        .Help("rename the file, or correct `runtime` and `version`");
    return false;
  };
  for (const std::string& directory : directories) {
    std::vector<std::string> paths;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory + "/runtimes", error))
      if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) good = add(path) && good;
  }
  for (const std::string& path : files) good = add(path) && good;
  // What is wrong between files is worth saying even if one of them is wrong in itself.
  if (!ResolveRuntimes(&runtimes, out) || !good) return std::nullopt;
  RuntimeBook book;
  const auto all = std::make_shared<const std::vector<std::shared_ptr<Runtime>>>(runtimes);
  for (const auto& runtime : *all) book.runtimes.emplace_back(all, runtime.get());
  return book;
}

std::shared_ptr<const Runtime> RuntimeBook::Find(std::string_view name, Diagnostics* out) const {
  std::string known;
  for (const auto& runtime : runtimes) {
    if (Name(*runtime) == name) return runtime;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", Name(*runtime));
  }
  const size_t at = name.find('@');
  for (const auto& runtime : runtimes)
    if (at != std::string_view::npos && runtime->engine == name.substr(0, at) &&
        Covers(*runtime, name.substr(at + 1)))
      return runtime;
  out->Add(Code::kNotFound, fmt::format("no runtime {} is described", Quoted(name)))
      .Help(fmt::format("known: {}", known));
  return nullptr;
}

bool RuntimeBook::Knows(std::string_view engine, std::string_view function) const {
  return std::any_of(runtimes.begin(), runtimes.end(), [&](const auto& runtime) {
    const RuntimeFunction* found = runtime->Find(function);
    return runtime->engine == engine && found != nullptr && !found->hidden;
  });
}

}  // namespace ferrule
