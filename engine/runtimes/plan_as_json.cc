// SPDX-License-Identifier: Apache-2.0
// PlanAs → JSON.
#include <algorithm>
#include <map>

#include "engine/runtimes/plan_as.h"

namespace ferrule {
namespace {

// Modules of one pattern with one answer. The first placeholder varies, others are given.
struct AsGroup {
  const AsModule* first;
  std::vector<int64_t> values;
};

std::string Key(const AsModule& module) {
  std::string key = module.pattern + '\n' + module.word + '\n' + module.error + '\n' +
                    module.refusal + '\n' + std::to_string(module.stored) +
                    (module.draft ? "d" : "") + (module.plain ? "p" : "");
  for (size_t i = 1; i < module.numbers.size(); ++i)
    key += ' ' + std::to_string(module.numbers[i].second);
  return key;
}

void WriteOne(const Plan& plan, const AsModule& module, const AsGroup* group, JsonWriter* out) {
  out->Line().BeginObject();
  out->Key("name").Text(group != nullptr ? module.pattern : module.name);
  if (group != nullptr) {
    out->Key("count").Int(std::max<int64_t>(1, static_cast<int64_t>(group->values.size())));
    out->Key("indices").BeginObject();
    for (size_t i = 0; i < module.numbers.size(); ++i) {
      out->Key(module.numbers[i].first);
      if (i == 0)
        out->Ints(group->values);
      else
        out->Ints({module.numbers[i].second});
    }
    out->EndObject();
  }
  out->Key("layer").Text(LayerName(module.layer));
  out->Key("draft").Bool(module.draft);
  out->Key("asked").Bool(!module.plain);
  out->Key("result").Text(module.result);
  out->Key("word").Text(module.word);
  out->Key("error").TextOrNull(module.error);
  out->Key("refusal").TextOrNull(module.refusal);
  out->Key("stored").TextOrNull(module.stored >= 0 ? plan.SchemeName(module.stored) : "");
  out->Key("widened").Bool(module.widened);
  out->Key("verdict").Text(AsVerdictName(module.verdict));
  out->Key("modules").BeginArray();
  for (const int32_t id : module.modules)
    out->Text(group != nullptr ? plan.decisions.UnitOf(id).Display() : plan.decisions.PathOf(id));
  out->EndArray().EndObject();
}

}  // namespace

void WritePlanAs(const Plan& plan, const PlanAs& as, bool expand, JsonWriter* out) {
  out->BeginObject().Key("engine").Text(as.engine).Key("version").Text(as.version);
  out->Key("classes").TextOrNull(as.classes).Key("refusal").TextOrNull(as.refusal);
  out->Key("asked").Int(as.asked).Key("alike").Int(as.alike);
  out->Key("otherwise").Int(as.otherwise).Key("refused").Int(as.refused);
  out->Key("modules").BeginArray();
  std::vector<AsGroup> groups;
  std::map<std::string, size_t> known;
  for (const AsModule& module : as.modules) {
    if (expand) {
      WriteOne(plan, module, nullptr, out);
      continue;
    }
    const auto [at, fresh] = known.emplace(Key(module), groups.size());
    if (fresh) groups.push_back({&module, {}});
    if (!module.numbers.empty()) groups[at->second].values.push_back(module.numbers[0].second);
  }
  for (const AsGroup& group : groups) WriteOne(plan, *group.first, &group, out);
  out->Line().EndArray().EndObject();
}

}  // namespace ferrule
