// SPDX-License-Identifier: Apache-2.0
#include "engine/report/plan_state.h"

#include <fmt/format.h>

#include "engine/plan/view.h"
#include "engine/report/report.h"

namespace ferrule {
namespace {

constexpr size_t kMaxEntries = 4'000'000;

using Indices = std::vector<std::pair<std::string, std::vector<int64_t>>>;

std::string LastSegments(const std::string& part, const std::string& module) {
  const size_t dot = module.rfind('.');
  const size_t same = dot == std::string::npos ? 0 : dot + 1;
  return part.compare(0, same, module, 0, same) == 0 ? part.substr(same) : part;
}

// Adds the modules of one group: every combination of the values of its placeholders.
bool AddGroup(const std::string& name, const Indices& indices, ModuleState state, PlanState* out) {
  const size_t at = out->states.size(), group = out->groups.size();
  out->states.push_back(std::move(state));
  out->groups.push_back(name);
  std::vector<std::string> names{name};
  for (const auto& [placeholder, values] : indices) {
    const std::string mark = "<" + placeholder + ">";
    std::vector<std::string> longer;
    if (names.size() * values.size() > kMaxEntries) return false;
    longer.reserve(names.size() * values.size());
    for (const std::string& shorter : names) {
      const size_t place = shorter.find(mark);
      if (place == std::string::npos) return false;
      for (const int64_t value : values)
        longer.push_back(shorter.substr(0, place) + std::to_string(value) +
                         shorter.substr(place + mark.size()));
    }
    names = std::move(longer);
  }
  for (std::string& full : names) out->modules[std::move(full)] = {at, group};
  return out->modules.size() <= kMaxEntries;
}

ModuleState StateOfView(const ModuleView& view) {
  ModuleState state{std::string(view.kind), view.claim, view.stored, view.scheme, view.shape, {},
                    view.block_n,           {},         {},          {}};
  for (const std::string& part : view.parts) state.parts.push_back(LastSegments(part, view.name));
  if (view.cut == nullptr) return state;
  for (const Shard& shard : view.cut->ranks) {
    std::vector<int64_t> rows;
    for (const Range& range : shard.rows) rows.insert(rows.end(), {range.begin, range.end});
    state.rank_rows.push_back(std::move(rows));
    state.rank_columns.emplace_back(shard.cols.begin, shard.cols.end);
  }
  return state;
}

class SavedPlan {
 public:
  explicit SavedPlan(Diagnostics* out) : out_(out) {}

  std::optional<PlanState> Read(const JsonValue& json) {
    if (json.Find("schema_version").AsInt() != kSchemaVersion || !json.Find("modules").is_array()) {
      Refuse(json, "this is not a plan as `ferrule plan -f json` of this version writes it");
      return std::nullopt;
    }
    state_.planned = json.Find("plan_sha").is_string();
    state_.model = json.Find("model").Text();
    state_.model_type = json.Find("model_type").Text();
    state_.tp = json.Find("tp").AsInt().value_or(1);
    for (const JsonValue module : json.Find("modules"))
      if (!Module(module)) return std::nullopt;
    for (const JsonValue finding : json.Find("findings"))
      if (finding.Find("level").Text() == "error")
        state_.errors.push_back({std::string(finding.Find("code").Text()),
                                 std::string(finding.Find("slug").Text()),
                                 std::string(finding.Find("message").Text())});
    return std::move(state_);
  }

 private:
  bool Refuse(const JsonValue& at, std::string message) {
    out_->Add(Code::kJsonType, std::move(message), at.location())
        .Help("write it again: ferrule plan DIR -f json > plan.json");
    return false;
  }

  bool Module(const JsonValue& module) {
    const std::string name(module.Find("name").Text());
    if (name.empty()) return Refuse(module, "a module of a saved plan has a `name`");
    ModuleState state;
    state.kind = module.Find("kind").Text();
    state.claim = module.Find("claim").Text();
    state.stored = module.Find("stored").Text();
    state.scheme = module.Find("scheme").Text();
    state.block_n = module.Find("block")[0].AsInt().value_or(0);
    for (const JsonValue dim : module.Find("shape")) state.shape.push_back(dim.AsInt().value_or(0));
    for (const JsonValue part : module.Find("parts"))
      state.parts.push_back(LastSegments(std::string(part.Text()), name));
    for (const JsonValue rank : module.Find("per_rank")) {
      std::vector<int64_t> rows;
      for (const JsonValue range : rank.Find("rows"))
        rows.insert(rows.end(), {range[0].AsInt().value_or(0), range[1].AsInt().value_or(0)});
      state.rank_rows.push_back(std::move(rows));
      const JsonValue columns = rank.Find("cols");
      state.rank_columns.emplace_back(columns[0].AsInt().value_or(0),
                                      columns[1].AsInt().value_or(0));
    }
    Indices indices;
    for (const JsonValue index : module.Find("indices")) {
      std::vector<int64_t> values;
      for (const JsonValue value : index) values.push_back(value.AsInt().value_or(0));
      indices.emplace_back(std::string(index.name()), std::move(values));
    }
    return AddGroup(name, indices, std::move(state), &state_) ||
           Refuse(module, "the indices of a saved plan do not fit its names");
  }

  Diagnostics* out_;
  PlanState state_;
};

}  // namespace

PlanState StateOf(const Plan* plan, const Diagnostics& findings) {
  PlanState out;
  for (const Finding& finding : findings.findings())
    if (finding.level == Level::kError)
      out.errors.push_back({CodeName(finding.code), Info(finding.code).slug, finding.message});
  if (plan == nullptr) return out;
  out.planned = true;
  out.model_type = plan->model_type;
  out.tp = plan->tp;
  for (const Group& group : plan->groups) {
    const ModuleView view = ViewOf(*plan, group.module, &group);
    Indices indices;
    for (const auto& [name, values] : group.indices)
      indices.emplace_back(name, std::vector<int64_t>(values.begin(), values.end()));
    AddGroup(view.name, indices, StateOfView(view), &out);
  }
  return out;
}

std::optional<PlanState> ReadPlanState(const JsonValue& json, Diagnostics* out) {
  return SavedPlan(out).Read(json);
}

}  // namespace ferrule
