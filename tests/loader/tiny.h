// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoints with their recorded activations and outputs, and what the loaded modules
// make of them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/plan/plan.h"
#include "kernels/loader.h"
#include "tests/kernels/naive.h"

namespace ferrule::test {

// A safetensors file in memory.
class TensorData {
 public:
  explicit TensorData(const std::string& path);
  bool Has(std::string_view name) const { return file_.Find(name) != nullptr; }
  std::vector<std::string> names() const;
  std::vector<int64_t> Shape(std::string_view name) const;
  const uint8_t* Bytes(std::string_view name) const;
  std::vector<uint16_t> Halves(std::string_view name) const;
  std::vector<float> Floats(std::string_view name) const;  // of an F32 tensor

 private:
  const Tensor& At(std::string_view name) const;
  TensorFile file_;
  std::vector<uint8_t> bytes_;
};

std::shared_ptr<const Checkpoint> OpenSound(const std::string& directory);
Plan PlanFor(const Book& book, std::shared_ptr<const Checkpoint> checkpoint, int tp);
// The module as one rank holds it; the test fails when it cannot be loaded.
std::unique_ptr<LoadedLinear> Load(const Plan& plan, std::string_view module, int rank);

// Activations as they are recorded: BF16 [tokens, columns].
struct Activations {
  int64_t tokens = 0, columns = 0;
  std::vector<uint16_t> values;
};
Activations Read(const TensorData& file, std::string_view name);

// y [tokens, rows of the rank] by the specification, by the fast path and by tests/kernels/naive.
// `x` is whole; the rank's columns are taken from it.
std::vector<float> ByReference(const LoadedLinear& linear, const Activations& x);
std::vector<float> ByFastPath(const LoadedLinear& linear, const Activations& x);
std::vector<float> ByNaive(const LoadedLinear& linear, const Activations& x,
                           Mutant mutant = Mutant::kNone);

// Columns [begin, end) of y [tokens, columns].
std::vector<float> ColumnsOf(const std::vector<float>& y, int64_t tokens, int64_t begin,
                             int64_t end);

}  // namespace ferrule::test
