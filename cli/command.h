// SPDX-License-Identifier: Apache-2.0
// What all commands share: options, rules, output. One file for each command; main.cc parses.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/plan/book.h"
#include "engine/plan/plan.h"
#include "engine/report/report.h"
#include "engine/runtimes/runtime.h"

namespace ferrule::cli {

struct Common {
  std::vector<std::string> rules;  // overlays: later ones win
  Format format = Format::kHuman;
  bool color = false;
};

struct CheckOptions {
  std::vector<std::string> files;
  std::string checkpoint;
  int tp = 1;
};
struct PlanCommand {
  std::string checkpoint;
  std::string as;  // ENGINE@VERSION: what that engine would do otherwise
  int tp = 1;
  bool expand = false;
};
struct ExplainOptions {
  std::string what;
  std::string checkpoint;
  int tp = 1;
  bool kernel = false;            // which kernels run it
  std::vector<std::string> with;  // together with these, which read the same x
  std::string gpu = "sm_90";
  bool batch_invariant = false;
  int rank = 0;
  std::string of_module;  // an option that was given and goes with a module alone, `--tp` say
};
struct TestOptions {
  std::vector<std::string> files;
  std::string filter;
};
struct RunOptions {
  std::string checkpoint;
  int tp = 1;
  int rank = -1;  // -1: all
  std::string input, output, expect;
  bool bias = false;  // with `input`: biases are added; on random numbers they always are
  bool check = false;
  int64_t tokens = 4;
  uint64_t seed = 1;
  int threads = 0;  // 0: one for each core
  std::string device = "cpu";
};
struct BenchOptions {
  std::vector<std::string> shapes;  // NAME=IN:ROWS[b],…; empty: linears of released models
  std::string plan;                 // a checkpoint: the shapes of what a rank runs
  bool list = false;                // print the shapes, time nothing
  std::vector<int64_t> tokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
  bool peers = false;  // what others would run, too
  std::string python;  // and what the packages of this interpreter run
  bool sweep = false;  // every way to run a cell, not the chosen one
  bool check = true;
  std::optional<int> heat_ms;  // how long each way runs before it is timed
  std::string commit;          // for the first line
  std::string svg;             // file for a plot
  std::string from;            // a table printed before: plot it, time nothing
  std::string load;            // a checkpoint: time its loading instead
  int tp = 1, rank = 0;        // of `plan` and `load`
  std::vector<int> readers = {8};
};
struct CaptureOptions {
  std::string checkpoint, out;
  std::string revision, model, note;
};
struct DiffOptions {
  std::string before, after;
  std::vector<std::string> checkpoints;
  std::vector<int> tp;  // empty: 1, or what a saved plan was made for
  std::string fail_on = "unsafe";
};
struct MatrixOptions {
  std::string checkpoint;
  std::vector<int> tp{1, 2, 4, 8};
  std::vector<std::string> as;  // ENGINE or ENGINE@VERSION; empty: all
  bool all = false;
};
struct ExportCommand {
  std::string checkpoint, to, dialect, out;
  std::string form = "config";
};
struct InferOptions {
  std::string checkpoint, out;
};
struct AuditOptions {
  std::string checkpoint;
};

struct DecideOptions {
  std::string cases;
  std::string as;  // ENGINE@VERSION; empty: ferrule's own answer
};

// Each returns the exit code: 0 clean or warnings, 1 an error was found, 2 a wrong command line or
// a named path that does not exist, 3 I/O, memory or a bug.
int Check(const Common& common, const CheckOptions& options);
int MakePlan(const Common& common, const PlanCommand& options);
int Explain(const Common& common, const ExplainOptions& options);
int ExplainKernels(const Common& common, const ExplainOptions& options, const Plan& plan);
int Test(const Common& common, const TestOptions& options);
int Run(const Common& common, const RunOptions& options);
int Decide(const Common& common, const DecideOptions& options);
int ListShapes(const Common& common, const BenchOptions& options);
int BenchPlot(const Common& common, const BenchOptions& options);
// The plot of a table that `name` names; false with a finding.
bool WritePlot(const std::string& table, const std::string& name, const std::string& path,
               Diagnostics* findings);
// Only with CUDA.
int Bench(const Common& common, const BenchOptions& options);
int BenchLoad(const Common& common, const BenchOptions& options);
int Diff(const Common& common, const DiffOptions& options);
int CompareAllEngines(const Common& common, const MatrixOptions& options);
int ExportTo(const Common& common, const ExportCommand& options);
int Infer(const Common& common, const InferOptions& options);
int Audit(const Common& common, const AuditOptions& options);
int Capture(const Common& common, const CaptureOptions& options);

// Default rules and overlays, and `files` that win over them.
std::optional<Book> ReadBook(const Common& common, const std::vector<std::string>& files,
                             Diagnostics* out);
// Of them only what may describe the checkpoint.
std::optional<Book> ReadBookFor(const Common& common, const Checkpoint& checkpoint,
                                Diagnostics* out);
// Engine versions of the default rules and overlays.
std::optional<RuntimeBook> ReadRuntimes(const Common& common, Diagnostics* out);
// `named`, with the .yaml files of a directory in its place (those of its `dialects` and `runtimes`
// too when `whole`), each file once. A directory without any is a finding.
std::vector<std::string> YamlFiles(const std::vector<std::string>& named, bool whole,
                                   Diagnostics* out);
// Opens a checkpoint and reads the rules for it. Null with findings in `out` when either fails.
std::shared_ptr<const Checkpoint> ReadCheckpoint(const std::string& directory, Diagnostics* out);

// Findings to standard output in the chosen format; returns their exit code.
int Finish(const Common& common, const std::string& command, const Diagnostics& findings);
// Writes a file whole; false with a finding.
bool WriteText(const std::string& path, const std::string& text, Diagnostics* out);
void Print(const std::string& text);  // to standard output, whole or exit code 3
ReportOptions Options(const Common& common, const std::string& command, const std::string& model);

}  // namespace ferrule::cli
