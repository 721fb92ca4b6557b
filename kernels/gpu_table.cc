// SPDX-License-Identifier: Apache-2.0
#include "kernels/gpu_table.h"

#include <algorithm>
#include <iterator>

namespace ferrule {
namespace {

constexpr GpuKernel kSmall = GpuKernel::kSmall, kTile = GpuKernel::kTile,
                    kLarge = GpuKernel::kLarge;
[[maybe_unused]] constexpr GpuKernel kFewRows = GpuKernel::kFewRows;
[[maybe_unused]] constexpr GpuKernel kLt = GpuKernel::kLt;
constexpr int kAfterX = SmallChoice::kAfterX, kLate = 9, kAtOnce = SmallChoice::kAtOnce;
constexpr int kAny = kAnyTokens;

// In the order of (rows, in, up_to): up to so many tokens, more than the row before.
//   kSmall: slices, halves, ahead, quantized, in_flight (0: by rule)
//   kFewRows: slices, each
//   kTile: token_tile, row_tile, slices, share
//   kLarge: token_tile, row_tile, slices, share, resident
//   kLt: what kLarge is to run where cuBLASLt does not
struct Row {
  int rows, in, up_to;
  GpuKernel kernel;
  int a, b, c, d, e;
};
constexpr Row kRows[] = {
#include "kernels/gpu_table.inc"
};

bool Before(const Row& a, const Row& b) {
  if (a.rows != b.rows) return a.rows < b.rows;
  return a.in != b.in ? a.in < b.in : a.up_to < b.up_to;
}

}  // namespace

int LookUpGpu(int64_t rows, int64_t in, int64_t tokens, GpuChoice* choice) {
  if (tokens > kAny) return 0;
  const Row wanted{
      static_cast<int>(rows), static_cast<int>(in), static_cast<int>(tokens), kTile, 0, 0, 0, 0, 0};
  const Row* row = std::lower_bound(std::begin(kRows), std::end(kRows), wanted, Before);
  if (row == std::end(kRows) || row->rows != rows || row->in != in) return 0;
  choice->kernel = row->kernel;
  if (row->kernel == kSmall) {
    choice->small.slices = row->a;
    choice->small.halves = row->b;
    choice->small.ahead = row->c;
    choice->small.quantized = row->d;
    choice->small.in_flight = row->e;
  } else if (row->kernel == kLarge || row->kernel == kLt) {
    choice->large = {row->a, row->b, row->c, row->d, row->e};
  } else if (row->kernel == kFewRows) {
    choice->few_rows = {row->a, row->b};
  } else if (row->kernel == kTile) {
    choice->tile = {row->a, row->b, row->c, 0, row->d};
  }
  return row->up_to;
}

}  // namespace ferrule
