// SPDX-License-Identifier: Apache-2.0
// Headers → which tensors fill each module, in which scheme it is stored, and what is left over.
#include <fmt/format.h>

#include <algorithm>

#include "engine/decision.h"
#include "engine/grouped.h"
#include "engine/ledger.h"
#include "engine/stored_shape.h"
#include "engine/words.h"

namespace ferrule {
namespace {

bool IsPlain(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

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
    Cache();
    grouped_.Flush(out_);
  }

 private:
  // Template id of the tensor `<path>.<name>`; of `<path>` itself for an empty name, of
  // `<path>_blocks` for a name with an underscore in front.
  int32_t RoleId(const Unit& unit, std::string_view name) const {
    std::string text = unit.path;
    if (!name.empty() && name[0] != '_') text += '.';
    return stored_.table().Find(text.append(name));
  }
  int32_t RoleId(const Unit& unit, const StorageRule& rule) const {
    for (const std::string& name : rule.names)
      if (const int32_t id = RoleId(unit, name); id >= 0) return id;
    return -1;
  }

  int32_t TensorOf(const Unit& unit, int32_t id, int32_t i) const {
    if (id < 0) return -1;
    int32_t numbers[kMaxSegments];
    std::copy(unit.numbers.begin(), unit.numbers.end(), numbers);
    if (unit.range >= 0) numbers[unit.range] += i;
    return stored_.table().At(id, std::span<const int32_t>(numbers, unit.numbers.size()));
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
    const int32_t weight = RoleId(unit, param ? "" : "weight");
    const int32_t bias = unit.bias ? RoleId(unit, "bias") : -1;
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      module.weight = TensorOf(unit, weight, i);
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
          finding.Fact("effect", "an engine would stop, or read its bytes as numbers");
          finding.Help(
              fmt::format("if the model multiplies with `{}`, declare it as `rows`; else "
                          "quantize the checkpoint again without it",
                          unit.Display()));
          return finding;
        });
      if (!unit.bias) continue;
      module.bias = TensorOf(unit, bias, i);
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
    const int32_t plain = RoleId(unit, unit.node->suffix ? "weight" : "");
    const int32_t bias = BiasId(unit);
    const ExpectedShape plain_shape = PlainShape(unit);
    // Of each scheme the templates of its tensors, in the order of its storage rules.
    std::vector<std::vector<int32_t>> ids(d_.quant.schemes.size());
    for (size_t s = 1; s < ids.size(); ++s)
      for (const StorageRule& rule : d_.quant.schemes[s].rule->storage)
        ids[s].push_back(RoleId(unit, rule));
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      int32_t weight = TensorOf(unit, plain, i);
      for (size_t s = 1; s < ids.size() && weight < 0; ++s)
        for (size_t r = 0; r < ids[s].size() && weight < 0; ++r)
          if (d_.quant.schemes[s].rule->storage[r].role == "weight")
            weight = TensorOf(unit, ids[s][r], i);
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
      Bias(unit, i, bias, &module);
      if (IsPlain(module.dtype) && !Later(module)) {
        module.stored = 0;
        PlainWeight(unit, weight, plain_shape);
        for (size_t s = 1; s < ids.size(); ++s)
          for (size_t r = 0; r < ids[s].size(); ++r)
            if (d_.quant.schemes[s].rule->storage[r].role == "scale")
              OrphanScale(unit, &module, TensorOf(unit, ids[s][r], i));
        continue;
      }
      const size_t best = Best(unit, i, ids, module);
      if (best == 0) {
        if (Opaque(unit, i, &module)) continue;
        PlainWeight(unit, weight, plain_shape);
        Foreign(unit, i, &module);
        continue;
      }
      module.stored = static_cast<int8_t>(best);
      Tensors(unit, i, d_.quant.schemes[best], ids[best], &module);
    }
  }

  void PlainWeight(const Unit& unit, int32_t weight, const ExpectedShape& expected) {
    if (!expected.Fits(checkpoint_.shape(TensorAt(weight))))
      WrongShape(unit, weight, expected.any_of[0]);
  }

  int32_t BiasId(const Unit& unit) const {
    const int32_t id = RoleId(unit, "bias");
    return id < 0 && !unit.node->suffix ? RoleId(unit, "_bias") : id;
  }

  void Bias(const Unit& unit, int32_t i, int32_t id, Module* module) {
    if (!unit.bias) return;
    module->bias = TensorOf(unit, id, i);
    if (module->bias < 0) return Missing(unit, i, "bias");
    ledger_.Take(module->bias);
    std::vector<int64_t> rows = {unit.rows};
    if (unit.stack > 0) rows.insert(rows.begin(), unit.stack);
    if (!ShapeIs(module->bias, rows)) WrongShape(unit, module->bias, rows);
  }

  // The scheme whose names, dtypes and shapes fit best; the claimed one first. 0: none.
  size_t Best(const Unit& unit, int32_t i, const std::vector<std::vector<int32_t>>& ids,
              const Module& module) const {
    size_t best = 0;
    int quality = 0;
    for (size_t n = 0; n < ids.size(); ++n) {
      const size_t s = n == 0 ? static_cast<size_t>(std::max<int8_t>(module.claim, 0)) : n;
      if (s == 0) continue;
      const int q = Quality(unit, i, d_.quant.schemes[s], ids[s], module);
      if (q <= quality) continue;
      quality = q;
      best = s;
    }
    return best;
  }

  // Whether the claimed scheme stores its weights unquantized: they are quantized when loaded.
  bool Later(const Module& module) const {
    const size_t claim = static_cast<size_t>(std::max<int8_t>(module.claim, 0));
    const SchemeRule* rule = d_.quant.schemes[claim].rule;
    return rule && rule->weight() && HasDtype(*rule->weight(), module.weight);
  }

  // How well the stored tensors fit a scheme; 0: its weights are stored otherwise.
  int Quality(const Unit& unit, int32_t i, const Scheme& scheme, const std::vector<int32_t>& ids,
              const Module& module) const {
    int quality = 1000;
    int explained = 0;
    for (size_t r = 0; r < ids.size(); ++r) {
      const StorageRule& rule = scheme.rule->storage[r];
      const int32_t tensor = TensorOf(unit, ids[r], i);
      if (rule.role == "weight" && (tensor != module.weight || !HasDtype(rule, tensor))) return 0;
      if (tensor < 0) {
        if (!rule.optional) quality -= rule.role == "scale" ? 100 : 50;
        continue;
      }
      ++explained;
      if (!ShapeOf(unit, scheme, rule).Fits(checkpoint_.shape(TensorAt(tensor)))) quality -= 20;
      if (!HasDtype(rule, tensor)) quality -= 10;
    }
    return quality + std::min(explained, 9);
  }

  bool HasDtype(const StorageRule& rule, int32_t tensor) const {
    return std::find(rule.dtypes.begin(), rule.dtypes.end(), TensorAt(tensor).dtype) !=
           rule.dtypes.end();
  }

  // A scheme that is only reported: every tensor below the module belongs to it.
  bool Opaque(const Unit& unit, int32_t i, Module* module) {
    for (size_t s = 1; s < d_.quant.schemes.size(); ++s) {
      if (!d_.quant.schemes[s].rule->storage.empty()) continue;
      for (const auto& [segment, id] : stored_.Below(unit.path)) {
        const int32_t tensor = TensorOf(unit, id, i);
        if (tensor < 0 || ledger_.taken(tensor)) continue;
        ledger_.Take(tensor);
        if (module->weight >= 0) continue;
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

  // Everything that the scheme stores for this module: taken, and looked at.
  void Tensors(const Unit& unit, int32_t i, const Scheme& scheme, const std::vector<int32_t>& ids,
               Module* module) {
    for (size_t r = 0; r < ids.size(); ++r) {
      const StorageRule& rule = scheme.rule->storage[r];
      const int32_t tensor = TensorOf(unit, ids[r], i);
      if (tensor >= 0) ledger_.Take(tensor);
      if (rule.role == "scale") module->scale = tensor;
      if (rule.role == "input") module->input = tensor;
    }
    for (size_t r = 0; r < ids.size(); ++r) {
      const StorageRule& rule = scheme.rule->storage[r];
      const int32_t tensor = TensorOf(unit, ids[r], i);
      if (tensor < 0) {
        if (!rule.optional) MissingScale(unit, i, rule.name(), module);
        continue;
      }
      const ExpectedShape expected = ShapeOf(unit, scheme, rule);
      if (rule.role == "weight") {
        if (!expected.Fits(checkpoint_.shape(TensorAt(tensor))))
          WrongWeight(unit, tensor, expected);
        continue;
      }
      if (!expected.Fits(checkpoint_.shape(TensorAt(tensor))))
        WrongScale(unit, rule, expected, Words(scheme, rule, *module), tensor);
      ScaleType(unit, rule, tensor);
    }
  }

  std::string Words(const Scheme& scheme, const StorageRule& rule, const Module& module) const {
    if (rule.role == "input") return "one for all of x";
    return fmt::format("{} for weights {}", ShapeWords(scheme, rule),
                       ShapeText(checkpoint_.shape(TensorAt(module.weight))));
  }

  void WrongWeight(const Unit& unit, int32_t tensor, const ExpectedShape& expected) {
    if (!expected.any_of.empty()) return WrongShape(unit, tensor, expected.any_of[0]);
    grouped_.Add(Code::kShapeMismatch, unit.node, 1, [&] {
      Finding finding(
          Code::kShapeMismatch,
          fmt::format("the weights of `{}` cannot be packed: {}", unit.Display(), expected.why),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, tensor));
      return finding;
    });
  }

  // Scales of the KV cache stand below a linear or a container of one, whatever its scheme.
  void Cache() {
    if (!d_.quant.dialect || d_.quant.dialect->cache.empty()) return;
    for (int32_t id = 0; id < static_cast<int32_t>(stored_.table().templates()); ++id) {
      const std::string_view text = stored_.table().Text(id);
      const size_t dot = text.rfind('.');
      if (dot == std::string_view::npos) continue;
      for (const StorageRule& rule : d_.quant.dialect->cache) {
        if (std::find(rule.names.begin(), rule.names.end(), text.substr(dot + 1)) ==
                rule.names.end() ||
            !Declared(text.substr(0, dot)))
          continue;
        for (size_t i = 0; i < stored_.table().Count(id); ++i) {
          const int32_t tensor = stored_.table().Value(id, i);
          const std::span<const int64_t> shape = checkpoint_.shape(TensorAt(tensor));
          if (HasDtype(rule, tensor) && (shape.empty() || (shape.size() == 1 && shape[0] == 1)))
            ledger_.Take(tensor);
        }
      }
    }
  }

  // Whether a path is that of a module or of a container of modules.
  bool Declared(std::string_view path) const {
    return std::any_of(d_.units.units.begin(), d_.units.units.end(), [&](const Unit& unit) {
      return unit.path.compare(0, path.size(), path) == 0 &&
             (unit.path.size() == path.size() || unit.path[path.size()] == '.');
    });
  }

  void WrongScale(const Unit& unit, const StorageRule& rule, const ExpectedShape& expected,
                  const std::string& words, int32_t scale) {
    grouped_.Add(Code::kScaleShape, unit.node, Detail(rule), [&] {
      Finding finding(
          Code::kScaleShape,
          fmt::format("the {} of `{}` must be {} ({}), not {}", Which(rule), unit.Display(),
                      expected.any_of.empty() ? expected.why : ShapeText(expected.any_of[0]), words,
                      ShapeText(checkpoint_.shape(TensorAt(scale)))),
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
      finding.Fact("effect", rule.role == "input"
                                 ? "x would be quantized with one of them, and nobody says which"
                                 : "weights would be multiplied with the scales of others");
      finding.Help(rule.role == "input"
                       ? "the checkpoint was written wrongly, or is of another activation scheme"
                   : Turned(expected, scale)
                       ? "rows and columns of the scales are exchanged: write them again"
                       : "the checkpoint was written wrongly, or config.json names another "
                         "block size or scheme");
      return finding;
    });
  }

  static std::string Which(const StorageRule& rule) {
    return rule.role == "input"   ? "activation scale"
           : rule.role == "scale" ? "scale"
                                  : fmt::format("`{}`", rule.name());
  }

  // Whether the scales have the shape that is expected, with rows and columns exchanged.
  bool Turned(const ExpectedShape& expected, int32_t scale) const {
    const std::span<const int64_t> shape = checkpoint_.shape(TensorAt(scale));
    if (shape.size() != 2 || expected.any_of.empty() || expected.any_of[0].size() != 2)
      return false;
    return shape[0] == expected.any_of[0][1] && shape[1] == expected.any_of[0][0];
  }

  // Tells the tensors of one module apart in grouped findings.
  static int64_t Detail(const StorageRule& rule) {
    return static_cast<int64_t>(HashBytes(rule.name()) >> 1);
  }

  void MissingScale(const Unit& unit, int32_t i, const std::string& name, Module* module) {
    const std::string beside = TakeBelow(unit, i);
    grouped_.Add(Code::kMissingScale, unit.node, static_cast<int64_t>(HashBytes(name) >> 1), [&] {
      Finding finding(Code::kMissingScale,
                      fmt::format("`{}` is stored as {}, but its `{}` is missing", unit.Display(),
                                  DTypeName(module->dtype), name),
                      RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module->weight));
      if (!beside.empty()) finding.Fact("beside", beside);
      finding.Fact("effect", "an engine would multiply with whatever its memory holds");
      finding.Help(beside.empty()
                       ? "the checkpoint is incomplete: complete the download, or quantize it again"
                       : "if that is the scale, quantization_config describes another scheme");
      return finding;
    });
  }

  void ScaleType(const Unit& unit, const StorageRule& rule, int32_t scale) {
    const DType dtype = TensorAt(scale).dtype;
    if (HasDtype(rule, scale)) return;
    grouped_.Add(Code::kScaleType, unit.node, Detail(rule), [&] {
      std::vector<std::string_view> names;
      for (const DType known : rule.dtypes) names.push_back(DTypeName(known));
      Finding finding(Code::kScaleType,
                      fmt::format("the {} of `{}` is stored as {}; dialect `{}` knows {}",
                                  Which(rule), unit.Display(), DTypeName(dtype),
                                  d_.quant.dialect->name, fmt::join(names, ", ")),
                      RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
      finding.Fact("effect", "an engine would stop, or read its bytes as another dtype's");
      finding.Help(
          "if engines read it, add the dtype to the dialect file; else write the scales again");
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
      finding.Help("the scales were left behind, or the weights are of another release");
      return finding;
    });
  }

  // What else is stored below the module belongs to an unknown scheme: the same finding has it.
  void Foreign(const Unit& unit, int32_t i, Module* module) {
    module->stored = kForeign;
    const std::string beside = TakeBelow(unit, i);
    grouped_.Add(Code::kUnexpectedType, unit.node, static_cast<int64_t>(module->dtype), [&] {
      const Dialect* dialect = d_.quant.dialect.get();
      const std::string what =
          fmt::format("`{}` is stored as {}", unit.Display(), DTypeName(module->dtype));
      Finding finding(
          Code::kUnexpectedType,
          dialect ? fmt::format("{}, which no scheme of dialect `{}` here has", what, dialect->name)
                  : what + ", and config.json has no quantization_config",
          RuleAt(d_, unit));
      finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module->weight));
      if (!beside.empty()) finding.Fact("beside", beside);
      finding.Fact("effect",
                   dialect
                       ? "an engine would stop, or read its bytes as another dtype's"
                       : "an engine would take the model for BF16 and read these bytes as numbers");
      finding.Help(
          dialect
              ? "quantization_config describes another scheme than what is stored"
              : "its description is missing (config.json, hf_quant_config.json or "
                "ModelSlim's quant_model_description.json), or config.json is another release's");
      return finding;
    });
  }

  // Takes all tensors directly below a module that nothing took yet: "`weight_scale` F32 [1]".
  std::string TakeBelow(const Unit& unit, int32_t i) {
    std::string names;
    for (const auto& [segment, id] : stored_.Below(unit.path)) {
      const int32_t tensor = TensorOf(unit, id, i);
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
