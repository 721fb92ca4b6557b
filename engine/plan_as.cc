// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_as.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "engine/emulation.h"
#include "engine/grouped.h"

namespace ferrule {
namespace {

class Comparison {
 public:
  Comparison(const Plan& plan, const Runtime& runtime, Diagnostics* out)
      : plan_(plan), d_(plan.decisions), runtime_(runtime), out_(out) {
    name_ = fmt::format("{}@{}", runtime.engine, runtime.version);
  }

  std::optional<PlanAs> Run() {
    if (!FindFunction() || !FindModel()) return std::nullopt;
    question_.map = *map_;
    question_.texts["key"] = d_.quant.list_key;
    for (size_t i = 0; i < d_.quant.list.size(); ++i)
      question_.lists["list"].push_back({d_.quant.list.entry(i).text, {}, i, 0});
    const std::vector<bool> covered = Covered();
    for (size_t u = 0; u < d_.units.units.size(); ++u) {
      const Unit& unit = d_.units.units[u];
      const bool fused = unit.kind == NodeKind::kFused;
      if (!fused && !IsLinear(unit.kind)) continue;
      // Draft layers are a model of their own in engines, under other names.
      const bool draft = std::find(unit.index.begin(), unit.index.end(), "mtp") != unit.index.end();
      if (draft || covered[u] || (fused && !Builds(unit)) || unit.quantize == Quantize::kNever)
        continue;
      if (unit.container >= 0) {
        AskExperts(unit);
        continue;
      }
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
        if (module.absent) continue;
        const bool head = unit.quantize == Quantize::kNamed;
        Ask(unit, unit.PathOf(i), module.scheme, head ? "head" : "linear");
      }
    }
    grouped_.Flush(out_);
    return counts_;
  }

 private:
  bool FindFunction() {
    const std::string method = d_.quant.dialect ? d_.quant.dialect->name : "";
    for (const auto& [known, function] : runtime_.methods)
      if (known == method) function_ = function;
    if (!function_.empty()) return true;
    out_->Add(Code::kRuntimeUnknown,
              method.empty()
                  ? fmt::format("the checkpoint is not quantized: {} has nothing to decide", name_)
                  : fmt::format("what {} does with {} is not described", name_, Quoted(method)));
    return false;
  }

  bool FindModel() {
    const std::string architecture(plan_.checkpoint->config.Find("architectures")[0].Text());
    for (const auto& [known, map] : runtime_.models)
      if (known == architecture) map_ = &map;
    for (const auto& [known, modules] : runtime_.unchecked)
      if (known == architecture) unchecked_ = &modules;
    if (map_ != nullptr) return true;
    out_->Add(Code::kRuntimeUnknown,
              fmt::format("how {} names the modules of {} is not described", name_,
                          architecture.empty() ? "this model" : Quoted(architecture)));
    return false;
  }

  // Whether the engine has a fused module of this name: its class map or one of its tables says so.
  bool Builds(const Unit& unit) const {
    const std::string_view leaf = LastSegment(unit.path);
    const auto has = [&](const FusedMap& map) {
      return std::any_of(map.begin(), map.end(),
                         [&](const auto& entry) { return entry.first == leaf; });
    };
    return !unit.parts.empty() &&
           (has(*map_) || std::any_of(runtime_.tables.begin(), runtime_.tables.end(),
                                      [&](const auto& table) { return has(table.second); }));
  }

  // Units that stand in a fused module of the engine.
  std::vector<bool> Covered() const {
    std::vector<bool> covered(d_.units.units.size());
    for (const Unit& unit : d_.units.units)
      if (unit.kind == NodeKind::kFused && Builds(unit))
        for (const int32_t part : unit.parts) covered[static_cast<size_t>(part)] = true;
    return covered;
  }

  // Once for each container: the experts of a layer are one module.
  void AskExperts(const Unit& unit) {
    const Container& container = d_.units.containers[static_cast<size_t>(unit.container)];
    if (container.path + std::to_string(unit.container) == last_container_) return;
    last_container_ = container.path + std::to_string(unit.container);
    Ask(unit, Concrete(container.path, container.numbers),
        d_.container_scheme[static_cast<size_t>(unit.container)], "experts");
  }

  void Ask(const Unit& unit, const std::string& path, int8_t scheme, const std::string& layer) {
    if (scheme == kNoScheme || scheme == kForeign) return;
    question_.name = path;
    question_.texts["layer"] = layer;
    for (const auto& [known, word] : runtime_.layers)
      if (known == layer) question_.texts["layer"] = word;
    const RuntimeAnswer answer = Emulate(runtime_, function_, question_, &regexes_);
    ++counts_.asked;
    const std::string ours = plan_.SchemeName(scheme);
    if (answer.is_error() || answer.result == "unsupported") {
      ++counts_.refused;
      Report(
          Code::kRuntimeRefuses, unit, path,
          answer.is_error()
              ? fmt::format("{} stops with {} at {{n}} modules", name_, answer.error)
              : fmt::format("what {} decides about {{n}} modules hangs on {}", name_, answer.error),
          {});
      return;
    }
    const bool quantized = answer.result == "quant";
    const std::string refusal = quantized ? Check(unit, path, layer == "experts") : "";
    if (!refusal.empty()) {
      ++counts_.refused;
      Report(
          Code::kRuntimeRefuses, unit, path,
          fmt::format("{} refuses {{n}} modules at tp {}", name_, plan_.tp),
          {{"engine", "ValueError: " + refusal},
           {"stored", ours == "bf16" ? "bf16: the engine wrongly takes it for quantized" : ours}});
      return;
    }
    if (quantized == (ours != "bf16")) {
      ++counts_.alike;
      return;
    }
    ++counts_.otherwise;
    Report(Code::kRuntimeOtherwise, unit, path,
           fmt::format("{} runs {{n}} modules {} that are {}", name_,
                       quantized ? "quantized" : "in BF16", ours),
           {});
  }

  // The engine's own message when a size of one rank is not whole blocks; empty when it goes on.
  std::string Check(const Unit& unit, const std::string& path, bool experts) const {
    if (unchecked_ != nullptr &&
        std::any_of(unchecked_->begin(), unchecked_->end(),
                    [&](const std::string& tail) { return HasLastSegments(tail, path); }))
      return {};
    const auto block = std::find_if(d_.quant.schemes.begin(), d_.quant.schemes.end(),
                                    [](const Scheme& scheme) { return scheme.block_n > 0; });
    const Cut* cut = plan_.CutOf(unit);
    if (!runtime_.block_check || block == d_.quant.schemes.end() || cut == nullptr ||
        cut->ranks.empty())
      return {};
    const Shard& shard = cut->ranks[0];
    BlockShape shape;
    shape.tp = plan_.tp;
    shape.block_rows = block->block_n;
    shape.block_columns = block->block_k;
    shape.experts = experts;
    shape.columns = unit.in;
    shape.columns_per_rank = shard.cols.size();
    shape.rows = unit.rows;
    shape.rows_per_rank = shard.row_count();
    shape.parts = PartRows(unit, shape.rows_per_rank);
    if (unit.kind == NodeKind::kFused) {  // its own size is that of its parts side by side
      const Unit& first = d_.units.units[static_cast<size_t>(unit.parts[0])];
      shape.columns = first.in;
      shape.rows = 0;
      for (const int32_t part : unit.parts)
        shape.rows += d_.units.units[static_cast<size_t>(part)].rows;
    }
    // Gate and up are cut by rows, down by columns; either gives the inner size.
    shape.inner =
        shape.columns_per_rank < shape.columns ? shape.columns_per_rank : shape.parts.front();
    if (shape.columns_per_rank <= 0 || shape.rows_per_rank <= 0) return {};
    return Refusal(*runtime_.block_check, shape).value_or("");
  }

  // Rows of one rank for each output that the engine's layer has.
  std::vector<int64_t> PartRows(const Unit& unit, int64_t whole) const {
    std::vector<int64_t> parts;
    const auto& one = runtime_.one_output;
    if (std::find(one.begin(), one.end(), LastSegment(unit.path)) != one.end()) return {whole};
    for (const int32_t id : unit.parts) {
      const Cut* cut = plan_.CutOf(d_.units.units[static_cast<size_t>(id)]);
      parts.push_back(cut == nullptr || cut->ranks.empty() ? 0 : cut->ranks[0].row_count());
    }
    const bool slices = !unit.slices.empty() && (unit.per == 0 || runtime_.cuts_interleaved);
    if (parts.empty() && slices)
      for (const Slice& slice : unit.slices) parts.push_back(slice.rows * whole / unit.rows);
    if (parts.empty()) parts.push_back(whole);
    return parts;
  }

  void Report(Code code, const Unit& unit, const std::string& path, std::string message,
              const std::vector<std::pair<std::string, std::string>>& facts) {
    const auto detail = static_cast<int64_t>(std::hash<std::string>{}(message) >> 1U);
    grouped_.Add(code, unit.node, detail, [&] {
      Finding finding(code, message, RuleAt(d_, unit));
      std::string display = unit.Display();
      if (unit.container >= 0) display.resize(std::min(display.size(), display.find(".<expert>")));
      finding.Fact("module", fmt::format("{}, e.g. {}", display, path));
      for (const auto& [key, text] : facts) finding.Fact(key, text);
      return finding;
    });
  }

  const Plan& plan_;
  const Decisions& d_;
  const Runtime& runtime_;
  Diagnostics* out_;
  std::string name_, function_, last_container_;
  const FusedMap* map_ = nullptr;
  const std::vector<std::string>* unchecked_ = nullptr;
  RuntimeQuestion question_;
  PythonRegexes regexes_;
  Grouped grouped_;
  PlanAs counts_;
};

}  // namespace

std::optional<PlanAs> ComparePlan(const Plan& plan, const Runtime& runtime, Diagnostics* out) {
  return Comparison(plan, runtime, out).Run();
}

}  // namespace ferrule
