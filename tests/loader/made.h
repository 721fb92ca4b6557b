// SPDX-License-Identifier: Apache-2.0
// Checkpoints that a test makes up: a rule tree, sizes and random weights, written as real
// safetensors files and read back through the plan.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "tests/engine/temp_dir.h"
#include "tests/loader/tiny.h"

namespace ferrule::test {

// How the linears of a made checkpoint are stored.
struct Storage {
  std::string scheme;  // bf16, fp8_block, fp8_channel, fp8_tensor, fp8_static
  int64_t block_n = 0, block_k = 0;
  DType weight = DType::kBF16;  // of bf16; else E4M3
  DType scale = DType::kF32;
  bool fp8() const { return scheme != "bf16"; }
};

struct MadeTensor {
  DType dtype = DType::kBF16;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

// One stored linear, and its scales as numbers.
struct MadeLinear {
  int64_t rows = 0, in = 0;
  std::vector<float> scales;
  float input_scale = 0;
  std::vector<float> bias;  // empty: none
};

class Made {
 public:
  // `modules` is the text below `modules:`, `sizes` what config.json holds besides.
  Made(uint32_t seed, Storage storage, std::string modules, std::map<std::string, int64_t> sizes);

  // A random weight `name.weight` with what belongs to it.
  void AddLinear(const std::string& name, int64_t rows, int64_t in);
  // A random bias `name.bias` for a linear that was added; BF16, F16 or F32.
  void AddBias(const std::string& name, DType dtype);
  // The rows of another linear in another order, with the scales of whole blocks.
  void AddReordered(const std::string& name, const Made& other, const std::string& from,
                    const std::vector<int64_t>& rows);

  std::map<std::string, MadeTensor>& tensors() { return tensors_; }
  const Storage& storage() const { return storage_; }
  const MadeLinear& linear(const std::string& name) const { return linears_.at(name); }
  const std::vector<uint8_t>& weight(const std::string& name) const {
    return tensors_.at(name + ".weight").bytes;
  }
  int64_t element() const;  // bytes of one weight

  // Writes what is there at the first call of one of them; PlanAt plans it.
  void Write();
  Plan PlanAt(int tp);
  const std::string& directory() const { return directory_->path(); }
  const Book& book() const { return book_; }

  Activations X(int64_t tokens, int64_t columns);

  // y [tokens, rows] of single rows of a stored linear over its columns [begin, end), straight from
  // the law: each row by itself, its place in its scale block taken from the whole matrix. Its bias
  // is added where column 0 is among them.
  std::vector<float> Law(const std::string& name, const std::vector<int64_t>& rows, int64_t begin,
                         int64_t end, const Activations& x) const;

 private:
  std::string ConfigText() const;
  void WriteFiles() const;
  void AddScales(const std::string& name);

  std::mt19937 random_;
  Storage storage_;
  std::map<std::string, int64_t> sizes_;
  std::map<std::string, MadeTensor> tensors_;
  std::map<std::string, MadeLinear> linears_;
  std::unique_ptr<TempDir> directory_ = std::make_unique<TempDir>();
  bool written_ = false;
  Book book_;
};

}  // namespace ferrule::test
