// SPDX-License-Identifier: Apache-2.0
// tensor_parallel: one rank of a model that is cut over several GPUs, with NCCL between them.
//
//   column      each rank has rows of W, and so columns of y: nothing is exchanged
//   row         each rank has columns of W and x: y is the sum over ranks, by one all-reduce on the
//               caller's stream
//   replicated  every rank has all
//
//   TensorParallel::Id id;
//   TensorParallel::MakeId(&id, &error);               // rank 0, which sends it to the others
//   auto ranks = TensorParallel::Create(id, rank, tp, plan.plan_sha, &error);  // all at once
//   if (!ranks) …                                      // also where the ranks' plans differ
//   ranks->Run(group, LinearSplit::kRow, workspace, bytes, stream);
//
// One process for each GPU, or one thread: each with its own current device and TensorParallel. Run
// allocates nothing and can be captured into a CUDA graph, on all ranks alike. Sums are made in y's
// own type; NCCL orders them by size and ranks, so that `batch_invariant` holds for two ranks
// alone. NCCL (libnccl.so.2) is looked for when it is first asked for.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kernels/linear.h"

namespace ferrule {

enum class LinearSplit : uint8_t { kColumn, kRow, kReplicated };

class TensorParallel {
 public:
  struct Id {
    char bytes[128];
  };
  // Null where NCCL is there; else why not, static text.
  static const char* Absent();
  static bool MakeId(Id* id, std::string* error);
  // Waits for all ranks. Null with the reason on every rank where one has another `plan_sha` than
  // rank 0: other rules, another checkpoint, or the plan for another tp. `tp` itself cannot be
  // compared: all ranks give the same one, each its own `rank` below it, and one id; where they do
  // not, NCCL waits for ever for ranks that never come.
  static std::unique_ptr<TensorParallel> Create(const Id& id, int rank, int tp,
                                                std::string_view plan_sha, std::string* error);
  ~TensorParallel();
  TensorParallel(const TensorParallel&) = delete;
  TensorParallel& operator=(const TensorParallel&) = delete;

  int rank() const { return rank_; }
  int tp() const { return tp_; }

  // LinearGpu, and for kRow the sum of all ranks' y: an all-reduce for each y. There a bias is
  // added once, by rank 0, to at most 16 segments; outputs have no gaps: y_stride is the segment's
  // rows, or segments lie side by side in one y, in their order. What does not keep to this is
  // refused (kUnsupported) on all ranks, and nothing is run. All ranks call with the same sizes and
  // outputs that lie alike; one that fails alone (kWorkspace, kDevice) leaves the others waiting.
  LinearStatus Run(const LinearGroup& group, LinearSplit split, void* workspace,
                   size_t workspace_size, void* stream) const;

 private:
  TensorParallel() = default;
  LinearStatus AddUp(const LinearGroup& group, void* stream) const;
  void* communicator_ = nullptr;
  int rank_ = 0, tp_ = 1;
};

}  // namespace ferrule
