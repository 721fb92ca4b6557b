// SPDX-License-Identifier: Apache-2.0
// How long and how much memory a plan takes, from nothing to everything decided, as `ferrule plan`
// makes it: rules, config, headers, plan. Next to Python that only reads the same files.
//
//   plan_bench [DIRECTORY]    another checkpoint or fixture instead of the built-in ones
//
// Each run is a process of its own, so that no run finds memory that an earlier one has fetched.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/index_file.h"
#include "engine/plan/plan.h"
#include "engine/report/report.h"
#include "engine/text/file.h"
#include "tests/bench/bench.h"
#include "tests/bench/shards.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;
using namespace ferrule::bench;

namespace {

constexpr int kRuns = 21;
const std::string kData = FERRULE_TEST_DATA;

void Check(const Diagnostics& findings) {
  if (!findings.has_errors()) return;
  std::fputs(ToHuman(findings, false).c_str(), stderr);
  std::exit(1);
}

struct Figures {
  double rules = 0, open = 0, plan = 0, report = 0;  // ms
  double peak_mb = 0, tensors = 0, files = 0, mb = 0;
  double all() const { return rules + open + plan; }
};

// In a process of its own: one plan, its figures on stdout.
int PlanOnce(const std::string& directory) {
  Diagnostics findings;
  const double start = CpuMs();
  auto opened = OpenCheckpoint(directory, &findings);
  Check(findings);
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(*opened));
  const double open = CpuMs();
  BookOptions options;
  options.directories = {DefaultRules()};
  options.only_model_type = std::string(checkpoint->config.Find("model_type").Text());
  const QuantSources sources = SourcesOf(*checkpoint, {});
  options.only_sources = &sources;
  const auto book = LoadBook(options, &findings);
  Check(findings);
  const double rules = CpuMs();
  const auto plan = MakePlan(*book, checkpoint, {}, &findings);
  Check(findings);
  const double planned = CpuMs(), peak = PeakMb();
  const double before = CpuMs();
  const size_t size = PlanReport(&*plan, findings, ReportOptions()).size();
  const double reported = size > 0 ? CpuMs() - before : 0;
  fmt::print("{} {} {} {} {} {} {} {}\n", rules - open, open - start, planned - rules, reported,
             peak, checkpoint->tensors().size(), checkpoint->files.size(),
             static_cast<double>(checkpoint->header_bytes) / 1e6);
  return 0;
}

// In a process of its own: the index alone.
int IndexOnce(const std::string& directory) {
  const std::string path = directory + "/model.safetensors.index.json";
  Diagnostics findings;
  const double start = CpuMs();
  const auto text = ReadLargeFile(path, kMaxIndexBytes, Code::kMissingFile, &findings);
  const auto index =
      text ? ParseIndex(path, {text->data(), text->size()}, &findings) : std::nullopt;
  const double stop = CpuMs();
  Check(findings);
  fmt::print("{} {}\n", stop - start, index->names.size());
  return 0;
}

Figures Measure(const std::string& directory) {
  std::vector<double> columns[8];
  for (int run = 0; run < kRuns; ++run) {
    const std::vector<double> figures = NumbersAnew({"once", directory});
    for (size_t i = 0; i < 8; ++i) columns[i].push_back(figures.at(i));
  }
  Figures out;
  double* const to[] = {&out.rules,   &out.open,    &out.plan,  &out.report,
                        &out.peak_mb, &out.tensors, &out.files, &out.mb};
  for (size_t i = 0; i < 8; ++i) *to[i] = Median(columns[i]);
  return out;
}

double Python(const std::string& directory) {
  const std::string command =
      fmt::format("python3 '{}/bench/read_headers.py' '{}' 5 2>/dev/null", kData, directory);
  double ms = 0;
  if (FILE* const pipe = popen(command.c_str(), "r")) {
    if (std::fscanf(pipe, "%lf", &ms) != 1) ms = 0;
    pclose(pipe);
  }
  return ms;
}

enum class Goal : uint8_t { kNone, kMemory, kAll };

void Rows(Table* table, const Figures& f, Goal goal) {
  table->Shown("rules", f.rules, "ms");
  table->Shown("open: config, index, headers", f.open, "ms");
  table->Shown("units, claims, ledger, decisions, cuts, groups", f.plan, "ms");
  if (goal == Goal::kAll)
    table->AtMost("all of it", f.all(), 60, "ms");
  else
    table->Shown("all of it", f.all(), "ms");
  table->Shown("then the report", f.report, "ms");
  if (f.mb > 0 && goal != Goal::kNone)
    table->AtMost("peak memory, against 4 x index and headers + 32 MB", f.peak_mb, 4 * f.mb + 32,
                  "MB");
  else
    table->Shown("peak memory", f.peak_mb, "MB");
}

void Compare(Table* table, const std::string& directory, double all) {
  const double python = Python(directory);
  if (python == 0) return std::puts("  python3 is not there to compare with"), void();
  table->Shown("python3: json of index and headers, kept", python, "ms");
  table->AtLeast("python3 / the whole plan", python / all, 4, "x");
}

int Given(const std::string& directory) {
  const Figures f = Measure(directory);
  Table table(fmt::format("plan of {}: {} tensors, {} files, {:.1f} MB", directory, f.tensors,
                          f.files, f.mb));
  Rows(&table, f, Goal::kNone);
  return 0;
}

int BuiltIn() {
  const std::string seed = kData + "/../examples/qwen3_next_fp8";
  const std::string deepseek = kData + "/fixtures/deepseek_v3";
  const Figures next = Measure(seed);
  Table table(
      fmt::format("plan of the Qwen3-Next-80B-A3B fixture: {} tensors\n"
                  "processor time of one thread, median of {} processes, warm cache",
                  next.tensors, kRuns));
  Rows(&table, next, Goal::kAll);

  const TempDir written, real, small, large;
  Anew({"write", seed, written.path(), "40"});
  const Figures headers = Measure(written.path());
  Table first(fmt::format("the same as a directory: {} files, {:.1f} MB of JSON", headers.files,
                          headers.mb));
  Rows(&first, headers, Goal::kMemory);
  Anew({"write", deepseek, real.path(), "163"});
  const Figures v3 = Measure(real.path());
  Table second(fmt::format("plan of DeepSeek-V3: {} tensors, {} files, {:.1f} MB of JSON",
                           v3.tensors, v3.files, v3.mb));
  Rows(&second, v3, Goal::kAll);
  Compare(&second, real.path(), v3.all());

  Anew({"scale", deepseek, small.path(), "22"});
  Anew({"scale", deepseek, large.path(), "584"});
  const Figures tenth = Measure(small.path()), more = Measure(large.path());
  Table third(fmt::format("growth: DeepSeek-V3 with {}, {} and {} tensors", tenth.tensors,
                          v3.tensors, more.tensors));
  third.Shown("smallest: all but the rules", tenth.open + tenth.plan, "ms");
  third.Shown(fmt::format("{:.1f} x the tensors: times as long", v3.tensors / tenth.tensors),
              (v3.open + v3.plan) / (tenth.open + tenth.plan), "x");
  third.Shown(fmt::format("{:.1f} x the tensors: times as long", more.tensors / tenth.tensors),
              (more.open + more.plan) / (tenth.open + tenth.plan), "x");
  std::vector<double> index;
  for (int run = 0; run < kRuns; ++run) index.push_back(NumbersAnew({"index", large.path()}).at(0));
  third.AtMost("largest: index alone", Median(index), 40, "ms");
  third.AtMost("largest: index and headers", more.open, 100, "ms");
  third.AtMost("largest: peak memory, against 4 x index and headers + 32 MB", more.peak_mb,
               4 * more.mb + 32, "MB");
  return 0;
}

int Fail(const std::string& problem) {
  if (!problem.empty()) fmt::print(stderr, "{}\n", problem);
  return problem.empty() ? 0 : 1;
}

int Scale(const std::string& fixture, const std::string& directory, int experts) {
  const TempDir between;
  const std::string problem = WriteExperts(fixture, between.path(), experts);
  return Fail(problem.empty() ? WriteShards(between.path(), directory, 163) : problem);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "once") return PlanOnce(argv[2]);
  if (what == "index") return IndexOnce(argv[2]);
  if (what == "write") return Fail(WriteShards(argv[2], argv[3], std::stoul(argv[4])));
  if (what == "scale") return Scale(argv[2], argv[3], std::stoi(argv[4]));
  return argc > 1 ? Given(what) : BuiltIn();
}
