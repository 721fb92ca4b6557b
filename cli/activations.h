// SPDX-License-Identifier: Apache-2.0
// What goes into the linears: tensors of a file, or seeded random numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan.h"

namespace ferrule::cli {

struct Activation {
  int64_t tokens = 0;
  int64_t columns = 0;
  std::vector<uint16_t> values;  // BF16 [tokens, columns]
};

// One BF16 or F32 tensor [tokens, in] for each module path; F32 is rounded to BF16.
class InputFile {
 public:
  // Checks names, dtypes and shapes against the plan; data are read by Read.
  static std::optional<InputFile> Open(const std::string& path, const Plan& plan, Diagnostics* out);

  // Module ids in the order of the file.
  const std::vector<int32_t>& modules() const { return modules_; }
  int64_t Tokens(size_t i) const;
  // Empty when the file cannot be read or a value is not finite.
  std::optional<struct Activation> Read(size_t i, Diagnostics* out) const;

 private:
  std::string path_;
  std::optional<TensorFile> file_;
  std::vector<int32_t> modules_;
  std::vector<size_t> tensors_;  // of file_, for each module
};

// Random activations with differing magnitudes from one block of columns to the next; equal for
// equal seed, name and sizes.
Activation RandomActivation(uint64_t seed, const std::string& name, int64_t tokens, int64_t columns);

}  // namespace ferrule::cli
