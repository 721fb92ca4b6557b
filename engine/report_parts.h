// SPDX-License-Identifier: Apache-2.0
// The JSON halves of report.h. Used by report.cc.
#pragma once

#include <string>

#include "engine/report.h"

namespace ferrule {

std::string PlanJson(const Plan* plan, const Diagnostics& findings, const ReportOptions& options);
std::string FindingsJson(const Diagnostics& findings, const ReportOptions& options);
std::string ModuleJson(const Plan& plan, int32_t module);

}  // namespace ferrule
