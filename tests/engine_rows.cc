// SPDX-License-Identifier: Apache-2.0
#include "tests/engine_rows.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "engine/lists/name_match.h"
#include "engine/text/file.h"

namespace ferrule::test {
namespace fs = std::filesystem;

std::vector<JsonValue> ReadRows(const std::string& path) {
  std::vector<JsonValue> rows;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    Diagnostics none;
    const auto row = ParseJson(path, line, {}, &none);
    if (row && row->Find("config")) rows.push_back(*row);
  }
  return rows;
}

std::map<std::string, std::string> ExpandModules(const JsonValue& modules) {
  std::map<std::string, std::string> out;
  for (const JsonValue list : modules) {
    for (const JsonValue item : list) {
      std::vector<std::string> names = {""};
      std::string_view rest = item.Text();
      while (!rest.empty()) {
        const size_t open = rest.find('{');
        for (std::string& name : names) name += rest.substr(0, open);
        if (open == std::string_view::npos) break;
        const size_t close = rest.find('}', open);
        std::vector<std::string> numbers;
        std::string runs(rest.substr(open + 1, close - open - 1));
        for (size_t at = 0; at < runs.size();) {
          const size_t comma = std::min(runs.find(',', at), runs.size());
          const std::string run = runs.substr(at, comma - at);
          const size_t dash = run.find('-');
          const int first = std::stoi(run);
          const int last = dash == std::string::npos ? first : std::stoi(run.substr(dash + 1));
          for (int n = first; n <= last; ++n) numbers.push_back(std::to_string(n));
          at = comma + 1;
        }
        std::vector<std::string> longer;
        for (const std::string& name : names)
          for (const std::string& number : numbers) longer.push_back(name + number);
        names = std::move(longer);
        rest.remove_prefix(close + 1);
      }
      for (std::string& name : names) out[std::move(name)] = list.name();
    }
  }
  return out;
}

std::string Template(std::string_view name) {
  std::string out;
  for (const std::string_view segment : Segments(name)) {
    if (!out.empty()) out += '.';
    const bool number = segment.find_first_not_of("0123456789") == std::string_view::npos;
    out += (number && !segment.empty()) || HasText("{", segment) ? "{}" : segment;
  }
  return out;
}

// The description of a fixture: in a file of its own or in its config.json.
JsonValue DescriptionIn(const std::string& directory, Diagnostics* out) {
  const std::string apart = directory + "/quantization_config.json";
  const std::string name = fs::exists(apart) ? apart : directory + "/config.json";
  const auto text = ReadFile(name, 1 << 24, Code::kNotFound, out);
  const auto json = text ? ParseJson(name, *text, {}, out) : std::nullopt;
  if (!json) return {};
  return fs::exists(apart) ? *json : json->Find("quantization_config");
}

std::unique_ptr<Planned> MakePlanned(const std::string& root, const Recorded& recorded,
                                     const Book& book, const Runtime& runtime, int tp) {
  auto planned = std::make_unique<Planned>();
  Diagnostics out;
  const std::string fixtures = root + "/tests/fixtures/";
  const bool given = bool(recorded.given);
  const bool other = !recorded.model.empty() || given;
  auto checkpoint =
      OpenCheckpoint(fixtures + (recorded.model.empty() ? recorded.fixture : recorded.model), &out);
  if (checkpoint && other) {  // sizes of one, description of another
    checkpoint->quantization_config = given ? recorded.given
                                      : recorded.model == recorded.fixture
                                          ? JsonValue()
                                          : DescriptionIn(fixtures + recorded.fixture, &out);
    if (given) checkpoint->hf_quant_config = {};
    checkpoint->has_headers = false;
    checkpoint->table = {};
  }
  if (checkpoint && recorded.injected) {
    checkpoint->quantization_config = checkpoint->hf_quant_config.Find("quantization");
    checkpoint->hf_quant_config = {};
  }
  if (checkpoint)
    planned->plan =
        MakePlan(book, std::make_shared<const Checkpoint>(std::move(*checkpoint)), {tp}, &out);
  Diagnostics found;
  if (planned->plan) planned->as = ComparePlan(*planned->plan, runtime, &found);
  if (!planned->as) planned->text = ToHuman(out, false) + ToHuman(found, false);
  return planned;
}

}  // namespace ferrule::test
