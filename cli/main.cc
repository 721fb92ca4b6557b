// SPDX-License-Identifier: Apache-2.0
// The command line: words → options → one command. Nothing is decided here.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <new>
#include <sstream>

#include "cli/command.h"
#include "cli/usage.h"
#include "engine/text/version.h"

namespace ferrule::cli {
namespace {

// A wrong command line: to standard error, and in JSON to standard output like every answer.
int Usage(bool json, Finding finding) {
  Diagnostics findings;
  findings.Add(std::move(finding));
  if (json) {
    Common common;
    common.format = Format::kJson;
    return Finish(common, "ferrule", findings);
  }
  std::cerr << ToHuman(findings.findings()[0], false);
  return findings.ExitCode();
}

Finding Wrong(std::string message, std::string help) {
  Finding finding(Code::kUsage, std::move(message));
  finding.Help(std::move(help));
  return finding;
}

bool WantsColor(const std::string& choice) {
  if (choice != "auto") return choice == "always";
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && no_color[0] != '\0') return false;
  const char* terminal = std::getenv("TERM");
  if (terminal != nullptr && std::string_view(terminal) == "dumb") return false;
  return isatty(STDOUT_FILENO) != 0;
}

// Last first, as CLI11 wants them. `help plan` is `plan --help`.
std::vector<std::string> Words(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  std::reverse(words.begin(), words.end());
  return words;
}

int Main(int argc, char** argv) {
  CLI::App app{
      "Which linears of a quantized checkpoint run in FP8 or BF16, why, and whether the "
      "stored tensors agree.",
      "ferrule"};
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.fallthrough();

  Common common;
  std::string format = "human", color = "auto";
  app.add_option("-f,--format", format, "human, short or json")
      ->check(OneOf({"human", "short", "json"}));
  app.add_option("--rules", common.rules,
                 "directory with rule files that win over the default ones")
      ->type_size(1)
      ->allow_extra_args(false);
  app.add_option("--color", color, "auto, always or never")
      ->check(OneOf({"auto", "always", "never"}));

  const CLI::Validator tp_word = TpNumber();
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.get_formatter()->label("Subcommands", "Commands");
  app.get_formatter()->label("REQUIRED", "");
  CheckOptions check;
  CLI::App* check_app =
      app.add_subcommand("check", "rule and dialect files, alone or against a checkpoint");
  check_app->add_option("FILES", check.files,
                        "rule files, dialect files or directories; default: all rules");
  check_app
      ->add_option("--checkpoint", check.checkpoint, "directory of a checkpoint or header fixture")
      ->check(NameOf("directory"));
  check_app->add_option("--tp", check.tp, "tensor-parallel size")->check(tp_word);

  PlanCommand plan;
  CLI::App* plan_app =
      app.add_subcommand("plan", "what every linear of a checkpoint is and what each rank holds");
  plan_app->add_option("DIR", plan.checkpoint, "directory of a checkpoint or header fixture")
      ->required();
  plan_app->add_option("--tp", plan.tp, "tensor-parallel size")->check(tp_word);
  plan_app->add_option("--as", plan.as, "what this ENGINE@VERSION would do otherwise")
      ->check(NameOf("serving engine"));
  std::string expert_parallel;
  CLI::Option* expert_option =
      plan_app->add_option("--ep", expert_parallel, "reserved")->expected(0, 1);
  plan_app->add_flag("--expand", plan.expand, "one entry for every concrete module");

  ExplainOptions explain;
  CLI::App* explain_app = app.add_subcommand("explain", "one module or one code");
  explain_app->add_option("WHAT", explain.what, "FRnnn, its slug, or the path of a module")
      ->required();
  explain_app->add_option("--checkpoint,DIR", explain.checkpoint,
                          "directory of a checkpoint or header fixture");
  CLI::Option* explain_tp =
      explain_app->add_option("--tp", explain.tp, "tensor-parallel size")->check(tp_word);
  explain_app->add_flag("--kernel", explain.kernel,
                        "which GPU kernel runs it, for how many tokens, and why");
  explain_app
      ->add_option("--with", explain.with,
                   "with --kernel: modules that read the same x, in one group")
      ->delimiter(',')
      ->allow_extra_args(false);
  CLI::Option* explain_gpu =
      explain_app->add_option("--gpu", explain.gpu, "with --kernel: sm_80, sm_89, sm_90 or sm_100")
          ->check(OneOf({"sm_80", "sm_89", "sm_90", "sm_100"}));
  explain_app->add_flag("--batch-invariant", explain.batch_invariant,
                        "with --kernel: for groups that set batch_invariant");
  CLI::Option* explain_rank =
      explain_app->add_option("--rank", explain.rank, "with --kernel: of this rank; default: 0")
          ->check(WholeNumber(0, kMaxTp - 1));

  TestOptions test;
  CLI::App* test_app = app.add_subcommand("test", "the tests: sections of rule files");
  test_app->add_option("FILES", test.files, "rule files or directories; default: all rules");
  test_app->add_option("--filter", test.filter, "only tests whose sentence contains this text");

  DecideOptions decide;
  CLI::App* decide_app =
      app.add_subcommand("decide", "questions without a model, one JSON object a line");
  decide_app->add_option("CASES", decide.cases, "file of questions")
      ->required()
      ->check(NameOf("file"));
  decide_app->add_option("--as", decide.as, "answer as this ENGINE@VERSION does")
      ->check(NameOf("serving engine"));

  RunOptions run;
  CLI::App* run_app =
      app.add_subcommand("run", "load and execute the linears of a checkpoint as planned");
  run_app->add_option("DIR", run.checkpoint, "directory of a checkpoint with weights")->required();
  CLI::Option* run_tp = run_app->add_option("--tp", run.tp, "tensor-parallel size")->check(tp_word);
  CLI::Option* rank_option =
      run_app->add_option("--rank", run.rank, "only this rank")->check(WholeNumber(0, kMaxTp - 1));
  CLI::Option* run_input =
      run_app->add_option("--input", run.input, "safetensors with one [tokens, in] tensor a module")
          ->check(NameOf("file"));
  run_app->add_option("--output", run.output, "safetensors to write")->check(NameOf("file"));
  run_app->add_option("--expect", run.expect, "safetensors with outputs to compare with")
      ->check(NameOf("file"));
  run_app->add_flag("--bias", run.bias, "with --input: add biases to the products")
      ->needs(run_input);
  run_app->add_flag("--check", run.check, "compare the fast path with the reference");
  CLI::Option* run_tokens =
      run_app->add_option("--tokens", run.tokens, "tokens of random activations")
          ->check(WholeNumber(1, 65536));
  run_app->add_option("--device", run.device, "cpu or cuda")->check(OneOf({"cpu", "cuda"}));
  CLI::Option* run_seed = run_app->add_option("--seed", run.seed, "seed of random activations")
                              ->check(WholeNumber(0, INT64_MAX));
  run_app->add_option("--threads", run.threads, "0: one for each core")->check(WholeNumber(0, 256));

  CaptureOptions capture;
  CLI::App* capture_app = app.add_subcommand("capture", "a header fixture of a checkpoint");
  capture_app
      ->add_option("SOURCE", capture.checkpoint,
                   "directory of a checkpoint, or org/name of a model in the Hugging Face cache")
      ->required();
  capture_app->add_option("OUT", capture.out, "directory to write, not there yet")
      ->required()
      ->check(NameOf("directory"));
  capture_app->add_option("--revision", capture.revision, "branch, tag or commit; default: main");
  capture_app->add_option("--model", capture.model, "name to write into the listing");
  capture_app->add_option("--note", capture.note, "text to write into the listing");

  DiffOptions diff;
  CLI::App* diff_app =
      app.add_subcommand("diff", "what changes when rules change, and whether it can be right");
  diff_app
      ->add_option(
          "OLD", diff.before,
          "default, a directory of rules, a rule file, a saved plan, ENGINE@VERSION, or a git "
          "commit (REF[:PATH])")
      ->required();
  diff_app->add_option("NEW", diff.after, "the same")->required();
  diff_app->add_option("CHECKPOINTS", diff.checkpoints,
                       "checkpoints, header fixtures, or directories of them");
  const auto add_sizes = [](CLI::App* to, std::vector<int>* sizes, const char* help) {
    using Words = std::vector<std::string>;
    const auto read = [sizes](const Words& words) { *sizes = ReadTpNumbers(words); };
    to->add_option_function<Words>("--tp", read, help)
        ->allow_extra_args(false)
        ->type_name("INT")
        ->check(TpNumbers());
  };
  add_sizes(diff_app, &diff.tp, "tensor-parallel sizes, 1,2,4");
  diff_app->add_option("--fail-on", diff.fail_on, "exit with 1 on: unsafe, change, never")
      ->check(OneOf({"unsafe", "change", "never"}));

  MatrixOptions matrix;
  CLI::App* matrix_app =
      app.add_subcommand("matrix", "what every known engine version does with a checkpoint");
  matrix_app->add_option("DIR", matrix.checkpoint, "directory of a checkpoint or header fixture")
      ->required();
  add_sizes(matrix_app, &matrix.tp, "tensor-parallel sizes, 1,2,4,8");
  matrix_app->add_option("--as", matrix.as, "only these, ENGINE or ENGINE@VERSION")
      ->delimiter(',')
      ->allow_extra_args(false);
  matrix_app->add_flag("--all", matrix.all, "also modules on which all agree");

  ExportCommand exported;
  CLI::App* export_app = app.add_subcommand(
      "export", "a skip list under which another engine decides as the checkpoint is stored");
  export_app->add_option("DIR", exported.checkpoint, "directory of a checkpoint or header fixture")
      ->required();
  export_app->add_option("--to", exported.to, "ENGINE@VERSION")->required();
  export_app
      ->add_option(
          "--form", exported.form,
          "config: the quantization_config; args: the engine's option that replaces it; mapping: "
          "packed_modules_mapping")
      ->check(OneOf({"config", "args", "mapping"}));
  export_app->add_option("--dialect", exported.dialect, "write the list as this dialect does");
  export_app->add_option("-o,--out", exported.out, "file to write; default: standard output")
      ->check(NameOf("file"));

  InferOptions infer;
  CLI::App* infer_app =
      app.add_subcommand("infer", "the draft of a rule file from a checkpoint's headers");
  infer_app->add_option("DIR", infer.checkpoint, "directory of a checkpoint or header fixture")
      ->required();
  infer_app->add_option("-o,--out", infer.out, "file to write; default: standard output")
      ->check(NameOf("file"));

  AuditOptions audit;
  CLI::App* audit_app =
      app.add_subcommand("audit", "what can be said of a checkpoint without rules for it");
  audit_app->add_option("DIR", audit.checkpoint, "directory of a checkpoint or header fixture")
      ->required();

  BenchOptions bench;
  bool no_check = false;
  CLI::App* bench_app = app.add_subcommand("bench", "time linears on the GPU, as a table");
  bench_app->add_option(
      "--shape", bench.shapes,
      "NAME=IN:ROWS,ROWS…; after rows `b`: BF16, `t`, `c`: FP8 with one scale, with one a row");
  bench_app->add_option("--plan", bench.plan,
                        "the shapes of what a rank runs of this checkpoint or header fixture");
  bench_app->add_flag("--list", bench.list, "print the shapes, time nothing; needs no GPU");
  bench_app->add_option("--tokens", bench.tokens, "numbers of tokens")
      ->delimiter(',')
      ->check(WholeNumber(1, 65536));
  CLI::Option* bench_peers = bench_app->add_flag(
      "--peers", bench.peers, "beside it what cuBLASLt takes, block scales and BF16");
  bench_app
      ->add_option("--python", bench.python,
                   "with --peers: also DeepGEMM, Triton and FlashInfer of this interpreter")
      ->needs(bench_peers);
  bench_app->add_flag("--sweep", bench.sweep, "every way to run each, not the chosen one");
  bench_app
      ->add_option("--heat", bench.heat_ms,
                   "milliseconds that each way runs before it is timed; default: 10 where a call "
                   "takes more than 50 us, with --python 300")
      ->check(WholeNumber(0, 10000));
  bench_app->add_flag("--no-check", no_check, "without comparing with the plain kernel");
  bench_app->add_option("--svg", bench.svg, "also a plot: part of the floor over tokens")
      ->check(NameOf("file"));
  bench_app
      ->add_option("--from", bench.from,
                   "with --svg: plot this table, printed before; needs no GPU")
      ->check(NameOf("file"));
  bench_app->add_option("--load", bench.load, "time the loading of this checkpoint to the GPU");
  CLI::Option* bench_tp =
      bench_app->add_option("--tp", bench.tp, "with --plan, --load: tensor-parallel size")
          ->check(tp_word);
  CLI::Option* bench_rank =
      bench_app->add_option("--rank", bench.rank, "with --plan, --load: this rank; default: 0")
          ->check(WholeNumber(0, kMaxTp - 1));
  bench_app->add_option("--readers", bench.readers, "with --load: numbers of threads that read")
      ->delimiter(',')
      ->check(WholeNumber(1, 64));
  bench_app->add_option("--commit", bench.commit,
                        "for the first line; default: the commit that was built");

  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    command->footer("Of every command: -f, --rules and --color; see `ferrule --help`.");

  const bool json = AsksForJson(argc, argv);
  try {
    app.parse(Words(argc, argv));
  } catch (const CLI::Success& e) {  // --help, --version
    std::ostringstream text;
    app.exit(e, text, text);
    Print(text.str());
    return 0;
  } catch (const CLI::ParseError& e) {
    return Usage(json, Explain(app, e));
  }
  common.format = format == "json"    ? Format::kJson
                  : format == "short" ? Format::kShort
                                      : Format::kHuman;
  common.color = WantsColor(color);
  if (expert_option->count() > 0)
    return Usage(json, Wrong("`--ep` is reserved: expert parallelism is not planned yet",
                             "plan without it"));
  if (bench_app->parsed() && json)
    return Usage(json, Wrong("`bench` prints a table, not JSON", "leave `-f json` out"));
  if (!bench.plan.empty() && (!bench.shapes.empty() || !bench.load.empty() || !bench.from.empty()))
    return Usage(json, Wrong(fmt::format("`--plan` and `{}` ask for different things",
                                         !bench.shapes.empty() ? "--shape"
                                         : !bench.load.empty() ? "--load"
                                                               : "--from"),
                             "name one of them"));
  if (!bench.from.empty() && bench.svg.empty())
    return Usage(json, Wrong("`--from` needs `--svg`", "name the file to write the plot to"));
  if (!bench.load.empty() && !bench.svg.empty())
    return Usage(json, Wrong("`--load` goes without `--svg`", "loading is a table and no plot"));
  if (!bench.from.empty()) return BenchPlot(common, bench);
#ifndef FERRULE_CUDA
  if ((bench_app->parsed() && !bench.list) || run.device == "cuda")
    return Usage(json, Wrong("this ferrule was built without CUDA",
                             "build it where nvcc 12.8 or newer is on PATH"));
#endif
  const int tp = check_app->parsed()     ? check.tp
                 : plan_app->parsed()    ? plan.tp
                 : explain_app->parsed() ? explain.tp
                 : bench_app->parsed()   ? bench.tp
                                         : run.tp;
  if (tp < 1 || tp > kMaxTp)
    return Usage(json,
                 {Code::kBadTp, fmt::format("tp must be between 1 and {}, not {}", kMaxTp, tp)});
  for (const std::vector<int>* sizes : {&matrix.tp, &diff.tp})
    for (const int size : *sizes)
      if (size < 1 || size > kMaxTp)
        return Usage(
            json, {Code::kBadTp, fmt::format("tp must be between 1 and {}, not {}", kMaxTp, size)});
  if (!explain.kernel && (explain_rank->count() > 0 || explain_gpu->count() > 0 ||
                          !explain.with.empty() || explain.batch_invariant))
    return Usage(json, Wrong(fmt::format("`{}` needs `--kernel`",
                                         !explain.with.empty()      ? "--with"
                                         : explain.batch_invariant  ? "--batch-invariant"
                                         : explain_gpu->count() > 0 ? "--gpu"
                                                                    : "--rank"),
                             "what a module is does not depend on it"));
  if (explain.kernel || explain_tp->count() > 0)
    explain.of_module = explain.kernel ? "--kernel" : "--tp";
  if ((rank_option->count() > 0 && run_tp->count() == 0) ||
      (explain_rank->count() > 0 && explain_tp->count() == 0) ||
      (bench_rank->count() > 0 && bench_tp->count() == 0))
    return Usage(json, Wrong("`--rank` needs `--tp`", "name the size that the rank belongs to"));
  const int rank = explain_app->parsed() ? explain.rank
                   : bench_app->parsed() ? bench.rank
                                         : run.rank;
  if (rank >= tp)
    return Usage(json, Wrong(fmt::format("there is no rank {} at tp {}", rank, tp),
                             fmt::format("ranks are 0 to {}", tp - 1)));
  if ((!run.output.empty() || !run.expect.empty()) && run.input.empty())
    return Usage(json, Wrong(fmt::format("`{}` needs `--input`",
                                         run.output.empty() ? "--expect" : "--output"),
                             "name the activations to run"));

  if (run_input->count() > 0 && run_tokens->count() + run_seed->count() > 0)
    return Usage(json, Wrong(fmt::format("`{}` goes without `--input`",
                                         run_tokens->count() > 0 ? "--tokens" : "--seed"),
                             "it is of random activations: those of a file are as they are"));

  if (check_app->parsed()) return Check(common, check);
  if (decide_app->parsed()) return Decide(common, decide);
  if (plan_app->parsed()) return MakePlan(common, plan);
  if (explain_app->parsed()) return Explain(common, explain);
  if (test_app->parsed()) return Test(common, test);
  if (capture_app->parsed()) return Capture(common, capture);
  if (diff_app->parsed()) return Diff(common, diff);
  if (matrix_app->parsed()) return CompareAllEngines(common, matrix);
  if (export_app->parsed()) return ExportTo(common, exported);
  if (infer_app->parsed()) return Infer(common, infer);
  if (audit_app->parsed()) return Audit(common, audit);
  if (bench.list) return ListShapes(common, bench);
#ifdef FERRULE_CUDA
  bench.check = !no_check;
  if (bench_app->parsed())
    return bench.load.empty() ? Bench(common, bench) : BenchLoad(common, bench);
#endif
  return Run(common, run);
}

}  // namespace
}  // namespace ferrule::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // Print answers for a reader that has gone
  try {
    return ferrule::cli::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "error[FR902]: out of memory\n";
  } catch (const std::exception& e) {
    std::cerr << "error[FR903]: " << e.what()
              << "\nplease report this with the command and the files\n";
  }
  return 3;
}
