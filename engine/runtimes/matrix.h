// SPDX-License-Identifier: Apache-2.0
// One checkpoint and every described engine version → what each does with each kind of module.
//
// A row is a kind of stored module in one scheme, so that engines that name or fuse it otherwise
// stand side by side; the experts of a layer are one module. What an engine answers for a module
// that it builds counts for all that is stored in it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/plan/book.h"
#include "engine/runtimes/plan_as.h"

namespace ferrule {

struct MatrixCell {
  std::map<std::string, int64_t> answers;  // quant, bf16, unknown, or the class of an error
  int64_t wrong = 0;                       // modules run otherwise than stored, or not at all
  std::string name;                        // of the first in the engine
  std::vector<int> refused;                // tensor-parallel sizes that the block check refuses
  std::string refusal;                     // the engine's message, the first
  int64_t built() const;
  friend bool operator==(const MatrixCell& a, const MatrixCell& b) {
    return a.answers == b.answers && a.wrong == b.wrong && a.refused == b.refused;
  }
};

struct MatrixRow {
  std::string name;    // model.layers.<layer>.mlp.experts
  std::string stored;  // its scheme; empty when that is not decided
  int64_t count = 0;
  bool differs = false;  // some engine is wrong, refuses a size, or answers otherwise than another
};

struct MatrixEngine {
  std::string name;               // sglang@0.5.23
  std::vector<MatrixCell> cells;  // one for each row
  int64_t wrong = 0;
};

struct Matrix {
  std::vector<int> tp;
  std::vector<MatrixRow> rows;
  std::vector<MatrixEngine> engines;
  std::vector<std::pair<std::string, std::string>> left_out;  // engine, why
};

// `tp` is not empty. Empty when there is no plan; findings of the plan at the first size in `out`.
std::optional<Matrix> CompareEngines(const Book& book, const RuntimeBook& runtimes,
                                     const std::shared_ptr<const Checkpoint>& checkpoint,
                                     const std::vector<int>& tp, Diagnostics* out);

}  // namespace ferrule
