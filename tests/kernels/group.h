// SPDX-License-Identifier: Apache-2.0
// Linear groups that own their memory, with guard words around every output and junk in every gap,
// so that a test can describe a case in one line and see any write or read that is out of place.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "kernels/linear.h"

namespace ferrule::test {

// What a segment should look like; data is random.
struct Shape {
  LinearScheme scheme = LinearScheme::kFp8Block;
  int64_t rows = 128;
  int32_t n_phase = 0;
  int32_t k_phase = 0;
  LinearWeight weight_type = LinearWeight::kBf16;
  LinearOutput y_type = LinearOutput::kF32;
  bool ue8m0 = false;
  bool fixed = false;  // a static input_scale
  bool bias = false;
  bool extreme = false;  // weight scales 1e-4 … 1e4, all distinct
  // E4M3 codes of normal values, as checkpoints have them, instead of codes drawn uniformly, of
  // which each power of two has as many. Where all of a group's are, x changes its magnitude with
  // the block of 128 columns and not inside.
  bool normal = false;
};

class TestGroup {
 public:
  TestGroup(uint32_t seed, int64_t tokens, int64_t in, const std::vector<Shape>& shapes);

  LinearGroup& group() { return group_; }
  LinearSegment& segment(size_t i) { return segments_[i]; }
  uint16_t* x(int64_t token) { return x_.data() + token * group_.x_stride; }
  // Fills the outputs and what surrounds them with a pattern. Call before each run.
  void Poison();
  // Outputs as float, [tokens, rows] of one segment without gaps.
  std::vector<float> Y(size_t segment) const;
  // Raw bits of everything, outputs and gaps.
  std::vector<uint32_t> Raw() const;
  // Empty, or where something outside the outputs was written.
  std::string Damage() const;

 private:
  void AddSegment(const Shape& shape);
  std::mt19937 random_;
  LinearGroup group_;
  std::vector<LinearSegment> segments_;
  std::vector<uint16_t> x_;
  int64_t nonfinite_ = 0;
  std::deque<std::vector<uint8_t>> bytes_;
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<uint32_t>> outputs_;
};

// |a - b| / |b| in the Frobenius norm; NaN counts as a difference of 1 unless both are NaN.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace ferrule::test
