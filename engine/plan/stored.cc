// SPDX-License-Identifier: Apache-2.0
// Headers → which tensors fill each module, in which scheme it is stored, and what is left over.
#include <fmt/format.h>

#include <algorithm>

#include "engine/plan/decision.h"
#include "engine/plan/ledger.h"
#include "engine/plan/stored_findings.h"

namespace ferrule {
namespace {

bool IsPlain(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

class StoredReader {
 public:
  StoredReader(const Checkpoint& checkpoint, const StoredNames& stored, Decisions* decisions,
               Ledger* ledger, Diagnostics* out)
      : checkpoint_(checkpoint),
        stored_(stored),
        d_(*decisions),
        ledger_(*ledger),
        out_(out),
        say_(checkpoint, *decisions) {}

  void Run() {
    for (const Unit& unit : d_.units.units) {
      if (IsLinear(unit.kind))
        LinearUnit(unit);
      else if (unit.kind != NodeKind::kFused)
        PlainUnit(unit);
    }
    Cache();
    say_.Flush(out_);
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

  // The tensors of one template for the modules of a unit, one after the other.
  PathTable::Run Along(const Unit& unit, int32_t id) const {
    return stored_.table().Along(id, unit.numbers, unit.range);
  }
  int32_t TensorOf(const Unit& unit, int32_t id, int32_t i) const { return Along(unit, id)(i); }

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

  // Norms, embeddings, convolutions, parameters.
  void PlainUnit(const Unit& unit) {
    const bool param = unit.kind == NodeKind::kParam;
    const PathTable::Run weight = Along(unit, RoleId(unit, param ? "" : "weight"));
    const PathTable::Run bias = Along(unit, unit.bias ? RoleId(unit, "bias") : -1);
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
      if (!ShapeIs(module.weight, unit.shape)) say_.WrongShape(unit, module.weight, unit.shape);
      if (DTypeBits(module.dtype) < 16 || module.dtype == DType::kBool)
        say_.PlainType(unit, module);
      if (!unit.bias) continue;
      module.bias = bias(i);
      if (module.bias < 0) {
        Missing(unit, i, "bias");
      } else {
        ledger_.Take(module.bias);
        if (!ShapeIs(module.bias, std::span(unit.shape).first(1)))
          say_.WrongShape(unit, module.bias, std::span(unit.shape).first(1));
      }
    }
  }

  // A tensor that some scheme stores for the linears of one unit.
  struct Role {
    const StorageRule* rule;
    PathTable::Run tensors;
    ExpectedShape expected;
  };

  // Where the tensors of one unit's linears are, and which shapes they must have.
  struct Roles {
    PathTable::Run plain, bias;
    ExpectedShape plain_shape;
    std::vector<int64_t> bias_shape;
    std::vector<std::vector<Role>> schemes;  // by scheme, in the order of its storage rules
    int best = 0;                            // no scheme's quality is above
  };

  Roles RolesOf(const Unit& unit) const {
    Roles roles;
    roles.plain = Along(unit, RoleId(unit, unit.node->suffix ? "weight" : ""));
    if (unit.bias) roles.bias = Along(unit, BiasId(unit));
    roles.plain_shape = PlainShape(unit);
    if (unit.stack > 0) roles.bias_shape.push_back(unit.stack);
    roles.bias_shape.push_back(unit.rows);
    roles.schemes.resize(d_.quant.schemes.size());
    for (size_t s = 1; s < roles.schemes.size(); ++s) {
      const Scheme& scheme = d_.quant.schemes[s];
      for (const StorageRule& rule : scheme.rule->storage)
        roles.schemes[s].push_back(
            {&rule, Along(unit, RoleId(unit, rule)), ShapeOf(unit, scheme, rule)});
      roles.best = std::max(roles.best, kGood + Explained(roles.schemes[s].size()));
    }
    return roles;
  }

  void LinearUnit(const Unit& unit) {
    const Roles roles = RolesOf(unit);
    for (int32_t i = 0; i < unit.count; ++i) {
      Module& module = d_.modules[static_cast<size_t>(unit.first + i)];
      int32_t weight = roles.plain(i);
      for (size_t s = 1; s < roles.schemes.size() && weight < 0; ++s)
        for (size_t r = 0; r < roles.schemes[s].size() && weight < 0; ++r)
          if (roles.schemes[s][r].rule->role == "weight") weight = roles.schemes[s][r].tensors(i);
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
      if (unit.bias) Bias(unit, i, roles, &module);
      if (IsPlain(module.dtype) && !Later(module)) {
        module.stored = 0;
        PlainWeight(unit, weight, roles);
        for (const std::vector<Role>& scheme : roles.schemes)
          for (const Role& role : scheme)
            if (role.rule->role == "scale") OrphanScale(unit, module, role.tensors(i));
        continue;
      }
      const size_t best = Best(i, roles, module);
      if (best == 0) {
        if (Opaque(unit, i, &module)) continue;
        PlainWeight(unit, weight, roles);
        module.stored = kForeign;
        say_.Foreign(unit, TakeBelow(unit, i), module);
        continue;
      }
      module.stored = static_cast<int8_t>(best);
      Tensors(unit, i, d_.quant.schemes[best], roles.schemes[best], &module);
    }
  }

  void OrphanScale(const Unit& unit, const Module& module, int32_t scale) {
    if (scale < 0 || ledger_.taken(scale)) return;
    ledger_.Take(scale);
    say_.OrphanScale(unit, module, scale);
  }

  void PlainWeight(const Unit& unit, int32_t weight, const Roles& roles) {
    if (!roles.plain_shape.Fits(checkpoint_.shape(TensorAt(weight))))
      say_.WrongShape(unit, weight, roles.plain_shape.any_of[0]);
  }

  int32_t BiasId(const Unit& unit) const {
    const int32_t id = RoleId(unit, "bias");
    return id < 0 && !unit.node->suffix ? RoleId(unit, "_bias") : id;
  }

  void Bias(const Unit& unit, int32_t i, const Roles& roles, Module* module) {
    module->bias = roles.bias(i);
    if (module->bias < 0) return Missing(unit, i, "bias");
    ledger_.Take(module->bias);
    if (!ShapeIs(module->bias, roles.bias_shape))
      say_.WrongShape(unit, module->bias, roles.bias_shape);
  }

  // The scheme whose names, dtypes and shapes fit best; the claimed one first. 0: none.
  size_t Best(int32_t i, const Roles& roles, const Module& module) const {
    size_t best = 0;
    int quality = 0;
    for (size_t n = 0; n < roles.schemes.size() && quality < roles.best; ++n) {
      const size_t s = n == 0 ? static_cast<size_t>(std::max<int8_t>(module.claim, 0)) : n;
      if (s == 0) continue;
      const int q = Quality(i, roles.schemes[s], module);
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
  static constexpr int kGood = 1000;
  static int Explained(size_t tensors) { return static_cast<int>(std::min<size_t>(tensors, 9)); }
  int Quality(int32_t i, const std::vector<Role>& roles, const Module& module) const {
    int quality = kGood;
    size_t explained = 0;
    for (const Role& role : roles) {
      const StorageRule& rule = *role.rule;
      const int32_t tensor = role.tensors(i);
      if (rule.role == "weight" && (tensor != module.weight || !HasDtype(rule, tensor))) return 0;
      if (tensor < 0) {
        if (!rule.optional) quality -= rule.role == "scale" ? 100 : 50;
        continue;
      }
      ++explained;
      if (!role.expected.Fits(checkpoint_.shape(TensorAt(tensor)))) quality -= 20;
      if (!HasDtype(rule, tensor)) quality -= 10;
    }
    return quality + Explained(explained);
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
  void Tensors(const Unit& unit, int32_t i, const Scheme& scheme, const std::vector<Role>& roles,
               Module* module) {
    for (const Role& role : roles) {
      const int32_t tensor = role.tensors(i);
      if (tensor >= 0) ledger_.Take(tensor);
      if (role.rule->role == "scale") module->scale = tensor;
      if (role.rule->role == "input") module->input = tensor;
    }
    for (const Role& role : roles) {
      const StorageRule& rule = *role.rule;
      const int32_t tensor = role.tensors(i);
      if (tensor < 0) {
        if (!rule.optional) say_.MissingScale(unit, rule.name(), TakeBelow(unit, i), *module);
        continue;
      }
      const bool fits = role.expected.Fits(checkpoint_.shape(TensorAt(tensor)));
      if (rule.role == "weight") {
        if (!fits) say_.WrongWeight(unit, tensor, role.expected);
        continue;
      }
      if (!fits) say_.WrongScale(unit, rule, role.expected, Words(scheme, rule, *module), tensor);
      if (!HasDtype(rule, tensor)) say_.WrongScaleType(unit, rule, tensor);
    }
  }

  std::string Words(const Scheme& scheme, const StorageRule& rule, const Module& module) const {
    if (rule.role == "input") return "one for all of x";
    return fmt::format("{} for weights {}", ShapeWords(scheme, rule),
                       ShapeText(checkpoint_.shape(TensorAt(module.weight))));
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
  StoredFindings say_;
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
