// SPDX-License-Identifier: Apache-2.0
// Headers → which tensors fill each module, in which scheme it is stored, and what is left over.
#include <fmt/format.h>

#include <algorithm>

#include "engine/decision.h"
#include "engine/grouped.h"
#include "engine/ledger.h"

namespace ferrule {
namespace {

bool IsPlain(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

class StoredReader {
 public:
  StoredReader(const Checkpoint& checkpoint, const StoredNames& stored, Decisions* decisions,
               Ledger* ledger, Diagnostics* out)
      : checkpoint_(checkpoint), stored_(stored), d_(*decisions), ledger_(*ledger), out_(out) {}

  void Run() {
    for (const Unit& unit : d_.units.units) {
      if (IsLinear(unit.kind))
        LinearUnit(unit);
      else if (unit.kind != NodeKind::kFused)
        PlainUnit(unit);
    }
    grouped_.Flush(out_);
  }

 private:
  // Template id of the tensor `<path>.<name>`; of `<path>` itself for an empty name.
  int32_t RoleId(const Unit& unit, std::string_view name) const {
    if (name.empty()) return stored_.table().Find(unit.path);
    for (const auto& [segment, id] : stored_.Below(unit.path))
      if (segment == name) return id;
    return -1;
  }

  // The tensors of one template for all modules of the unit.
  PathTable::Run Tensors(const Unit& unit, int32_t id) const {
    return stored_.table().Along(id, unit.numbers, unit.range);
  }
  PathTable::Run Role(const Unit& unit, std::string_view name) const {
    return Tensors(unit, RoleId(unit, name));
  }

  const Tensor& TensorAt(int32_t tensor) const {
    return checkpoint_.tensors()[static_cast<size_t>(tensor)];
  }
  bool ShapeIs(int32_t tensor, std::span<const int64_t> shape) const {
    const std::span<const int64_t> stored = checkpoint_.shape(TensorAt(tensor));
    return std::equal(stored.begin(), stored.end(), shape.begin(), shape.end());
  }

  void Missing(const Unit& unit, int32_t i, std::string_view role) {
    ledger_.Missing(unit, i, role);
  }

  void WrongShape(const Unit& unit, int32_t tensor, std::span<const int64_t> expected) {
    grouped_.Add(Code::kShapeMismatch, unit.node, 0, [&] {
      Finding finding(
          Code::kShapeMismatch,
          fmt::format("the rule gives `{}` the shape {}, the checkpoint stores {}", unit.Display(),
                      ShapeText(expected), ShapeText(checkpoint_.shape(TensorAt(tensor)))),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, tensor));
      finding.Help("config.json belongs to another checkpoint, or the rule's dims are wrong");
      return finding;
    });
  }

  // Norms, embeddings, convolutions, parameters.
  void PlainUnit(const Unit& unit) {
    const bool param = unit.kind == NodeKind::kParam;
    const PathTable::Run weight = Role(unit, param ? "" : "weight");
    const PathTable::Run bias = unit.bias ? Role(unit, "bias") : PathTable::Run();
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      module.weight = weight(i);
      if (module.weight < 0) {
        module.absent = unit.optional;
        if (!unit.optional) Missing(unit, i, param ? "" : "weight");
        continue;
      }
      ledger_.Take(module.weight);
      module.dtype = TensorAt(module.weight).dtype;
      module.has_dtype = true;
      if (!ShapeIs(module.weight, unit.shape)) WrongShape(unit, module.weight, unit.shape);
      if (DTypeBits(module.dtype) < 16 || module.dtype == DType::kBool)
        grouped_.Add(Code::kUnexpectedType, unit.node, 0, [&] {
          Finding finding(Code::kUnexpectedType,
                          fmt::format("`{}` is no linear, yet stored as {}", unit.Display(),
                                      DTypeName(module.dtype)),
                          RuleAt(d_, unit));
          finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module.weight));
          return finding;
        });
      if (!unit.bias) continue;
      module.bias = bias(i);
      if (module.bias < 0) {
        Missing(unit, i, "bias");
      } else {
        ledger_.Take(module.bias);
        if (!ShapeIs(module.bias, std::span(unit.shape).first(1)))
          WrongShape(unit, module.bias, std::span(unit.shape).first(1));
      }
    }
  }

  void LinearUnit(const Unit& unit) {
    const PathTable::Run plain = Role(unit, unit.node->suffix ? "weight" : "");
    // `gate_up_proj` has no `.weight`, and its bias is `gate_up_proj_bias`.
    const PathTable::Run bias = unit.node->suffix
                                    ? Role(unit, "bias")
                                    : Tensors(unit, stored_.table().Find(unit.path + "_bias"));
    std::vector<int64_t> shape;
    if (unit.stack > 0) shape.push_back(unit.stack);
    shape.push_back(unit.node->transposed ? unit.in : unit.rows);
    shape.push_back(unit.node->transposed ? unit.rows : unit.in);
    const std::vector<int64_t> straight = {unit.stack, unit.rows, unit.in};
    struct Roles {
      PathTable::Run weight, scale, input;
    };
    std::vector<Roles> roles(d_.quant.schemes.size());
    scale_shapes_.assign(roles.size(), {});
    for (size_t s = 1; s < roles.size(); ++s) {
      const SchemeRule& rule = *d_.quant.schemes[s].rule;
      if (rule.weight) roles[s].weight = Role(unit, rule.weight->name);
      if (rule.scale) roles[s].scale = Role(unit, rule.scale->name);
      if (rule.input) roles[s].input = Role(unit, rule.input->name);
    }
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      int32_t weight = plain(i);
      for (size_t s = 1; s < roles.size() && weight < 0; ++s) weight = roles[s].weight(i);
      module.weight = weight;
      if (weight < 0) {
        if (Opaque(unit, i, &module)) continue;
        module.absent = unit.optional || unit.same;
        if (unit.same) module.reason = Reason::kSame;
        if (!module.absent) Missing(unit, i, unit.node->suffix ? "weight" : "");
        continue;
      }
      ledger_.Take(weight);
      module.dtype = TensorAt(weight).dtype;
      module.has_dtype = true;
      const bool turned = unit.node->transposed_either && ShapeIs(weight, straight);
      if (!ShapeIs(weight, shape) && !turned) WrongShape(unit, weight, shape);
      const int32_t stored_bias = bias(i);
      if (unit.bias && stored_bias < 0) Missing(unit, i, "bias");
      if (unit.bias && stored_bias >= 0) {
        module.bias = stored_bias;
        ledger_.Take(stored_bias);
        std::vector<int64_t> rows(shape.begin(), shape.end() - 1);
        rows.back() = unit.rows;
        if (!ShapeIs(stored_bias, rows)) WrongShape(unit, stored_bias, rows);
      }
      if (IsPlain(module.dtype)) {
        module.stored = 0;
        for (const Roles& role : roles) OrphanScale(unit, &module, role.scale(i));
        continue;
      }
      // The scheme whose names and shapes fit; the claimed one first.
      size_t best = 0;
      const auto fits = [&](size_t s) {
        const SchemeRule& rule = *d_.quant.schemes[s].rule;
        if (!rule.weight || std::find(rule.weight->dtypes.begin(), rule.weight->dtypes.end(),
                                      module.dtype) == rule.weight->dtypes.end())
          return 0;
        const int32_t scale = roles[s].scale(i);
        if (scale < 0) return 1;
        return ScaleFits(unit, s, scale) ? 3 : 2;
      };
      int quality = 0;
      for (size_t n = 0; n < roles.size(); ++n) {
        const size_t s = n == 0 ? static_cast<size_t>(module.claim) : n;
        if (s == 0) continue;
        const int q = fits(s);
        if (q > quality) {
          quality = q;
          best = s;
        }
      }
      if (quality == 0) {
        Foreign(unit, i, &module);
        continue;
      }
      module.stored = static_cast<int8_t>(best);
      module.scale = roles[best].scale(i);
      module.input = roles[best].input(i);
      Scales(unit, i, best, &module);
    }
  }

  // A scheme that is only reported: every tensor below the module belongs to it.
  bool Opaque(const Unit& unit, int32_t i, Module* module) {
    for (size_t s = 1; s < d_.quant.schemes.size(); ++s) {
      if (d_.quant.schemes[s].rule->weight) continue;
      for (const auto& [segment, id] : stored_.Below(unit.path)) {
        const int32_t tensor = Tensors(unit, id)(i);
        if (tensor < 0) continue;
        ledger_.Take(tensor);
        module->weight = tensor;
        module->dtype = TensorAt(tensor).dtype;
        module->has_dtype = true;
      }
      if (module->weight < 0) continue;
      module->stored = static_cast<int8_t>(s);
      return true;
    }
    return false;
  }

  std::vector<int64_t> ScaleShape(const Unit& unit, const Scheme& scheme) const {
    switch (scheme.rule->scale->per) {
      case Per::kTensor:
        return {1};
      case Per::kRow:
        return {unit.rows, 1};
      case Per::kBlock:
        break;
    }
    const int64_t groups = unit.node->scales_per_group ? unit.groups : 1;
    return {groups * CeilDiv(unit.rows / groups, scheme.block_n), CeilDiv(unit.in, scheme.block_k)};
  }

  bool ScaleFits(const Unit& unit, size_t s, int32_t scale) {
    const Scheme& scheme = d_.quant.schemes[s];
    const std::span<const int64_t> stored = checkpoint_.shape(TensorAt(scale));
    std::vector<int64_t>& expected = scale_shapes_[s];
    if (expected.empty()) expected = ScaleShape(unit, scheme);
    if (std::equal(stored.begin(), stored.end(), expected.begin(), expected.end())) return true;
    if (scheme.rule->scale->per == Per::kTensor) return stored.empty();
    return scheme.rule->scale->per == Per::kRow && stored.size() == 1 && stored[0] == unit.rows;
  }

  void Scales(const Unit& unit, int32_t i, size_t s, Module* module) {
    const Scheme& scheme = d_.quant.schemes[s];
    const SchemeRule& rule = *scheme.rule;
    if (module->input >= 0) ledger_.Take(module->input);
    if (rule.scale && module->scale < 0) MissingScale(unit, i, rule.scale->name, module);
    if (module->scale >= 0) {
      ledger_.Take(module->scale);
      if (!ScaleFits(unit, s, module->scale))
        WrongScale(unit, "scale", ScaleShape(unit, scheme),
                   fmt::format("{} for weights {}", ScaleWords(scheme),
                               ShapeText(checkpoint_.shape(TensorAt(module->weight)))),
                   module->scale);
      ScaleType(unit, *rule.scale, module->scale);
    }
    if (rule.input && module->input < 0 && !rule.input->optional)
      MissingScale(unit, i, rule.input->name, module);
    if (module->input >= 0) {
      ScaleType(unit, *rule.input, module->input);
      const std::span<const int64_t> shape = checkpoint_.shape(TensorAt(module->input));
      if (!shape.empty() && (shape.size() != 1 || shape[0] != 1))
        WrongScale(unit, "activation scale", {1}, "one for all of x", module->input);
    }
  }

  void WrongScale(const Unit& unit, const char* which, const std::vector<int64_t>& shape,
                  const std::string& words, int32_t scale) {
    grouped_.Add(Code::kScaleShape, unit.node, which[0], [&] {
      Finding finding(
          Code::kScaleShape,
          fmt::format("the {} of `{}` must be {} ({}), not {}", which, unit.Display(),
                      ShapeText(shape), words, ShapeText(checkpoint_.shape(TensorAt(scale)))),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
      finding.Fact("effect", which[0] == 's'
                                 ? "weights would be multiplied with the scales of others"
                                 : "x would be quantized with one of them, and nobody says which");
      return finding;
    });
  }

  static std::string ScaleWords(const Scheme& scheme) {
    if (scheme.rule->scale->per == Per::kBlock)
      return fmt::format("one for each {} x {} block", scheme.block_n, scheme.block_k);
    return scheme.rule->scale->per == Per::kRow ? "one for each row" : "one for the tensor";
  }

  void MissingScale(const Unit& unit, int32_t i, const std::string& name, Module* module) {
    const std::string beside = TakeBelow(unit, i);
    grouped_.Add(Code::kMissingScale, unit.node, static_cast<int64_t>(name.size()), [&] {
      Finding finding(Code::kMissingScale,
                      fmt::format("`{}` is stored as {}, but its `{}` is missing", unit.Display(),
                                  DTypeName(module->dtype), name),
                      RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module->weight));
      if (!beside.empty()) finding.Fact("beside", beside);
      finding.Fact("effect", "an engine would multiply with whatever its memory holds");
      if (!beside.empty())
        finding.Help("if that is the scale, quantization_config describes another scheme");
      return finding;
    });
  }

  void ScaleType(const Unit& unit, const StorageRule& rule, int32_t scale) {
    const DType dtype = TensorAt(scale).dtype;
    if (std::find(rule.dtypes.begin(), rule.dtypes.end(), dtype) != rule.dtypes.end()) return;
    grouped_.Add(Code::kScaleType, unit.node, 0, [&] {
      std::vector<std::string_view> names;
      for (const DType known : rule.dtypes) names.push_back(DTypeName(known));
      Finding finding(
          Code::kScaleType,
          fmt::format("the scale of `{}` is stored as {}; dialect `{}` knows {}", unit.Display(),
                      DTypeName(dtype), d_.quant.dialect->name, fmt::join(names, ", ")),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
      return finding;
    });
  }

  void OrphanScale(const Unit& unit, Module* module, int32_t scale) {
    if (scale < 0 || ledger_.taken(scale)) return;
    ledger_.Take(scale);
    grouped_.Add(Code::kOrphanScale, unit.node, 0, [&] {
      Finding finding(Code::kOrphanScale,
                      fmt::format("`{}` is stored as {} and yet has a scale", unit.Display(),
                                  DTypeName(module->dtype)),
                      RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
      finding.Fact("effect",
                   "an engine drops the scale, or multiplies unquantized weights with it");
      return finding;
    });
  }

  // What is stored below the module besides its weight belongs to a scheme that is not known here,
  // and is explained by the same finding.
  void Foreign(const Unit& unit, int32_t i, Module* module) {
    module->stored = kForeign;
    const std::string beside = TakeBelow(unit, i);
    grouped_.Add(Code::kUnexpectedType, unit.node, static_cast<int64_t>(module->dtype), [&] {
      Finding finding(
          Code::kUnexpectedType,
          d_.quant.dialect
              ? fmt::format("`{}` is stored as {}, which no scheme of dialect `{}` here has",
                            unit.Display(), DTypeName(module->dtype), d_.quant.dialect->name)
              : fmt::format("`{}` is stored as {}, and config.json has no quantization_config",
                            unit.Display(), DTypeName(module->dtype)),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module->weight));
      if (!beside.empty()) finding.Fact("beside", beside);
      finding.Fact("effect",
                   d_.quant.dialect
                       ? "an engine would stop, or read its bytes as another dtype's"
                       : "an engine would take the model for BF16 and read these bytes as "
                         "numbers");
      if (!d_.quant.dialect)
        finding.Help("config.json lacks its quantization_config, or belongs to another release");
      return finding;
    });
  }

  // Takes all tensors directly below a module that nothing took yet: "`weight_scale` F32 [1]".
  std::string TakeBelow(const Unit& unit, int32_t i) {
    std::string names;
    for (const auto& [segment, id] : stored_.Below(unit.path)) {
      const int32_t tensor = Tensors(unit, id)(i);
      if (tensor < 0 || ledger_.taken(tensor)) continue;
      ledger_.Take(tensor);
      names += fmt::format("{}`{}` {} {}", names.empty() ? "" : ", ", Printable(segment),
                           DTypeName(TensorAt(tensor).dtype),
                           ShapeText(checkpoint_.shape(TensorAt(tensor))));
    }
    return names;
  }

  const Checkpoint& checkpoint_;
  const StoredNames& stored_;
  Decisions& d_;
  Ledger& ledger_;
  Diagnostics* out_;
  Grouped grouped_;
  std::vector<std::vector<int64_t>>
      scale_shapes_;  // of the unit at hand, by scheme; made when asked for
};

}  // namespace

std::string TensorText(const Checkpoint& checkpoint, int32_t tensor) {
  const Tensor& t = checkpoint.tensors()[static_cast<size_t>(tensor)];
  return fmt::format("{} {} {} in {}", Printable(t.name), DTypeName(t.dtype),
                     ShapeText(checkpoint.shape(t)), Printable(checkpoint.FileOf(t)));
}

void ReadStored(const Checkpoint& checkpoint, const StoredNames& stored,
                const std::vector<KnownFused>& known, Decisions* decisions, Diagnostics* out) {
  Ledger ledger(checkpoint.tensors().size());
  StoredReader(checkpoint, stored, decisions, &ledger, out).Run();
  ledger.Close(checkpoint, stored, known, *decisions, out);
}

}  // namespace ferrule
