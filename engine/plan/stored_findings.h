// SPDX-License-Identifier: Apache-2.0
// What is said of tensors that are not stored as rules and dialect want it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/plan/decision.h"
#include "engine/plan/grouped.h"
#include "engine/plan/stored_shape.h"

namespace ferrule {

class StoredFindings {
 public:
  StoredFindings(const Checkpoint& checkpoint, const Decisions& decisions)
      : checkpoint_(checkpoint), d_(decisions) {}

  void WrongShape(const Unit& unit, int32_t tensor, std::span<const int64_t> expected);
  void WrongWeight(const Unit& unit, int32_t tensor, const ExpectedShape& expected);
  void WrongScale(const Unit& unit, const StorageRule& rule, const ExpectedShape& expected,
                  const std::string& words, int32_t scale);
  void WrongScaleType(const Unit& unit, const StorageRule& rule, int32_t scale);
  // A norm, an embedding … that is stored as no number of 16 or 32 bits.
  void PlainType(const Unit& unit, const Module& module);
  // `beside`: what is stored below the module and belongs to nothing, "" for nothing.
  void MissingScale(const Unit& unit, const std::string& name, const std::string& beside,
                    const Module& module);
  void OrphanScale(const Unit& unit, const Module& module, int32_t scale);
  void Foreign(const Unit& unit, const std::string& beside, const Module& module);

  void Flush(Diagnostics* out) { grouped_.Flush(out); }

 private:
  bool Turned(const ExpectedShape& expected, int32_t scale) const;

  std::span<const int64_t> ShapeAt(int32_t tensor) const {
    return checkpoint_.shape(checkpoint_.tensors()[static_cast<size_t>(tensor)]);
  }

  const Checkpoint& checkpoint_;
  const Decisions& d_;
  Grouped grouped_;
};

}  // namespace ferrule
