// SPDX-License-Identifier: Apache-2.0
#include "engine/report/engine_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace ferrule {
namespace {

enum class EngineRuns : uint8_t { kAsPlanned, kBf16, kQuantized, kNot, kDiffers };

struct EngineAnswer {
  EngineRuns runs = EngineRuns::kAsPlanned;
  std::string refused;
  friend bool operator==(const EngineAnswer&, const EngineAnswer&) = default;
  friend bool operator<(const EngineAnswer& a, const EngineAnswer& b) {
    return std::tie(a.runs, a.refused) < std::tie(b.runs, b.refused);
  }
};

EngineAnswer AnswerOf(const PlanAs& as, const AsModule& module) {
  EngineAnswer answer{module.result == "quant" ? EngineRuns::kQuantized : EngineRuns::kBf16, ""};
  if (module.result == "error" || module.result == "unsupported") {
    answer.runs = EngineRuns::kNot;
    answer.refused = module.result == "error"
                         ? fmt::format("{} stops with {}", as.engine, module.error)
                         : fmt::format("what {} decides hangs on {}", as.engine, module.error);
  } else if (!module.refusal.empty()) {
    answer.refused = fmt::format("{} refuses it: {}", as.engine, module.refusal);
    if (answer.refused.back() == '.') answer.refused.pop_back();  // it goes on in a sentence
  }
  return answer;
}

class Answers {
 public:
  Answers(const Plan& plan, const PlanAs& as) : d_(plan.decisions), of_(d_.modules.size()) {
    for (const AsModule& module : as.modules)
      for (const int32_t id : module.modules) {
        const Unit& unit = d_.UnitOf(id);
        // Of experts the first is named; the others run alike.
        const int32_t first = unit.container >= 0 ? unit.first : id;
        const int32_t count = unit.container >= 0 ? unit.count : 1;
        for (int32_t i = 0; i < count; ++i)
          of_[static_cast<size_t>(first + i)] = AnswerOf(as, module);
      }
  }

  EngineAnswer Of(int32_t id) const {
    const Unit& unit = d_.UnitOf(id);
    if (unit.kind != NodeKind::kFused || unit.parts.empty()) return of_[static_cast<size_t>(id)];
    EngineAnswer all;
    bool fresh = true;
    for (const int32_t part : unit.parts) {
      const Unit& other = d_.units.units[static_cast<size_t>(part)];
      const size_t at = static_cast<size_t>(other.first + id - unit.first);
      if (d_.modules[at].absent) continue;
      if (!fresh && of_[at].runs != all.runs) return {EngineRuns::kDiffers, all.refused};
      if (fresh || all.refused.empty()) all = of_[at];
      fresh = false;
    }
    return all;
  }

 private:
  const Decisions& d_;
  std::vector<EngineAnswer> of_;
};

}  // namespace

PlanState StateAs(const Plan& plan, const PlanAs& as, const Diagnostics& findings) {
  PlanState out = StateOf(&plan, findings);
  const QuantConfig& quant = plan.decisions.quant;
  const std::string base = quant.base > 0 ? quant.schemes[static_cast<size_t>(quant.base)].name
                           : quant.schemes.size() > 1 ? quant.schemes[1].name
                                                      : "quantized";
  const Answers answers(plan, as);
  std::map<std::pair<size_t, EngineAnswer>, size_t> states;
  for (auto& [path, entry] : out.modules) {
    const int32_t id = plan.decisions.paths.At(path);
    const EngineAnswer answer = id < 0 ? EngineAnswer() : answers.Of(id);
    if (answer == EngineAnswer()) continue;
    const auto [at, fresh] = states.try_emplace({entry.state, answer}, out.states.size());
    if (fresh) {
      ModuleState state = out.states[entry.state];
      const std::string& known = state.stored.empty() ? state.scheme : state.stored;
      state.scheme = answer.runs == EngineRuns::kBf16        ? "bf16"
                     : answer.runs != EngineRuns::kQuantized ? ""
                     : known.empty() || known == "bf16"      ? base
                                                             : known;
      state.claim = state.scheme;
      state.refused = answer.refused;
      out.states.push_back(std::move(state));
    }
    entry.state = at->second;
  }
  return out;
}

}  // namespace ferrule
