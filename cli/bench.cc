// SPDX-License-Identifier: Apache-2.0
// ferrule bench [--shape NAME=IN:SEGMENTS… | --plan DIR [--tp N [--rank R]]] [--tokens M,…]
//               [--peers [--python PYTHON]] [--sweep]
//
// With --svg FILE also a plot. A TSV line for each shape, number of tokens and way to run it; `#`
// lines say where and when.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>

#include "cli/bench_header.h"
#include "cli/bench_packages.h"
#include "cli/bench_shapes.h"
#include "cli/bench_ways.h"
#include "cli/command.h"
#include "cli/output_file.h"
#include "kernels/gpu_bench.h"

namespace ferrule::cli {
namespace {

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

// Of a sweep: a way that takes so much longer than the fastest so far is not measured further; so
// many at most take turns in the end, those that took at most so much longer. More where --heat
// asks for what is fastest at the power limit: that may be slower in a GPU that has rested.
constexpr double kMuchLonger = 1.25, kLonger = 1.1, kLongerHeated = 1.2;
constexpr size_t kFinals = 8, kFinalsHeated = 12;

constexpr double kBound = 2e-4;  // of BenchCheck::error

// A shape and a number of tokens.
struct Cell {
  const BenchShape* shape;
  int64_t tokens, rows;
  std::vector<Way> ways;
  std::vector<BenchCheck> checks;  // of each way

  BenchWay At(size_t i) const {
    return {ways[i].shape.segments.empty() ? *shape : ways[i].shape, ways[i].choice, ways[i].tokens,
            ways[i].quantizer};
  }
};

// By tokens: cells of much work lower the clocks of what comes after them.
std::vector<Cell> Cells(const std::vector<BenchShape>& shapes, const BenchOptions& options) {
  std::vector<Cell> cells;
  for (const int64_t tokens : options.tokens)
    for (const BenchShape& shape : shapes) {
      const int64_t rows = shape.rows();
      std::vector<Way> ways = WaysOf(shape, tokens, rows, options);
      std::vector<BenchCheck> checks(ways.size());
      cells.push_back({&shape, tokens, rows, std::move(ways), std::move(checks)});
    }
  return cells;
}

// Ways of a sweep one after the other; then the fastest take turns, since one alone may have met
// other clocks than the next. Those that did not are left as they were, with `gave_up`.
// Only those are heated.
std::vector<BenchTime> Sweep(GpuBench* bench, const std::vector<BenchWay>& ways, int64_t tokens,
                             const BenchHeat& heat) {
  std::vector<BenchTime> times;
  std::vector<size_t> order;
  double fastest = 0;
  // Once for nothing: the clocks are still those that the cell before left.
  static_cast<void>(bench->Time({ways[0]}, tokens, {0}));
  for (size_t i = 0; i < ways.size(); ++i) {
    const double enough = fastest > 0 ? kMuchLonger * fastest : std::numeric_limits<double>::max();
    times.push_back(bench->Time({ways[i]}, tokens, {0}, enough)[0]);
    const BenchTime& time = times.back();
    if (!time.failure.empty() || time.gave_up) continue;
    if (fastest == 0 || time.microseconds < fastest) fastest = time.microseconds;
    order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return times[a].microseconds < times[b].microseconds; });
  std::vector<BenchWay> finals;
  const bool heated = heat.seconds > BenchHeat().seconds;
  const size_t most = heated ? kFinalsHeated : kFinals;
  const double longer = heated ? kLongerHeated : kLonger;
  for (const size_t i : order) {
    if (finals.size() == most || times[i].microseconds > longer * fastest) {
      times[i].gave_up = true;
    } else {
      finals.push_back(ways[i]);
    }
  }
  const std::vector<BenchTime> again = bench->Time(finals, tokens, heat);
  for (size_t i = 0; i < finals.size(); ++i) times[order[i]] = again[i];
  return times;
}

// What packages run before they are timed, in milliseconds, and ours beside them.
constexpr int kPackageHeat = 300;

int HeatMs(const BenchOptions& options) { return options.heat_ms.value_or(kPackageHeat); }

BenchHeat HeatOf(const BenchOptions& options) {
  if (!options.heat_ms && options.python.empty()) return {};
  return {1e-3 * HeatMs(options), true};
}

// What a way of a cell took.
struct Taken {
  double microseconds = 0, spread = 0;
  std::string error, same_bits;  // empty: not checked
};

// A line of the table. Of floors that are not known nothing is said.
std::string Row(const std::string& where, const Taken& taken, const BenchTime& floors) {
  return fmt::format("{}\t{:.2f}\t{:.3f}\t{:.2f}\t{:.3f}\t{}\t{}\t{}\t{:.3f}\t{}\n", where,
                     taken.microseconds, taken.spread, floors.floor_us(),
                     floors.floor_us() / taken.microseconds, taken.error, taken.same_bits,
                     floors.copies, floors.bytes_us,
                     floors.flops_us > 0 ? fmt::format("{:.3f}", floors.flops_us) : "");
}

// Lines of what the packages of an interpreter take for the cells that are one linear in FP8
// blocks.
template <typename Printer>
void MeasurePackages(const std::vector<PackageCell>& cells, const std::vector<BenchTime>& floors,
                     const BenchOptions& options, const Printer& print) {
  const auto take = [&](const std::string& line) {
    const std::vector<std::string_view> words = Split(line, '\t');
    size_t i = cells.size();
    double us = 0, spread = 0;
    const auto read = [&words](size_t n, auto* value) {
      const char* const end = words[n].data() + words[n].size();
      const auto [stop, error] = std::from_chars(words[n].data(), end, *value);
      return error == std::errc() && stop == end;
    };
    if (words.size() != 4 || !read(0, &i) || i >= cells.size() || !read(2, &us) ||
        !read(3, &spread) || !(us > 0)) {
      print((line.rfind('#', 0) == 0 ? "" : "# ") + line + "\n");
      return;
    }
    const PackageCell& c = cells[i];
    const std::string where =
        fmt::format("{}\t{}\t{}\t{}\tpeer {}", c.name, c.tokens, c.rows, c.in, words[1]);
    print(Row(where, {us, spread, "", ""}, floors[i]));
  };
  std::string failure;
  if (!TimePackages(options.python, cells, HeatMs(options), take, &failure))
    print(fmt::format("# peers of {}: {}\n", options.python, failure));
}

// One linear in FP8 blocks, none of them cut: what the packages take.
bool IsPlain(const BenchShape& shape) {
  const BenchSegment& s = shape.segments[0];
  return shape.segments.size() == 1 && s.scheme == LinearScheme::kFp8Block && s.n_phase == 0 &&
         s.k_phase == 0 && !s.ue8m0;
}

// A line for each way of each cell. Returns whether one failed.
template <typename Printer>
bool Measure(GpuBench* bench, std::vector<Cell> cells, const BenchOptions& options,
             const Printer& print) {
  bool failed = false;
  const BenchHeat heat = HeatOf(options);
  std::vector<PackageCell> for_packages;
  std::vector<BenchTime> floors;
  for (Cell& cell : cells)
    for (size_t i = 0; i < cell.ways.size() && options.check; ++i)
      if (cell.ways[i].check) cell.checks[i] = bench->Check(cell.At(i), cell.tokens);
  for (const Cell& cell : cells) {
    std::vector<BenchWay> ways;
    for (size_t i = 0; i < cell.ways.size(); ++i) ways.push_back(cell.At(i));
    const std::vector<BenchTime> times = options.sweep ? Sweep(bench, ways, cell.tokens, heat)
                                                       : bench->Time(ways, cell.tokens, heat);
    if (IsPlain(*cell.shape)) {
      for_packages.push_back(
          {cell.shape->name, cell.tokens, cell.shape->in, cell.rows, times[0].copies});
      floors.push_back(times[0]);
    }
    for (size_t i = 0; i < ways.size(); ++i) {
      const BenchTime& time = times[i];
      const BenchCheck& check = cell.checks[i];
      const bool checked = options.check && cell.ways[i].check && !check.too_large;
      const std::string where = fmt::format("{}\t{}\t{}\t{}\t{}", cell.shape->name, cell.tokens,
                                            cell.rows, cell.shape->in, cell.ways[i].name);
      const std::string& failure = time.failure.empty() ? check.failure : time.failure;
      if (!failure.empty()) {
        failed = failed || cell.ways[i].name == "rule";
        print(fmt::format("# {}: {}\n", where, failure));
        continue;
      }
      if (time.gave_up) {
        print(fmt::format("# {}: {:.2f} us, not among the fastest\n", where, time.microseconds));
        continue;
      }
      if (check.too_large) print(fmt::format("# {}: too large to check\n", where));
      Taken taken{time.microseconds, time.spread, "", ""};
      if (checked) taken.error = fmt::format("{:.2e}", check.error);
      if (checked) taken.same_bits = check.same_bits ? "yes" : "NO";
      print(Row(where, taken, time));
      const bool same = check.same_bits || cell.ways[i].name != "rule";
      failed = failed || (checked && (!(check.error < kBound) || !same));
    }
  }
  if (!options.python.empty()) MeasurePackages(for_packages, floors, options, print);
  return failed;
}

// What the host takes for a call: of the first shape at one token, and the most of any shape;
// prepared likewise; and for a launch, of which a call that is not prepared has one or two.
std::string HostTimes(GpuBench* bench, const std::vector<BenchShape>& shapes) {
  struct Cost {
    double first = 0, most = 0;
    std::string where;
  };
  Cost call, prepared, added, moved;
  for (const int64_t tokens : {1, 64})
    for (const BenchShape& shape : shapes) {
      const BenchHostCost cost = bench->HostCost(shape, tokens);
      const auto add = [&](double us, Cost* to) {
        if (to->first == 0) to->first = us;
        if (us <= to->most) return;
        to->most = us;
        to->where = fmt::format("{}, {} tokens", shape.name, tokens);
      };
      add(cost.call, &call);
      add(cost.prepared, &prepared);
      add(cost.added, &added);
      add(cost.moved, &moved);
    }
  const auto text = [](const Cost& cost) {
    return fmt::format("{:.2f} us, at most {:.2f} ({})", cost.first, cost.most, cost.where);
  };
  return fmt::format(
      "# host time of a call: {}; prepared: {}; prepared for two x and y in turn: {}; with x and y "
      "that were not: {}; of launching nothing: {:.2f}\n",
      text(call), text(prepared), text(added), text(moved), bench->LaunchCost());
}

// Of a plan: where its shapes are from, and how many modules have each.
std::string ListRemarks(const BenchList& list) {
  std::string text = list.remarks;
  for (size_t i = 0; i < list.modules.size(); ++i)
    text += fmt::format("# {}={}:{}: {} {}\n", list.shapes[i].name, list.shapes[i].in,
                        SegmentsText(list.shapes[i]), list.modules[i],
                        list.modules[i] == 1 ? "module" : "modules");
  return text;
}

}  // namespace

int Bench(const Common& common, const BenchOptions& options) {
  Diagnostics findings;
  const std::optional<BenchList> list = ShapesToTime(common, options, &findings);
  if (!list) return Finish(common, "bench", findings);
  const auto planned = options.plan.empty() ? nullptr : ReadCheckpoint(options.plan, &findings);
  if (!options.svg.empty() && !MayWrite({"--svg", options.svg}, {planned.get(), {}}, &findings))
    return Finish(common, "bench", findings);
  const std::vector<BenchShape>& shapes = list->shapes;
  std::string failure;
  const std::unique_ptr<GpuBench> bench = GpuBench::Create(&failure);
  if (!bench) {
    findings.Add(Code::kIo, fmt::format("no benchmark without a GPU: {}", failure));
    return Finish(common, "bench", findings);
  }
  std::string table;
  const auto print = [&table](const std::string& text) {
    table += text;
    Print(text);
  };
  const GpuBench::Device& device = bench->device();
  PrintBenchHeader(options.commit, {device.name, device.cuda, device.bandwidth}, &table);
  if (device.fp8_rate == 0)
    print("# this GPU's rate of products is not known: floors are those of bytes\n");
  const BenchHeat heat = HeatOf(options);
  print(fmt::format("# each way ran for {:.0f} ms before its turns{}\n", 1e3 * heat.seconds,
                    heat.always ? "" : " where a call of one takes more than 50 us"));
  print(ListRemarks(*list));
  print(
      "shape\tM\tN\tK\tway\tus\tspread\tfloor_us\tof_floor\terror\tsame_bits\tcopies\tbytes_"
      "us\tflops_us\n");
  const bool failed = Measure(bench.get(), Cells(shapes, options), options, print);
  if (!options.sweep) Print(HostTimes(bench.get(), shapes));
  if (!options.svg.empty() && !WritePlot(table, "the table", options.svg, &findings))
    return Finish(common, "bench", findings);
  return failed ? 1 : 0;
}

}  // namespace ferrule::cli
