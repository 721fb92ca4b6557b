// SPDX-License-Identifier: Apache-2.0
// ferrule bench --from TABLE --svg FILE: the plot of a table that was printed before; needs no GPU.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/roofline.h"
#include "engine/text/file.h"

namespace ferrule::cli {

bool WritePlot(const std::string& table, const std::string& name, const std::string& path,
               Diagnostics* findings) {
  if (table.starts_with("readers\t") || table.find("\nreaders\t") != std::string::npos) {
    findings
        ->Add(Code::kUsage, "the table is one of `ferrule bench --load`, of which there is no plot",
              {nullptr, name, 0, 0, 0, ""})
        .Help("name a table as `ferrule bench` writes it, kernels/receipts holds some");
    return false;
  }
  std::vector<BenchCell> cells;
  std::string about;
  int wrong = 0;
  if (!ReadBench(table, &cells, &about, &wrong)) {
    findings
        ->Add(Code::kUsage, "the line is none that `ferrule bench` prints",
              {nullptr, name, wrong, 0, 0, ""})
        .Help("name a table as `ferrule bench` writes it, kernels/receipts holds some");
    return false;
  }
  if (cells.empty()) {
    findings
        ->Add(Code::kUsage, "the table has no line of way `rule`, so there is nothing to plot",
              {nullptr, name, 0, 0, 0, ""})
        .Help("`ferrule bench` without `--sweep` prints such lines");
    return false;
  }
  return WriteText(path, Roofline(cells, about), findings);
}

int BenchPlot(const Common& common, const BenchOptions& options) {
  Diagnostics findings;
  if (!MayWrite({"--svg", options.svg}, {nullptr, {options.from}}, &findings))
    return Finish(common, "bench", findings);
  const auto table = ReadFile(options.from, 64 << 20, Code::kNotFound, &findings);
  if (table && WritePlot(*table, options.from, options.svg, &findings)) return 0;
  return Finish(common, "bench", findings);
}

}  // namespace ferrule::cli
