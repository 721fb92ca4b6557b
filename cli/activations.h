// SPDX-License-Identifier: Apache-2.0
// What goes into the linears: tensors of a file, or seeded random numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan/plan.h"

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

// Outputs that somebody else computed: F32 `<module>.y`, `<module>.y_tp<N>.rank<R>`.
class ExpectedFile {
 public:
  static std::optional<ExpectedFile> Open(const std::string& path, Diagnostics* out);

  // Compares when the file has `name`; false when it cannot be read or has another shape.
  bool Compare(const std::string& name, int64_t tokens, const std::vector<float>& y,
               Diagnostics* out);
  // False when nothing was compared. An error above `bound` is a finding.
  bool Judge(double bound, Diagnostics* out) const;
  std::string Summary() const;

 private:
  std::string path_;
  std::optional<TensorFile> file_;
  std::map<std::string, size_t> tensors_;
  int64_t compared_ = 0;
  double worst_ = 0;  // relative Frobenius norm
  std::string where_;
};

// |a - b| / |b| in the Frobenius norm; |a| where b is zero.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b);

// Random activations with differing magnitudes from one block of columns to the next; equal for
// equal seed, name and sizes.
Activation RandomActivation(uint64_t seed, const std::string& name, int64_t tokens,
                            int64_t columns);

}  // namespace ferrule::cli
