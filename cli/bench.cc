// SPDX-License-Identifier: Apache-2.0
// ferrule bench [--shape NAME=IN:ROWS[b],…] [--tokens M,…] [--peers] [--sweep] [--no-check]
//
// With --svg FILE also a plot. A TSV line for each shape, number of tokens and way to run it; `#`
// lines say where and when.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>

#include "cli/command.h"
#include "engine/text/version.h"
#include "kernels/gpu_bench.h"
#include "kernels/gpu_linear.h"

namespace ferrule::cli {
namespace {

// Linears of released models, one GPU and four; `b`: BF16, `t`: FP8 with one scale, `c`: with one
// for each row. in : rows of each segment.
constexpr const char* kShapes[] = {
    "q3n_qkvz=2048:12288",
    "q3n_ba=2048:64",
    "q3n_out_o=4096:2048",
    "q3n_qkv=2048:9216",
    "q3n_sh_gateup=2048:1024",
    "q3n_sh_down=512:2048",
    "q35_27b_qkvz=5120:16384",
    "q35_27b_qkvgate=5120:14336",
    "q35_27b_out_o=6144:5120",
    "q35_27b_gateup=5120:34816",
    "q35_27b_down=17408:5120",
    "ds_qkv_a=7168:2112",
    "ds_q_b=1536:24576",
    "ds_o=16384:7168",
    "ds_sh_gateup=7168:4096",
    "ds_sh_down=2048:7168",
    "ds_dense_gateup=7168:36864",
    "ds_dense_down=18432:7168",
    "q3n_tp4_qkvz=2048:3072",
    "q3n_tp4_out_o=1024:2048",
    "q3n_tp4_sh_gateup=2048:256",
    "group_q3n_qkvz_ba=2048:12288,64b",
    "group_q3n_shared_router_gate=2048:1024,512b,1b",
    "bf16_q3n_ba=2048:64b",
    "bf16_q3n_router=2048:512b",
    "bf16_q3n_qkvz=2048:12288b",
};

bool Number(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value > 0 &&
         *value <= 0x7FFFFFF;
}

// The parts of `text` between the separators.
std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool ParseShape(std::string_view text, BenchShape* shape) {
  const size_t equals = text.find('='), colon = text.find(':');
  if (equals == std::string_view::npos || colon == std::string_view::npos || colon < equals)
    return false;
  shape->name = text.substr(0, equals);
  if (!Number(text.substr(equals + 1, colon - equals - 1), &shape->in)) return false;
  for (std::string_view rows : Split(text.substr(colon + 1), ',')) {
    BenchSegment segment;
    const char scheme = rows.empty() ? ' ' : rows.back();
    if (scheme == 'b') segment.scheme = LinearScheme::kBf16;
    if (scheme == 't') segment.scheme = LinearScheme::kFp8Tensor;
    if (scheme == 'c') segment.scheme = LinearScheme::kFp8Channel;
    if (segment.scheme != LinearScheme::kFp8Block) rows.remove_suffix(1);
    if (!Number(rows, &segment.rows)) return false;
    shape->segments.push_back(segment);
  }
  return true;
}

constexpr double kMuchLonger = 1.25;

struct Way {
  std::string name;
  GpuChoice choice;
  BenchShape shape;  // none: the asked one
  bool check = true;
};

int64_t Ctas(int64_t size, int tile) { return (size + tile - 1) / tile; }

// kernels/large_m_linear.cuh: tiles, and either K shared out or x and W shared.
void AddLarge(int64_t tokens, int64_t rows, std::vector<Way>* ways) {
  for (const int token_tile : {64, 128, 256})
    for (const int row_tile : {32, 64, 80, 96, 112, 128, 160, 192})
      for (const int slices : {1, 2, 3, 4, 6, 8})
        for (const int share : {1, 2, -2})
          for (const int resident : {1, 2}) {
            // Those that cannot be better are left out: a sweep is long enough.
            const int size = token_tile * row_tile;
            if (!LargeTileExists(token_tile, row_tile) || token_tile >= 2 * tokens) continue;
            if (resident > LargeResident(token_tile, row_tile)) continue;
            if (resident > 1 && (share != 1 || slices > 1 || tokens > 128)) continue;
            if (slices > 1 && (share != 1 || row_tile > 128)) continue;
            if (slices > 1 && tokens > (slices > 3 ? 256 : 1024)) continue;
            if (slices > 1 && Ctas(tokens, token_tile) * Ctas(rows, row_tile) * slices > 160)
              continue;
            if (share < 0 && tokens <= token_tile) continue;
            // Small tiles only where there are few of them.
            const int64_t tiles = Ctas(tokens, token_tile) * Ctas(rows, row_tile);
            if (((token_tile == 64 && tokens > 512) || (size < 128 * 128 && tokens > 1024)) &&
                tiles > 264)
              continue;
            GpuChoice choice;
            choice.kernel = GpuKernel::kLarge;
            choice.large = {token_tile, row_tile, slices, share, resident};
            ways->push_back({fmt::format("large t{} r{} s{} x{} c{}", token_tile, row_tile, slices,
                                         share, resident),
                             choice,
                             {}});
          }
}

// What others would run: cuBLASLt behind our quantizer, its products alone, and all in BF16.
void AddPeers(const BenchShape& shape, std::vector<Way>* ways) {
  GpuChoice choice;
  choice.kernel = GpuKernel::kLt;
  Way whole{"peer quantizer + cublaslt", choice, {}};
  Way bf16{"peer cublaslt bf16", choice, shape, false};
  for (BenchSegment& segment : bf16.shape.segments) segment.scheme = LinearScheme::kBf16;
  const bool quantizes = std::any_of(shape.segments.begin(), shape.segments.end(),
                                     [](const BenchSegment& s) { return !s.bf16(); });
  if (quantizes) {
    ways->push_back(whole);
    choice.x_is_quantized = true;
    ways->push_back({"peer cublaslt alone", choice, {}, false});
  }
  ways->push_back(bf16);
}

// By rule; with --peers also what others would run, with --sweep every way that could be better.
std::vector<Way> WaysOf(const BenchShape& shape, int64_t tokens, int64_t rows,
                        const BenchOptions& options) {
  std::vector<Way> ways = {{"rule", {}, {}}};
  if (options.peers) AddPeers(shape, &ways);
  if (!options.sweep) return ways;
  for (const auto& [name, kernel] : {std::pair{"lt", GpuKernel::kLt}, {"mma", GpuKernel::kMma}}) {
    GpuChoice choice;
    choice.kernel = kernel;
    ways.push_back({name, choice, {}});
  }
  if (tokens <= kSmallTokens)
    for (const int slices : {1, 2, 4, 8, 16})
      for (const int halves : {1, 2})
        for (const int ahead : {SmallChoice::kAfterX, 9, SmallChoice::kAtOnce})
          for (const int quantized : {0, 1}) {
            if (quantized == 1 && tokens < 8) continue;
            GpuChoice choice;
            choice.kernel = GpuKernel::kSmall;
            choice.small.slices = slices;
            choice.small.halves = halves;
            choice.small.ahead = ahead;
            choice.small.quantized = quantized;
            const char* next = ahead == 9 ? "late" : ahead > 9 ? "once" : "x";
            ways.push_back({fmt::format("small s{} h{} {}{}", slices, halves, next,
                                        quantized == 1 ? " q" : ""),
                            choice,
                            {}});
          }
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
  if (tokens > kSmallTokens) AddLarge(tokens, rows, &ways);
  return ways;
}

std::string Today() {
  const std::time_t now = std::time(nullptr);
  char text[32] = {};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
  return text;
}

}  // namespace

int Bench(const Common& common, const BenchOptions& options) {
  Diagnostics findings;
  std::vector<BenchShape> shapes;
  std::vector<std::string> texts = options.shapes;
  if (texts.empty()) texts.assign(std::begin(kShapes), std::end(kShapes));
  for (const std::string& text : texts) {
    BenchShape shape;
    if (!ParseShape(text, &shape)) {
      findings.Add(Code::kUsage, fmt::format("`{}` is no shape", text))
          .Help(
              "NAME=IN:ROWS,ROWS…, with a letter after the rows of segments that are not FP8 "
              "blocks: "
              "`b` BF16, `t` FP8 with one scale, `c` with one for each row");
      return Finish(common, "bench", findings);
    }
    shapes.push_back(std::move(shape));
  }
  std::string failure;
  const std::unique_ptr<GpuBench> bench = GpuBench::Create(&failure);
  if (!bench) {
    findings.Add(Code::kIo, fmt::format("no benchmark without a GPU: {}", failure));
    return Finish(common, "bench", findings);
  }
  const GpuBench::Device& device = bench->device();
  std::string table;
  const auto print = [&table](const std::string& text) {
    table += text;
    Print(text);
  };
  print(fmt::format("# ferrule {} {}, {}, {}, CUDA {}, reads {:.3f} TB/s\n", kVersion,
                    options.commit.empty() ? "unknown commit" : options.commit, Today(),
                    device.name, device.driver, device.bandwidth * 1e-12));
  print("shape\tM\tN\tK\tway\tus\tspread\tfloor_us\tof_floor\terror\tsame_bits\tcopies\n");
  bool failed = false;
  // By tokens: cells of much work lower the clocks of what comes after them.
  for (const int64_t tokens : options.tokens)
    for (const BenchShape& shape : shapes) {
      int64_t rows = 0;
      for (const BenchSegment& segment : shape.segments) rows += segment.rows;
      double fastest = 0;  // of a sweep; what takes much longer is not worth its time
      for (const Way& way : WaysOf(shape, tokens, rows, options)) {
        const bool check = options.check && way.check;
        const BenchResult r =
            bench->Run(way.shape.segments.empty() ? shape : way.shape, tokens, way.choice, check,
                       options.sweep ? kMuchLonger * fastest : 0);
        const std::string where =
            fmt::format("{}\t{}\t{}\t{}\t{}", shape.name, tokens, rows, shape.in, way.name);
        if (!r.failure.empty()) {
          failed = failed || way.name == "rule";
          print(fmt::format("# {}: {}\n", where, r.failure));
          continue;
        }
        if (r.gave_up) {
          print(fmt::format("# {}: {:.2f} us in one replay, the fastest takes {:.2f}\n", where,
                            r.microseconds, fastest));
          continue;
        }
        if (fastest == 0 || r.microseconds < fastest) fastest = r.microseconds;
        print(fmt::format("{}\t{:.2f}\t{:.3f}\t{:.2f}\t{:.3f}\t{}\t{}\t{}\n", where, r.microseconds,
                          r.spread, r.floor_us, r.floor_us / r.microseconds,
                          check ? fmt::format("{:.2e}", r.error) : "",
                          check ? (r.same_bits ? "yes" : "NO") : "", r.copies));
        failed = failed || (check && !(r.error < 4e-4));
      }
    }
  if (!options.sweep)
    Print(fmt::format("# host time of a call: {:.2f} us\n", bench->HostCost(shapes[0], 1)));
  if (!options.svg.empty() && !WritePlot(table, "the table", options.svg, &findings))
    return Finish(common, "bench", findings);
  return failed ? 1 : 0;
}

}  // namespace ferrule::cli
