// SPDX-License-Identifier: Apache-2.0
// Every tensor of the checkpoint is used exactly once; whatever is missing or left over is a
// finding. Real names declared fused, and fused names declared real, are recognised here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/plan/decision.h"

namespace ferrule {

class Ledger {
 public:
  explicit Ledger(size_t tensors) : taken_(tensors, false) {}

  void Take(int32_t tensor) { taken_[static_cast<size_t>(tensor)] = true; }
  bool taken(int32_t tensor) const { return taken_[static_cast<size_t>(tensor)]; }
  // The i-th module of `unit` lacks its tensor `role` ("weight", "bias", "" for a bare name).
  void Missing(const Unit& unit, int32_t i, std::string_view role) {
    missing_.push_back({&unit, i, std::string(role)});
  }

  // Reports FR301, FR302, FR303 and FR304.
  void Close(const Checkpoint& checkpoint, const StoredNames& stored,
             const std::vector<KnownFused>& known, const Decisions& decisions, Diagnostics* out);

 private:
  struct Gap {
    const Unit* unit;
    int32_t i;
    std::string role;
  };
  std::vector<bool> taken_;
  std::vector<Gap> missing_;
};

}  // namespace ferrule
