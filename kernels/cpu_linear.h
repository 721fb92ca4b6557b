// SPDX-License-Identifier: Apache-2.0
// What the CPU path is made of: a driver that knows segments, tokens and threads, and *strips*, the
// inner loop that knows an instruction set.
//
// The driver writes x once per recipe as float32, quantized values undone only of their code (not
// of their scale), block after block, each padded with zeros to `width` columns:
//   x[(block * tokens + token) * width + column in block]
// A strip then gives, for up to kStripRows rows and all tokens of a tile,
//   sum[row * tokens + token] = Σ_b (Σ_{k in b} x·w) · sx[token, b] · sw[row, b]
// (both scales 1 unless the scheme has blocks). Rows and tokens do not influence one another: the
// order of additions for one (row, token) depends on the columns alone.
#pragma once

#include <cstdint>

#include "kernels/linear.h"
#include "kernels/quantize.h"

namespace ferrule {

constexpr int kStripRows = 16;
constexpr int kTileTokens = 64;

struct Strip {
  const uint8_t* weight;  // first row
  int64_t row_bytes;      // between rows
  LinearWeight type;
  int rows;    // 1 … kStripRows
  int tokens;  // 1 … kTileTokens
  int64_t columns;
  int64_t first;   // columns of block 0 (at most `block`)
  int64_t block;   // columns of every other block but the last
  int64_t blocks;  // number of blocks
  int64_t width;   // `block` rounded up to kPad
  const float* x;
  const float* sx;         // [tokens, blocks], or null: 1
  const float* const* sw;  // [kStripRows] → [blocks], the last row's repeated; null when sx is
  float* sum;              // out: [rows, tokens]
};

constexpr int64_t kPad = 16;

// One instruction set. `quantize` agrees in every bit with all others, `strip` does not.
struct CpuKernel {
  const QuantizeLoops& quantize;
  void (*strip)(const Strip& strip);
};

const CpuKernel& PortableKernel();
const CpuKernel* Avx2Kernel();  // null when not compiled in; needs AVX2, FMA and F16C to be called

// Validated group, workspace of WorkspaceSize. Called through the rows of kernels/dispatch.cc.
LinearStatus RunCpu(const CpuKernel& kernel, const LinearGroup& group, void* workspace,
                    LinearPool* pool);

}  // namespace ferrule
