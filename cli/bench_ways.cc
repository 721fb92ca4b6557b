// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_ways.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/gpu_linear.h"

namespace ferrule::cli {
namespace {

constexpr int64_t kMostSmall = 600;  // CTAs of more than one tile of tokens
constexpr int64_t kMostTokensOfFewRows = 128, kMostFewRows = 4096;
constexpr int64_t kFewTokens = 8;  // up to so many no tile of 64 tokens was ever faster

int64_t Ctas(int64_t size, int tile) { return (size + tile - 1) / tile; }

// kernels/small_m_linear.cu: slices of K, when the next launch comes, boxes that are asked for at
// once (4 by rule), who quantizes; more than one tile of tokens only where there are not many more
// CTAs than fit at once.
void AddSmall(int64_t tokens, int64_t rows, std::vector<Way>* ways) {
  const int64_t tiles = Ctas(rows, kSmallTile) * Ctas(tokens, kSmallTokens);
  for (const int slices : {1, 2, 4, 8, 16}) {
    if (tokens > kSmallTokens && tiles * slices > kMostSmall) continue;
    for (const int halves : {1, 2})
      for (const int ahead : {SmallChoice::kAfterX, 9, SmallChoice::kAtOnce})
        for (const int in_flight : {0, 3})
          for (const int quantized : {0, 1}) {
            GpuChoice choice;
            choice.kernel = GpuKernel::kSmall;
            choice.small.slices = slices;
            choice.small.halves = halves;
            choice.small.ahead = ahead;
            choice.small.in_flight = in_flight;
            choice.small.quantized = quantized;
            const char* next = ahead == 9 ? "late" : ahead > 9 ? "once" : "x";
            ways->push_back({fmt::format("small s{} h{} {}{}{}", slices, halves, next,
                                         in_flight > 0 ? " f3" : "", quantized == 1 ? " q" : ""),
                             choice,
                             {}});
          }
  }
}

// kernels/few_rows_linear.cu: slices of K, blocks of a warp.
void AddFewRows(int64_t tokens, int64_t rows, std::vector<Way>* ways) {
  if (tokens > kMostTokensOfFewRows || rows > kMostFewRows) return;
  for (const int slices : {1, 2, 4, 8})
    for (int each = 1; each <= kFewRowsEach; ++each) {
      GpuChoice choice;
      choice.kernel = GpuKernel::kFewRows;
      choice.few_rows = {slices, each};
      ways->push_back({fmt::format("few s{} e{}", slices, each), choice, {}});
    }
}

// The same cut with every tile of BF16 that it takes, and with a launch of BF16's own.
void AddBf16Tiles(const Way& way, std::vector<Way>* ways) {
  for (const int bf16_tile : {LargeChoice::kApart, 16, 32, 64}) {
    if (bf16_tile > way.choice.large.row_tile) continue;
    ways->push_back(way);
    ways->back().choice.large.bf16_tile = bf16_tile;
    ways->back().name += bf16_tile > 0 ? fmt::format(" b{}", bf16_tile) : " apart";
  }
}

// kernels/large_m_linear.cuh: tiles, and either K shared out or x and W shared.
void AddLarge(int64_t tokens, int64_t rows, bool bf16, std::vector<Way>* ways) {
  for (const int token_tile : {64, 128, 256})
    for (const int row_tile : {32, 64, 80, 96, 112, 128, 160, 192})
      for (const int slices : {1, 2, 3, 4, 6, 8})
        for (const int share : {1, 2, -2})
          for (const int resident : {1, 2}) {
            // Those that cannot be better are left out: a sweep is long enough.
            const int size = token_tile * row_tile;
            if (!LargeTileExists(token_tile, row_tile)) continue;
            if (token_tile > 64 && token_tile >= 2 * tokens) continue;
            if (resident > LargeResident(token_tile, row_tile)) continue;
            if (resident > 1 && (share != 1 || slices > 1 || tokens > 1024)) continue;
            if (slices > 1 && (share != 1 || (row_tile > 128 && slices > 2))) continue;
            if (slices > 1 && tokens > (slices > 4 ? 256 : slices > 2 ? 1024 : 4096)) continue;
            if (slices > 1 &&
                Ctas(tokens, token_tile) * Ctas(rows, row_tile) * slices > kMultiprocessors)
              continue;
            if (share < 0 && tokens <= token_tile) continue;
            if (share != 1 && bf16) continue;
            // Small tiles only where there are few of them.
            const int64_t tiles = Ctas(tokens, token_tile) * Ctas(rows, row_tile);
            if (((token_tile == 64 && tokens > 512) || (size < 128 * 128 && tokens > 1024)) &&
                tiles > 264)
              continue;
            GpuChoice choice;
            choice.kernel = GpuKernel::kLarge;
            choice.large = {token_tile, row_tile, slices, share, resident};
            const Way way{fmt::format("large t{} r{} s{} x{} c{}", token_tile, row_tile, slices,
                                      share, resident),
                          choice,
                          {}};
            if (bf16) {
              AddBf16Tiles(way, ways);
            } else {
              ways->push_back(way);
            }
          }
}

// What others would run: cuBLASLt behind our quantizer, its products alone, and all in BF16; and
// what our quantizer alone takes. In FP8 blocks cuBLASLt wants tokens in fours: its users pad x.
void AddPeers(const BenchShape& shape, int64_t tokens, bool sweep, std::vector<Way>* ways) {
  GpuChoice choice;
  choice.kernel = GpuKernel::kLt;
  const bool blocks =
      std::any_of(shape.segments.begin(), shape.segments.end(),
                  [](const BenchSegment& s) { return s.scheme == LinearScheme::kFp8Block; });
  const bool quantizes = std::any_of(shape.segments.begin(), shape.segments.end(),
                                     [](const BenchSegment& s) { return !s.bf16(); });
  const bool pads = blocks && tokens % 4 != 0;
  const auto add = [&](const char* name, bool check) {
    Way way{name, choice, {}, check};
    if (pads) {
      way.tokens = (tokens + 3) / 4 * 4;
      way.name += fmt::format(", {} tokens", way.tokens);
    }
    ways->push_back(std::move(way));
  };
  if (quantizes) {
    add("peer quantizer + cublaslt", true);
    choice.x_is_quantized = true;
    add("peer cublaslt alone", false);
    choice.x_is_quantized = false;
    Way quantizer{"quantizer", {}, {}, false};
    quantizer.quantizer = true;
    if (!sweep) ways->push_back(std::move(quantizer));  // of a sweep it would be the fastest way
  }
  Way bf16{"peer cublaslt bf16", choice, shape, false};
  for (BenchSegment& s : bf16.shape.segments) s = {s.rows, LinearScheme::kBf16};
  ways->push_back(std::move(bf16));
}

}  // namespace

std::vector<Way> WaysOf(const BenchShape& shape, int64_t tokens, int64_t rows,
                        const BenchOptions& options) {
  std::vector<Way> ways = {{"rule", {}, {}}};
  if (options.peers) AddPeers(shape, tokens, options.sweep, &ways);
  if (!options.sweep) return ways;
  for (const auto& [name, kernel] : {std::pair{"lt", GpuKernel::kLt}, {"mma", GpuKernel::kMma}}) {
    GpuChoice choice;
    choice.kernel = kernel;
    ways.push_back({name, choice, {}});
  }
  AddSmall(tokens, rows, &ways);
  AddFewRows(tokens, rows, &ways);
  for (const int token_tile : {16, 32, 64, 128}) {
    if (tokens > 128 || (token_tile / 2 >= tokens && token_tile > 16)) continue;
    for (const int slices : {1, 2, 4, 8})
      for (const int share : {1, 2}) {
        if (slices * share > 8) continue;
        GpuChoice choice;
        choice.kernel = GpuKernel::kTile;
        choice.tile = {token_tile, 128, slices, 0, share};
        ways.push_back({fmt::format("tile n{} s{} x{}", token_tile, slices, share), choice, {}});
      }
  }
  const bool bf16 = std::any_of(shape.segments.begin(), shape.segments.end(),
                                [](const BenchSegment& s) { return s.bf16(); });
  if (tokens > kFewTokens) AddLarge(tokens, rows, bf16, &ways);
  return ways;
}

}  // namespace ferrule::cli
