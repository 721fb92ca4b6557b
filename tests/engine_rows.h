// SPDX-License-Identifier: Apache-2.0
// Recorded rows of serving engines and the plans that they are compared with.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtimes/plan_as.h"

namespace ferrule::test {

// Rows of a file of JSON lines; none when there is no such file. A first line without `config` is a
// header and left out.
std::vector<JsonValue> ReadRows(const std::string& path);

// {"quant": ["a.{0-2,5}.b"]} → a.0.b, a.1.b, a.2.b, a.5.b → quant
std::map<std::string, std::string> ExpandModules(const JsonValue& modules);

// The name with `{}` for each number and each `{…}`.
std::string Template(std::string_view name);

struct Planned {
  std::optional<Plan> plan;
  std::optional<PlanAs> as;
  std::string text;  // findings, when there is no plan
};

struct Recorded {
  std::string fixture;
  std::string model;      // its config.json instead; the fixture itself: without a description
  bool injected = false;  // hf_quant_config.json is read as if it stood in config.json
  JsonValue given = {};   // the description that the engine was given instead
};

// A fixture, planned as the runtime would.
std::unique_ptr<Planned> MakePlanned(const std::string& root, const Recorded& recorded,
                                     const Book& book, const Runtime& runtime, int tp);

}  // namespace ferrule::test
