// SPDX-License-Identifier: Apache-2.0
// What rules cost to read, and one answer to ask for: a scheme from a plan, an entry from a list.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "engine/ferrule.h"
#include "engine/lists/skip_list.h"
#include "engine/plan/book.h"
#include "engine/plan/plan.h"
#include "tests/bench/bench.h"

using namespace ferrule;
using namespace ferrule::bench;

namespace {

constexpr int kRuns = 21;
const std::string kRoot = FERRULE_TEST_DATA "/..";

template <typename Body>
std::vector<double> Times(const Body& body) {
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const double start = CpuMs();
    body();
    times.push_back(CpuMs() - start);
  }
  return times;
}

void Rules() {
  Table table(fmt::format(
      "rules: text to compiled, as for a plan, without `tests:`; median of {} runs", kRuns));
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot + "/rules"))
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    bool good = true;
    const double ms = Median(Times([&] {
      Diagnostics out;
      const auto rules = ParseRuleFile(path.string(), text, &out, Tests::kLeave);
      good = good && rules != nullptr && rules->sound;
    }));
    table.AtMost(path.filename().string() + (good ? "" : " (REFUSED)"), ms, 3, "ms");
  }
  table.Shown("the whole book with its dialects, from the files", Median(Times([] {
                Diagnostics out;
                BookOptions options;
                options.directories = {kRoot + "/rules"};
                LoadBook(options, &out);
              })),
              "ms");
}

// ns for one call of `ask`, over all names, in the best run: a neighbour on the same core can only
// slow it down; what is answered is summed up so that it is needed.
template <typename Ask>
double Nanoseconds(const std::vector<std::string>& names, const Ask& ask, size_t* sum) {
  return 1e6 / static_cast<double>(names.size()) * Least(Times([&] {
           for (const std::string& name : names) *sum += ask(name);
         }));
}

// The linears that a server builds: fused modules in place of their parts, experts of a layer as
// one.
std::vector<std::string> ServedBy(const Decisions& decisions) {
  std::vector<bool> part(decisions.units.units.size(), false);
  for (const Unit& unit : decisions.units.units)
    for (const int32_t id : unit.parts) part[static_cast<size_t>(id)] = true;
  std::vector<std::string> names;
  for (size_t u = 0; u < decisions.units.units.size(); ++u) {
    const Unit& unit = decisions.units.units[u];
    if (unit.container < 0 && !part[u] && (IsLinear(unit.kind) || unit.kind == NodeKind::kFused))
      for (int32_t i = 0; i < unit.count; ++i) names.push_back(unit.PathOf(i));
  }
  for (const Container& container : decisions.units.containers)
    names.push_back(Concrete(container.path, container.numbers));
  return names;
}

// For engines_bench.py: the names, what one answer takes, which of them are not quantized.
int Served() {
  const auto book = RuleBook::Load();
  if (!book) return fmt::print(stderr, "{}\n", book.error().message), 1;
  const auto plan = book->Plan(kRoot + "/examples/qwen3_next_fp8");
  if (!plan) return fmt::print(stderr, "{}\n", plan.error().message), 1;
  const std::vector<std::string> names = ServedBy(plan->internal().decisions);
  std::vector<std::string> often;
  while (often.size() < 100'000) often.insert(often.end(), names.begin(), names.end());
  size_t sum = 0;
  const double ns = Nanoseconds(
      often, [&](const auto& name) { return plan->SchemeOf(name).size(); }, &sum);
  std::vector<std::string> skipped;
  std::copy_if(names.begin(), names.end(), std::back_inserter(skipped),
               [&](const std::string& name) { return plan->SchemeOf(name) == "bf16"; });
  fmt::print("{{\"names\": [\"{}\"], \"ns\": {:.1f}, \"skipped\": [\"{}\"]}}\n",
             fmt::join(names, "\", \""), ns, fmt::join(skipped, "\", \""));
  return sum > 0 ? 0 : 1;
}

int Answers() {
  const auto book = RuleBook::Load();
  if (!book) return fmt::print(stderr, "{}\n", book.error().message), 1;
  const auto plan = book->Plan(kRoot + "/examples/qwen3_next_fp8");
  if (!plan) return fmt::print(stderr, "{}\n", plan.error().message), 1;
  std::vector<std::string> all;  // modules that a checkpoint has, and their fused ones
  const auto& decisions = plan->internal().decisions;
  for (const Unit& unit : decisions.units.units) {
    if (!IsLinear(unit.kind) && unit.kind != NodeKind::kFused) continue;
    for (int32_t i = 0; i < unit.count; ++i) all.push_back(unit.PathOf(i));
  }
  const std::vector<std::string> served = ServedBy(decisions);
  std::vector<std::string> mixed = all;
  std::shuffle(mixed.begin(), mixed.end(), std::mt19937(1));
  size_t sum = 0;
  const auto scheme = [&](const std::string& name) { return plan->SchemeOf(name).size(); };
  Table table(
      fmt::format("one decision of Qwen3-Next: ns for each of n names; best of {} runs", kRuns));
  table.AtMost(fmt::format("SchemeOf: {} modules of a server", served.size()),
               Nanoseconds(served, scheme, &sum), 60, "ns");
  table.AtMost(fmt::format("SchemeOf: {} linears, in the order of the model", all.size()),
               Nanoseconds(all, scheme, &sum), 60, "ns");
  table.Shown("SchemeOf: the same in random order", Nanoseconds(mixed, scheme, &sum), "ns");

  Diagnostics out;
  BookOptions options;
  options.directories = {kRoot + "/rules"};
  const auto rules = LoadBook(options, &out);
  double first = 0, last = 0;
  for (const size_t entries : {10u, 100u, 1'000u, 10'000u}) {
    // As Qwen3-Next lists what is not quantized, over as many layers as it takes.
    const char* const kinds[] = {"linear_attn.in_proj_ba", "linear_attn.conv1d", "mlp.gate",
                                 "mlp.shared_expert_gate", "input_layernorm"};
    std::vector<ListEntry> texts;
    for (size_t i = 0; i < entries; ++i)
      texts.push_back({fmt::format("model.layers.{}.{}", i / 5, kinds[i % 5]), {}});
    for (const auto& dialect : rules->dialects) {
      if (dialect->name != "fp8") continue;
      const auto list = SkipList::Compile(*dialect, std::move(texts), {}, &out);
      last = Nanoseconds(
          all, [&](const auto& name) { return list->Match(name) ? 1u : 0u; }, &sum);
      if (entries == 10) first = last;
      table.AtMost(fmt::format("SkipList::Match: {} entries", entries), last, 60, "ns");
    }
  }
  table.AtMost("10,000 entries / 10 entries", last / first, 1.2, "x");
  return sum > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "served") return Served();
  Rules();
  return Answers();
}
