// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/plan/grouped.h"

namespace ferrule {
namespace {

// The path up to and with the last dot of a unit's parent: "model.layers.#.linear_attn.".
std::string ParentOf(const Unit& unit) {
  return unit.path.substr(0, unit.path.size() - PathText(unit.node->segments).size());
}

struct Seed {  // a fused unit whose name is stored
  const Unit* unit = nullptr;
  int64_t modules = 0;
  int64_t wrong = 0;  // stored BF16, and the list names no part: would run quantized
  int64_t lucky = 0;  // stored quantized, and the list names no part
  int32_t example = -1;
};

class Closer {
 public:
  Closer(const Checkpoint& checkpoint, const StoredNames& stored, const Decisions& decisions,
         std::vector<bool>* taken, Diagnostics* out)
      : checkpoint_(checkpoint), stored_(stored), d_(decisions), taken_(*taken), out_(out) {}

  // Fused names that are stored: the tensors below them are explained by this finding.
  void RealDeclaredFused() {
    std::map<const RuleNode*, Seed> seeds;
    for (const Unit& unit : d_.units.units) {
      if (unit.kind != NodeKind::kFused) continue;
      for (int32_t i = 0; i < unit.count; ++i) FusedModule(unit, i, &seeds);
    }
    std::vector<const Seed*> ordered;
    ordered.reserve(seeds.size());
    for (const auto& [node, seed] : seeds) ordered.push_back(&seed);
    std::sort(ordered.begin(), ordered.end(),
              [](const Seed* a, const Seed* b) { return a->unit->first < b->unit->first; });
    for (const Seed* seed : ordered) Report(*seed);
  }

  bool MissingBySeed(const Unit& unit) const { return excused_.count(unit.node) > 0; }

  // A real name that is not stored, while what another rule file calls its parts is.
  bool FusedDeclaredReal(const Unit& unit, int32_t i, const std::vector<KnownFused>& known,
                         Grouped* grouped) {
    const std::string own = PathText(unit.node->segments);
    for (const KnownFused& fused : known) {
      if (fused.name != own) continue;
      std::vector<int32_t> parts;
      for (const std::string& part : fused.parts) {
        const int32_t tensor = Weight(ParentOf(unit) + part, unit.NumbersOf(i));
        if (tensor >= 0 && !taken_[static_cast<size_t>(tensor)]) parts.push_back(tensor);
      }
      if (parts.size() != fused.parts.size()) continue;
      for (const std::string& part : fused.parts)
        TakeBelow(ParentOf(unit) + part, unit.NumbersOf(i));
      grouped->Add(Code::kFusedDeclaredReal, unit.node, 0, [&] {
        Finding finding(Code::kFusedDeclaredReal,
                        fmt::format("`{}` is declared real, but the checkpoint stores `{}`", own,
                                    fmt::join(fused.parts, "`, `")),
                        RuleAt(d_, unit));
        finding.Fact("found", "{n} modules, e.g. " + TensorText(checkpoint_, parts[0]));
        finding.Fact(
            "effect",
            fmt::format("the list would be asked for `{}`, and no tensor would fill it", own));
        finding.Help(fmt::format("declare the parts and write {}: {{fused: [{}]}}, as {} does", own,
                                 fmt::join(fused.parts, ", "), fused.file));
        return finding;
      });
      return true;
    }
    return false;
  }

  void Leftovers() {
    for (const auto& leftover : d_.rules->leftovers) {
      std::string pattern;
      for (const Segment& segment : leftover) {
        if (!pattern.empty()) pattern += '.';
        NormalName literal;
        Normalise(segment.text, &literal);
        pattern += segment.placeholder ? std::string_view("#") : literal.view();
      }
      const int32_t id = stored_.table().Find(pattern);
      for (size_t i = 0; id >= 0 && i < stored_.table().Count(id); ++i)
        taken_[static_cast<size_t>(stored_.table().Value(id, i))] = true;
    }
  }

  void Unexplained() {
    for (int32_t id = 0; id < static_cast<int32_t>(stored_.table().templates()); ++id) {
      int64_t count = 0;
      int32_t example = -1;
      for (size_t i = 0; i < stored_.table().Count(id); ++i) {
        const int32_t tensor = stored_.table().Value(id, i);
        if (taken_[static_cast<size_t>(tensor)]) continue;
        ++count;
        if (example < 0) example = tensor;
      }
      if (count == 0) continue;
      const Tensor& tensor = checkpoint_.tensors()[static_cast<size_t>(example)];
      const bool orphan = IsOrphan(tensor.name), unused = !orphan && IsUnused(tensor.name);
      const std::string what =
          orphan   ? fmt::format("{} is a scale, and its weight is not stored", Quoted(tensor.name))
          : unused ? fmt::format("{} is a scale of activations, and the config does not use it",
                                 Quoted(tensor.name))
                   : fmt::format("no rule explains {}", Quoted(tensor.name));
      Finding finding(
          Code::kUnexplainedTensor,
          fmt::format("{} ({} tensor{} of this form)", what, count, count == 1 ? "" : "s"),
          {nullptr, d_.rules->path, 0, 0, 0, ""});
      finding.Fact("found", TensorText(checkpoint_, example));
      finding.Fact("effect", "an engine would drop it without a word, or have nowhere to put it");
      if (orphan || unused) {
        finding.Help(orphan ? "complete the checkpoint, or fetch it again"
                            : "say in the quantization config that activations have stored scales, "
                              "or take the tensors out of the checkpoint");
        out_->Add(std::move(finding));
        continue;
      }
      std::string module(tensor.name);
      if (const size_t dot = module.rfind('.'); dot != std::string::npos) module.resize(dot);
      const std::string nearest = NearestPath(d_, module);
      finding.Help(
          !nearest.empty() && nearest != module
              ? fmt::format("the nearest declared module is `{}`", nearest)
              : "declare what it is, or name it under `leftovers:` when no engine reads it");
      out_->Add(std::move(finding));
    }
  }

 private:
  // Whether the method knows it as a scale of activations, under another config than this.
  bool IsUnused(std::string_view tensor) const {
    const std::string_view last = tensor.substr(tensor.rfind('.') + 1);
    const auto& dialect = d_.quant.dialect;
    return dialect && std::any_of(dialect->schemes.begin(), dialect->schemes.end(),
                                  [&](const SchemeRule& scheme) {
                                    const StorageRule* input = scheme.input();
                                    return input != nullptr &&
                                           std::find(input->names.begin(), input->names.end(),
                                                     last) != input->names.end();
                                  });
  }

  // Whether it is what goes with a weight, by a scheme of this checkpoint, and there is no weight.
  bool IsOrphan(std::string_view tensor) const {
    const size_t dot = tensor.rfind('.');
    if (dot == std::string_view::npos) return false;
    const std::string module(tensor.substr(0, dot + 1));
    bool scale = IsUnused(tensor), weight = checkpoint_.Find(module + "weight") != nullptr;
    for (const Scheme& scheme : d_.quant.schemes) {
      if (scheme.rule == nullptr) continue;
      for (const StorageRule& rule : scheme.rule->storage)
        for (const std::string& name : rule.names) {
          if (rule.role != "weight")
            scale = scale || name == tensor.substr(dot + 1);
          else
            weight = weight || checkpoint_.Find(module + name) != nullptr;
        }
    }
    return scale && !weight;
  }

  // The tensor `<path>.weight`, or any other directly below; -1 when nothing is stored there.
  int32_t Weight(std::string_view path, std::span<const int32_t> numbers) const {
    int32_t any = -1;
    for (const auto& [segment, id] : stored_.Below(path)) {
      const int32_t tensor = stored_.table().At(id, numbers);
      if (tensor >= 0 && segment == "weight") return tensor;
      if (tensor >= 0) any = tensor;
    }
    return any;
  }

  void TakeBelow(std::string_view path, std::span<const int32_t> numbers) {
    for (const auto& [segment, id] : stored_.Below(path)) {
      const int32_t tensor = stored_.table().At(id, numbers);
      if (tensor >= 0) taken_[static_cast<size_t>(tensor)] = true;
    }
  }

  void FusedModule(const Unit& unit, int32_t i, std::map<const RuleNode*, Seed>* seeds) {
    const std::vector<int32_t> numbers = unit.NumbersOf(i);
    const int32_t tensor = Weight(unit.path, numbers);
    if (tensor < 0) return;
    TakeBelow(unit.path, numbers);
    Seed& seed = (*seeds)[unit.node];
    if (seed.unit == nullptr) {
      seed.unit = &unit;
      seed.example = tensor;
    }
    ++seed.modules;
    for (const int32_t part : unit.parts)
      excused_.insert(d_.units.units[static_cast<size_t>(part)].node);
    bool listed = false;
    for (const NamedText& part : unit.node->parts)
      listed = listed || d_.quant.list.Match(Concrete(ParentOf(unit) + part.name, numbers));
    if (listed || !d_.quant.dialect) return;
    const DType dtype = checkpoint_.tensors()[static_cast<size_t>(tensor)].dtype;
    ++(DTypeBits(dtype) >= 16 ? seed.wrong : seed.lucky);
  }

  void Report(const Seed& seed) {
    const Unit& unit = *seed.unit;
    const std::string own = PathText(unit.node->segments);
    std::vector<std::string> parts;
    for (const NamedText& part : unit.node->parts) parts.push_back(part.name);
    Finding finding(
        Code::kRealDeclaredFused,
        fmt::format("`{}` is declared fused, but the checkpoint stores it as a real tensor", own),
        RuleAt(d_, unit));
    for (const NamedText& part : unit.node->parts)
      finding.Mark(d_.rules->At(part.place), PartCount(unit, part.name));
    finding.Fact("found",
                 fmt::format("{} real tensor{}, e.g. {}", seed.modules,
                             seed.modules == 1 ? "" : "s", TensorText(checkpoint_, seed.example)));
    const std::string names = fmt::format("`{}`", fmt::join(parts, "`, `"));
    if (seed.wrong > 0) {
      finding.Fact(
          "effect",
          fmt::format("an engine that goes by this asks the list for {}, which it does not "
                      "name: {} module{} stored in BF16 would run in FP8",
                      names, seed.wrong, seed.wrong == 1 ? "" : "s"));
      finding.Fact("then", RowsPerPart(seed));
    } else if (seed.lucky > 0) {
      finding.Fact(
          "effect",
          fmt::format(
              "an engine that goes by this asks the list for {}; {} FP8 as stored, but "
              "only because no part is listed",
              names,
              seed.lucky == 1 ? "1 module runs in" : fmt::format("{} modules run in", seed.lucky)));
    }
    if (seed.wrong == 0 && seed.lucky == 0)
      finding.Fact("effect", fmt::format("an engine that goes by this finds no tensor for {}, and "
                                         "nowhere to put `{}`",
                                         names, own));
    finding.Help(
        fmt::format("declare `{}` as unified, with its slices, and remove {}", own, names));
    out_->Add(std::move(finding));
  }

  std::string PartCount(const Unit& unit, const std::string& part) const {
    int64_t count = 0;
    for (const auto& [segment, id] : stored_.Below(ParentOf(unit) + part))
      if (segment == "weight") count += static_cast<int64_t>(stored_.table().Count(id));
    return fmt::format("{} tensor{}", count, count == 1 ? "" : "s");
  }

  // What each rank would get for a part, and whether a block of 128 rows divides it.
  std::string RowsPerPart(const Seed& seed) const {
    const std::span<const int64_t> shape =
        checkpoint_.shape(checkpoint_.tensors()[static_cast<size_t>(seed.example)]);
    const int64_t parts = static_cast<int64_t>(seed.unit->node->parts.size());
    int64_t block = 128;
    for (const Scheme& scheme : d_.quant.schemes)
      if (scheme.block_n > 0) block = scheme.block_n;
    if (shape.size() != 2 || shape[0] % parts != 0) return "its parts have no rows of their own";
    const int64_t rows = shape[0] / parts;
    std::string out = fmt::format("{} stored rows / {} parts = {}", shape[0], parts, rows);
    for (const int64_t tp : {1, 2, 4, 8}) {
      if (rows % tp != 0) break;
      out += fmt::format("; tp {}: {} row{} per part, {} % {} = {}", tp, rows / tp,
                         rows / tp == 1 ? "" : "s", rows / tp, block, rows / tp % block);
    }
    return out + (rows % block != 0 ? ": refused by engines that check whole blocks" : "");
  }

  const Checkpoint& checkpoint_;
  const StoredNames& stored_;
  const Decisions& d_;
  std::vector<bool>& taken_;
  Diagnostics* out_;
  std::set<const RuleNode*> excused_;  // parts of fused names that are stored themselves
};

}  // namespace

void Ledger::Close(const Checkpoint& checkpoint, const StoredNames& stored,
                   const std::vector<KnownFused>& known, const Decisions& decisions,
                   Diagnostics* out) {
  Closer closer(checkpoint, stored, decisions, &taken_, out);
  closer.RealDeclaredFused();
  Grouped grouped;
  for (const Gap& gap : missing_) {
    if (closer.MissingBySeed(*gap.unit)) continue;
    if (gap.role != "bias" && closer.FusedDeclaredReal(*gap.unit, gap.i, known, &grouped)) continue;
    grouped.Add(Code::kMissingTensor, gap.unit->node, gap.role == "bias" ? 1 : 0, [&] {
      const std::string path = gap.unit->PathOf(gap.i) + (gap.role.empty() ? "" : "." + gap.role);
      Finding finding(Code::kMissingTensor, fmt::format("the checkpoint lacks `{}`", path),
                      RuleAt(decisions, *gap.unit));
      finding.Fact("missing", "{n} of this form");
      finding.Help("the checkpoint is incomplete, or stores it under a name that the rules lack");
      return finding;
    });
  }
  grouped.Flush(out);
  closer.Leftovers();
  closer.Unexplained();
}

}  // namespace ferrule
