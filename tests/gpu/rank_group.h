// SPDX-License-Identifier: Apache-2.0
// One rank's share of a group on its GPU, cut by hand, with outputs that lie as a test says.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "kernels/tensor_parallel.h"
#include "tests/gpu/device_group.h"
#include "tests/kernels/group.h"

namespace ferrule::test {

// Groups of 1024 columns that several ranks run.
struct RankRow {
  std::string sentence;
  int64_t tokens;
  LinearSplit split;
  std::vector<Shape> shapes;  // with the types of y
  std::vector<int> place;     // of each shape: those of one place lie side by side in one y
  int64_t gap = 0;            // elements behind each token of a y
  bool reversed = false;      // those of one y lie from the right to the left
  std::string refused = {};   // what Run says, on every rank
};

// Sums over ranks and what is refused. The same in every process.
std::vector<RankRow> RankRows();

class RankGroup {
 public:
  // On the current device. `whole` is the group of a TestGroup made of `row.shapes`.
  RankGroup(const LinearGroup& whole, const RankRow& row, int rank, int tp);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  const LinearGroup& group() const { return device_->group(); }
  void* workspace() const { return workspace_; }
  size_t workspace_size() const { return workspace_size_; }
  void DropBiases();
  bool Poison();  // all that Bytes returns
  // The memory of all y, with guards; empty where CUDA fails. Waits for `stream`.
  std::vector<uint8_t> Bytes(void* stream) const;
  // The outputs among these, [tokens, rows of the rank] of each segment.
  std::vector<std::vector<float>> Outputs(const std::vector<uint8_t>& bytes) const;
  // What lies beside the outputs is as it was poisoned; nothing is written with `all`.
  bool Untouched(const std::vector<uint8_t>& bytes, bool all) const;

 private:
  void Cut(const LinearGroup& whole, LinearSplit split, int rank, int tp);
  void Place(const RankRow& row);
  size_t At(size_t segment, int64_t token) const;  // in Bytes

  LinearGroup host_;
  std::vector<LinearSegment> cut_;
  std::deque<std::vector<float>> scales_;
  std::unique_ptr<DeviceGroup> device_;
  uint8_t* y_ = nullptr;
  size_t y_size_ = 0;
  void* workspace_ = nullptr;
  size_t workspace_size_ = 0;
};

}  // namespace ferrule::test
