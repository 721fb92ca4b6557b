// SPDX-License-Identifier: Apache-2.0
// The JSON halves of report.h, and the frame that all JSON answers share.
#pragma once

#include <string>

#include "engine/report/report.h"
#include "engine/text/json_writer.h"

namespace ferrule {

std::string PlanJson(const Plan* plan, const Diagnostics& findings, const ReportOptions& options);
std::string FindingsJson(const Diagnostics& findings, const ReportOptions& options);
std::string ModuleJson(const Plan& plan, int32_t module, const Diagnostics& findings,
                       const ReportOptions& options);

// {"schema_version": 1, "tool": …, "command": …
void WriteHead(const ReportOptions& options, JsonWriter* out);
// … "findings": […], "summary": {"errors": …, "exit_code": …}
void WriteFindings(const Diagnostics& findings, JsonWriter* out);
// The two by themselves, where a summary counts more or the exit code is not that of the findings.
void WriteFindingList(const Diagnostics& findings, JsonWriter* out);
void WriteCounts(const Diagnostics& findings, int exit_code, JsonWriter* out);

}  // namespace ferrule
