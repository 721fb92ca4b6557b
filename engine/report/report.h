// SPDX-License-Identifier: Apache-2.0
// A plan and its findings for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "engine/plan/plan.h"
#include "engine/text/diagnostics.h"

namespace ferrule {

inline constexpr int kSchemaVersion = 1;  // of the JSON; raised when a key changes its meaning

enum class Format { kHuman, kShort, kJson };

struct PlanAs;

struct ReportOptions {
  Format format = Format::kHuman;
  bool color = false;
  bool expand = false;  // one entry for every concrete module
  std::string command = "plan";
  std::string model;           // as named on the command line
  int tp = 1;                  // likewise: known also when there is no plan
  const PlanAs* as = nullptr;  // the plan as an engine would make it
};

// {"schema_version": 1, "model": …, "tp": …, "modules": […], "findings": […]} or a table.
// `plan` may be null: then only the findings.
std::string PlanReport(const Plan* plan, const Diagnostics& findings, const ReportOptions& options);

// The findings alone in the chosen format, and in JSON the frame of all reports.
std::string FindingsReport(const Diagnostics& findings, const ReportOptions& options);

// One module with its chain of reasons, for `explain`. `findings`: of the whole plan.
std::string ExplainModule(const Plan& plan, int32_t module, const Diagnostics& findings,
                          const ReportOptions& options);

// "50,508 modules: 136 bf16, 50,372 fp8_block 128x128": as CountSchemes counts them.
std::string CountModules(const Plan& plan);

// "1 error, 0 warnings, 2 notes".
std::string CountFindings(const Diagnostics& findings);

// Number of modules for each scheme in the order of the config, "bf16" first: real linears and
// fused names are counted as a runtime builds them (a fused module once, its parts not).
std::vector<std::pair<std::string, int64_t>> CountSchemes(const Plan& plan);

// "model_type=toy tp=1 modules=13 bf16=5 fp8_block=8 errors=0 …": for a log line.
std::string SummaryLine(const Plan& plan, const Diagnostics& findings);

}  // namespace ferrule
