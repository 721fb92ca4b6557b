// SPDX-License-Identifier: Apache-2.0
// What every module is: claimed by config.json and rules, stored by the headers, decided.
//
//   claim     the skip list (through its dialect) and the rule say how it runs
//   stored    what dtype and scales the headers show; unknown without headers
//   decision  stored if there are headers, else the claim; a difference is a finding
//
// claims.cc makes claims and reports entries that match nothing (nearest.cc guesses what was
// meant); stored.cc fills in tensors and keeps the ledger (every tensor used exactly once, every
// module filled); decision.cc decides, puts fused modules together and checks that experts agree.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/lists/quant_config.h"
#include "engine/rules/units.h"

namespace ferrule {

enum class Reason : uint8_t {
  kNotQuantized,  // there is no quantization_config
  kEntry,         // an entry of the list names it
  kFusedEntry,    // an entry names a fused module that it is a part of
  kNever,         // `quantize: never`
  kNamed,         // `quantize: named`, and the config does not name it
  kTarget,        // a target of a group names it or its class
  kNoTarget,      // no group applies
  kDefault,       // the method quantizes what is not listed
  kElsewhere,     // `quantize: {as: …}`: a key outside the description says its scheme
  kLayer,         // a table of layers names it and says its scheme
  kOnly,          // the list of all that is quantized names it
  kNotInOnly,     // and does not
  kSame,          // `same:`: another tensor is read
};
std::string_view ReasonName(Reason reason);

inline constexpr int8_t kNoScheme = -1;  // absent, or not decided because of an error
inline constexpr int8_t kForeign = -2;   // stored in a way that no scheme of the config describes

// How the parts of a fused module stand to each other.
enum class Together : uint8_t {
  kAgree,     // one scheme: it runs as one
  kApart,     // `mixed: apart`, and they differ
  kNarrower,  // they differ, and narrower fused modules that agree cover them all
  kDisagree,  // they differ: an error
};

// A fused name of some rule file and its parts, as last segments; known from all rule files, to
// recognise a tensor that another format stores in parts.
struct KnownFused {
  std::string name;
  std::vector<std::string> parts;
  std::string file;
};

// One module or tensor of the model; index: unit.first + i.
struct Module {
  int32_t weight = -1, scale = -1, input = -1, bias = -1;  // tensors of the checkpoint
  int32_t entry = -1;                                      // of the list at `where`
  int32_t via = -1;                                        // kFusedEntry: the fused unit
  Reason reason = Reason::kNotQuantized;
  Primitive how = Primitive::kExact;
  int8_t where = kInList;
  int8_t claim = 0;  // index in QuantConfig::schemes
  int8_t stored = kNoScheme;
  int8_t scheme = 0;
  Together together = Together::kAgree;  // of a fused module
  // Optional and not stored; or `same:`, and then `scheme` and `dtype` are those of what is read.
  bool absent = false;
  bool has_dtype = false;
  DType dtype = DType::kBF16;  // of the weight, when there are headers
};

struct Decisions {
  std::shared_ptr<const RuleFile> rules;
  Units units;
  QuantConfig quant;
  std::vector<Module> modules;
  PathTable paths;               // of all modules, fused names included; value: module id
  std::vector<int32_t> unit_of;  // module id → unit
  bool has_headers = false;
  PathTable containers;                  // of experts; value: index in container_scheme
  std::vector<int8_t> container_scheme;  // what all linears below run as; kNoScheme: they differ
  std::vector<int32_t> dead;             // entries of the skip list that match nothing

  // kNoScheme when there is no such container.
  int8_t ContainerScheme(std::string_view path) const {
    const int32_t at = containers.At(path);
    return at < 0 ? kNoScheme : container_scheme[static_cast<size_t>(at)];
  }
  const Unit& UnitOf(int32_t module) const {
    return units.units[static_cast<size_t>(unit_of[static_cast<size_t>(module)])];
  }
  std::string PathOf(int32_t module) const {
    const Unit& unit = UnitOf(module);
    return unit.PathOf(module - unit.first);
  }
};

// Stage by stage; each adds to the same Decisions. `checkpoint` may be without headers.
void ClaimModules(Decisions* decisions, Diagnostics* out);
void ReadStored(const Checkpoint& checkpoint, const StoredNames& stored,
                const std::vector<KnownFused>& known, Decisions* decisions, Diagnostics* out);
void Decide(const Checkpoint& checkpoint, Decisions* decisions, Diagnostics* out);
// Notes about modules that differ from layer to layer.
void ReportMixedLayers(const Decisions& decisions, Diagnostics* out);

// "model.layers.0.mlp.gate.weight BF16 [512, 2048] in model-00001-of-00002.safetensors".
std::string TensorText(const Checkpoint& checkpoint, int32_t tensor);

// The path that was most likely meant by `name`; empty when none is near.
std::string NearestPath(const Decisions& decisions, std::string_view name);

// The module whose weight module i of a unit reads (`same:`): a path from the root, or a name
// beside it. -1 when the model has no such module, or the unit says no `same:`.
int32_t SameAs(const Decisions& decisions, const Unit& unit, int32_t i);

// Where a unit is declared.
Location RuleAt(const Decisions& decisions, const Unit& unit);

}  // namespace ferrule
