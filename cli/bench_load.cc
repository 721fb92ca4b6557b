// SPDX-License-Identifier: Apache-2.0
// ferrule bench --load DIR [--tp N [--rank R]] [--readers N,…]
//
// Loads every linear of a checkpoint to the GPU and says how fast, against what reading alone and
// copying alone reach with the same pieces and threads, and how much host memory it took. A TSV
// line for each number of readers; a `#` line says where and when.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "cli/bench_header.h"
#include "cli/command.h"
#include "cli/run_device.h"
#include "engine/plan/plan.h"
#include "kernels/linear_gpu.h"

namespace ferrule::cli {
namespace {

// What is stored and runs, part by part.
std::vector<LoadRequest> Linears(const Plan& plan, int rank) {
  const Decisions& d = plan.decisions;
  std::vector<LoadRequest> requests;
  for (const Unit& unit : d.units.units)
    for (int32_t i = 0; IsLinear(unit.kind) && i < unit.count; ++i) {
      const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
      if (module.absent || module.scheme < 0 || unit.stack > 0) continue;
      if (d.quant.schemes[static_cast<size_t>(module.scheme)].executed())
        requests.push_back({unit.first + i, rank});
    }
  return requests;
}

// What it reads is not measured.
BenchDevice CurrentDevice() {
  cudaDeviceProp properties{};
  int device = 0, driver = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, device) != cudaSuccess ||
      cudaDriverGetVersion(&driver) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {"unknown device", "unknown", 0};
  }
  return {properties.name, fmt::format("{}.{}", driver / 1000, driver % 1000 / 10), 0};
}

// The most memory that this process has had in use, in bytes; 0 where the system does not say.
uint64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

// The peak of memory begins anew with what there is now; where that is refused it stays, and what
// grows beyond it counts.
uint64_t StartOfPeak() {
  std::ofstream("/proc/self/clear_refs") << "5";
  return PeakMemory();
}

}  // namespace

int BenchLoad(const Common& common, const BenchOptions& options) {
  Diagnostics findings;
  const char* refused = GpuRefuses();
  if (refused != nullptr) {
    findings.Add(Code::kIo, fmt::format("no benchmark without a GPU: {}", refused));
    return Finish(common, "bench", findings);
  }
  const auto checkpoint = ReadCheckpoint(options.load, &findings);
  if (!checkpoint) return Finish(common, "bench", findings);
  const auto book = ReadBookFor(common, *checkpoint, &findings);
  std::optional<Plan> plan;
  if (book) plan = ferrule::MakePlan(*book, checkpoint, {options.tp}, &findings);
  if (!plan || findings.has_errors()) return Finish(common, "bench", findings);
  const std::vector<LoadRequest> requests = Linears(*plan, options.rank);
  std::string table;
  PrintBenchHeader(options.commit, CurrentDevice(), &table);
  Print("readers\tGB\tseconds\tGB_s\tpage_cache_GB_s\tPCIe_GB_s\tof_slower\tpinned_MB\thost_MB\n");
  ProgressLine line(isatty(STDERR_FILENO) != 0);
  for (const int readers : options.readers) {
    DeviceLoadOptions load;
    load.readers = readers;
    load.progress = LoadBar(&line);
    Diagnostics own;
    const uint64_t before = StartOfPeak();
    line.Begin();
    const auto model = DeviceModel::Load(*plan, requests, load, &own);
    line.End();
    const uint64_t grown = std::max(PeakMemory(), before) - before;
    if (!model || !model->MeasureLimits(*plan, requests, load, UINT64_MAX, &own))
      return Finish(common, "bench", own);
    const LoadSpeed& s = model->speed();
    Print(fmt::format("{}\t{:.3f}\t{:.3f}\t{:.2f}\t{:.2f}\t{:.2f}\t{:.3f}\t{:.0f}\t{:.0f}\n",
                      readers, static_cast<double>(s.bytes) * 1e-9, s.seconds, s.both * 1e-9,
                      s.page_cache * 1e-9, s.pcie * 1e-9, s.both / std::min(s.page_cache, s.pcie),
                      static_cast<double>(s.pinned) * 1e-6, static_cast<double>(grown) * 1e-6));
  }
  return 0;
}

}  // namespace ferrule::cli
