// SPDX-License-Identifier: Apache-2.0
// ferrule run DIR [--tp N [--rank R]] [--input X [--output Y] [--expect Z] [--bias]] [--check]
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "cli/activations.h"
#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/progress_line.h"
#include "cli/run_modules.h"
#include "engine/checkpoint/tensor_writer.h"
#include "engine/plan/plan.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"
#ifdef FERRULE_CUDA
#include "cli/run_device.h"
#include "kernels/device_linear.h"
#include "kernels/linear_gpu.h"
#endif
#include "kernels/loader.h"
#include "kernels/reference.h"

namespace ferrule::cli {
namespace {

// Relative Frobenius error of the fast path: float32 sums; what tensor cores keep of FP8 products.
constexpr double kCpuBound = 1e-5, kGpuBound = 5e-4;

struct Tally {  // of one scheme
  int64_t runs = 0;
  double worst = 0;   // relative error
  std::string where;  // of the worst
  double bytes = 0;
};

class Runner {
 public:
  Runner(const Common& common, const RunOptions& options)
      : common_(common),
        options_(options),
        bound_(options.device == "cuda" ? kGpuBound : kCpuBound),
        line_(isatty(STDERR_FILENO) != 0 && common.format == Format::kHuman) {}

  int Run() {
    const bool ran = Open() && (options_.input.empty() ? RunRandom() : RunInput());
    line_.End();
    if (!ran) {
      if (planned_.has_errors()) findings_.Append(planned_);
      return Finish(common_, "run", findings_);
    }
    if (options_.check)
      for (const auto& [name, tally] : tallies_)
        if (!(tally.worst <= bound_))
          findings_
              .Add(Code::kCheckFailed,
                   fmt::format(
                       "{} differs from the reference by {:.2e} at `{}`; the bound is {:.0e}", name,
                       tally.worst, tally.where, bound_))
              .Fact("effect", "outputs of this build on this machine are not what the plan says")
              .Help("please report it with the processor; do not serve with this build");
    SayUnprepared();
    Report();
    return findings_.ExitCode();
  }

 private:
  bool Open() {
#ifdef FERRULE_CUDA
    const char* refused = options_.device == "cuda" ? GpuRefuses() : nullptr;
    if (refused != nullptr) {
      findings_.Add(Code::kIo, fmt::format("nothing runs on a GPU here: {}", refused))
          .Help("`--device cpu` works everywhere");
      return false;
    }
#endif
    const auto checkpoint = ReadCheckpoint(options_.checkpoint, &findings_);
    if (!checkpoint) return false;
    if (!options_.output.empty() &&
        !MayWrite({"--output", options_.output, true},
                  {checkpoint.get(), {options_.input, options_.expect}}, &findings_))
      return false;
    if (!checkpoint->has_weights) {
      findings_
          .Add(Code::kMissingFile, "the directory holds no weights to run",
               {nullptr, options_.checkpoint, 0, 0, 0, ""})
          .Help("`ferrule plan` works without weights");
      return false;
    }
    const auto book = ReadBookFor(common_, *checkpoint, &findings_);
    if (!book) return false;
    plan_ = ferrule::MakePlan(*book, checkpoint, {options_.tp}, &planned_);
    if (!plan_ || planned_.has_errors()) return false;  // a plan with errors is never run
    const int threads = options_.threads > 0
                            ? options_.threads
                            : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    pool_ = LinearPool::Create(threads);
    return true;
  }

  std::vector<int> Ranks() const {
    std::vector<int> ranks;
    for (int rank = 0; rank < options_.tp; ++rank)
      if (options_.rank < 0 || options_.rank == rank) ranks.push_back(rank);
    return ranks;
  }

  std::string OutputName(int32_t module, int rank) const {
    const std::string name = plan_->decisions.PathOf(module);
    return options_.tp == 1 ? name + ".y"
                            : fmt::format("{}.y_tp{}.rank{}", name, options_.tp, rank);
  }

  // Rows of one rank's output.
  int64_t Rows(int32_t module, int rank) const {
    return plan_->CutOf(plan_->decisions.UnitOf(module))
        ->ranks[static_cast<size_t>(rank)]
        .row_count();
  }

  bool RunInput() {
    auto input = InputFile::Open(options_.input, *plan_, &findings_);
    if (!input) return false;
    std::optional<ExpectedFile> expected;
    if (!options_.expect.empty()) {
      expected = ExpectedFile::Open(options_.expect, &findings_);
      if (!expected) return false;
    }
    TensorWriter writer;
    if (!options_.output.empty()) {
      std::vector<TensorWriter::Entry> entries;
      for (size_t i = 0; i < input->modules().size(); ++i)
        for (const int rank : Ranks())
          entries.push_back({OutputName(input->modules()[i], rank), input->Tokens(i),
                             Rows(input->modules()[i], rank)});
      if (!writer.Open(options_.output, entries, &findings_)) return false;
    }
    StartDevice(input->modules());
    for (size_t i = 0; i < input->modules().size(); ++i) {
      const auto x = input->Read(i, &findings_);
      if (!x) return false;
      for (const int rank : Ranks()) {
        std::vector<float> y;
        if (!Module(input->modules()[i], rank, *x, &y)) return false;
        if (!options_.output.empty() && !writer.Write(y.data(), y.size(), &findings_)) return false;
        if (expected &&
            !expected->Compare(OutputName(input->modules()[i], rank), x->tokens, y, &findings_))
          return false;
      }
      Progress(i + 1, input->modules().size());
    }
    if (expected && !expected->Judge(bound_, &findings_)) return false;
    if (expected) expected_ = expected->Summary();
    return options_.output.empty() || writer.Finish(&findings_);
  }

  // Every linear that can be run.
  bool RunRandom() {
    const Decisions& d = plan_->decisions;
    const RunModules found = ModulesToRun(*plan_);
    const std::vector<int32_t>& modules = found.ids;
    skipped_ = found.stacked + found.reported;
    StartDevice(modules);
    for (size_t n = 0; n < modules.size(); ++n) {
      const Unit& unit = d.UnitOf(modules[n]);
      const Unit& sized =
          unit.kind == NodeKind::kFused ? d.units.units[static_cast<size_t>(unit.parts[0])] : unit;
      const Activation x =
          RandomActivation(options_.seed, d.PathOf(modules[n]), options_.tokens, sized.in);
      for (const int rank : Ranks()) {
        std::vector<float> y;
        if (!Module(modules[n], rank, x, &y)) return false;
      }
      Progress(n + 1, modules.size());
    }
    return true;
  }

  // For --device cuda: what Module will be asked for, in this order.
  void StartDevice([[maybe_unused]] const std::vector<int32_t>& modules) {
#ifdef FERRULE_CUDA
    if (options_.device != "cuda") return;
    std::vector<LoadRequest> order;
    for (const int32_t module : modules)
      for (const int rank : Ranks()) order.push_back({module, rank});
    device_ = std::make_unique<DeviceRunner>(*plan_, std::move(order), &line_);
#endif
  }

  // Recorded outputs are often the products alone; what runs on random numbers runs as it is.
  std::vector<LinearSegment> Segments(std::vector<LinearSegment> segments) const {
    if (options_.input.empty() || options_.bias) return segments;
    for (LinearSegment& segment : segments) segment.bias = nullptr;
    return segments;
  }

  bool Module(int32_t module, int rank, const Activation& x, std::vector<float>* y) {
#ifdef FERRULE_CUDA
    if (device_) {
      const DeviceModule* on_gpu = device_->Next(&findings_);
      if (on_gpu == nullptr) return false;
      y->assign(static_cast<size_t>(x.tokens * on_gpu->rows), 0.0f);
      const uint16_t* from = x.values.data() + on_gpu->first_column;
      LinearStatus prepared;
      const LinearStatus status =
          RunFromHost(Segments(on_gpu->segments), on_gpu->rows, on_gpu->in, from, x.tokens,
                      x.columns, y->data(), on_gpu->rows, &prepared);
      if (!prepared) unprepared_.emplace_back(on_gpu->name, prepared.message);
      if (!Count(module, on_gpu->name, on_gpu->bytes, status)) return false;
      if (!options_.check) return true;
      const auto linear = Load(module, rank);
      return linear && Compare(*linear, from, x, *y, &TallyOf(module));
    }
#endif
    const auto linear = Load(module, rank);
    if (!linear) return false;
    y->assign(static_cast<size_t>(x.tokens * linear->rows), 0.0f);
    const uint16_t* from = x.values.data() + linear->first_column;
    const LinearStatus status =
        linear->Run(from, x.tokens, x.columns, y->data(), linear->rows, pool_.get());
    if (!Count(module, linear->name, linear->bytes, status)) return false;
    return !options_.check || Compare(*linear, from, x, *y, &TallyOf(module));
  }

  std::unique_ptr<LoadedLinear> Load(int32_t module, int rank) {
    auto linear = LoadModule(*plan_, module, rank, &findings_);
    if (linear) linear->segments = Segments(std::move(linear->segments));
    return linear;
  }

  // One run of a module; false where it failed.
  bool Count(int32_t module, const std::string& name, uint64_t bytes, const LinearStatus& status) {
    if (!status) {
      findings_.Add(Code::kInternal, fmt::format("`{}`: {}", name, status.message));
      return false;
    }
    Tally& tally = TallyOf(module);
    ++tally.runs;
    tally.bytes += static_cast<double>(bytes);
    return true;
  }

  Tally& TallyOf(int32_t module) {
    const int8_t scheme = plan_->decisions.modules[static_cast<size_t>(module)].scheme;
    return At(scheme < 0 ? "mixed" : plan_->SchemeName(scheme));
  }

  Tally& At(const std::string& name) {
    for (auto& [known, tally] : tallies_)
      if (known == name) return tally;
    tallies_.emplace_back(name, Tally());
    return tallies_.back().second;
  }

  bool Compare(const LoadedLinear& linear, const uint16_t* from, const Activation& x,
               const std::vector<float>& y, Tally* tally) {
    std::vector<float> exact(y.size(), 0.0f);
    const std::vector<LinearSegment> bound = linear.Bind(exact.data(), linear.rows);
    LinearGroup group;
    group.x = from;
    group.tokens = x.tokens;
    group.in = linear.in;
    group.x_stride = x.columns;
    group.segments = bound.data();
    group.segment_count = static_cast<int32_t>(bound.size());
    const LinearStatus status = LinearReference(group, pool_.get());
    if (!status) {
      findings_.Add(Code::kInternal, fmt::format("`{}`: {}", linear.name, status.message));
      return false;
    }
    const double error = RelativeError(y, exact);
    if (error > tally->worst || !(error == error)) {
      tally->worst = error;
      tally->where = linear.name;
    }
    return true;
  }

  void SayUnprepared() {
    if (unprepared_.empty()) return;
    const auto& [name, why] = unprepared_.front();
    findings_
        .Add(Code::kUnprepared,
             fmt::format("cuBLASLt was not made ready for {} linears, e.g. `{}`: {}",
                         unprepared_.size(), name, why))
        .Fact("effect", "they ran by ferrule's own kernels: as right, and slower with many tokens")
        .Help(
            "see that the GPU has memory left and that its driver is one for the CUDA of "
            "libcublasLt");
  }

  void Progress(size_t done, size_t all) {
    line_.Show(fmt::format("ran {} of {} modules", done, all));
  }

  void Report() {
    if (common_.format == Format::kJson) {
      JsonWriter out;
      WriteHead(Options(common_, "run", options_.checkpoint), &out);
      out.Key("model").Text(options_.checkpoint).Key("tp").Int(options_.tp);
      out.Key("plan_sha").Text(plan_->plan_sha).Key("not_run").Int(skipped_);
      out.Key("schemes").BeginObject();
      for (const auto& [name, tally] : tallies_) {
        out.Key(name).BeginObject().Key("runs").Int(tally.runs);
        out.Key("largest_error");
        if (options_.check)
          out.Text(fmt::format("{:.3e}", tally.worst));
        else
          out.Null();
        out.EndObject();
      }
      out.EndObject();
      WriteFindings(findings_, &out);
      out.EndObject();
      Print(out.Take() + "\n");
      return;
    }
    std::string text;
    int64_t runs = 0;
    for (const auto& [name, tally] : tallies_) {
      runs += tally.runs;
      text += fmt::format("{:<12} {:>7} linears  {:>9.1f} MB", name, tally.runs, tally.bytes / 1e6);
      if (options_.check)
        text += fmt::format("  largest error {:.2e}{}", tally.worst,
                            tally.worst > 0 ? " (" + tally.where + ")" : "");
      text += '\n';
    }
    if (skipped_ > 0)
      text += fmt::format("not run: {} modules in schemes that are only reported\n", skipped_);
    if (!expected_.empty()) text += expected_ + "\n";
#ifdef FERRULE_CUDA
    if (device_) text += device_->Summary() + "\n";
#endif
    text += ToHuman(findings_, common_.color);
    text += options_.check
                ? fmt::format("{}: {} linears compared with the reference, bound {:.0e}\n",
                              findings_.has_errors() ? "failed" : "ok", runs, bound_)
                : fmt::format("ok: {} linears run\n", runs);
    Print(text);
  }

  const Common& common_;
  const RunOptions& options_;
  const double bound_;
  ProgressLine line_;
  Diagnostics findings_, planned_;
  std::optional<Plan> plan_;
  std::unique_ptr<LinearPool> pool_;
  std::vector<std::pair<std::string, Tally>> tallies_;
  int64_t skipped_ = 0;
  std::string expected_;
  std::vector<std::pair<std::string, const char*>> unprepared_;  // modules on the GPU, and why
#ifdef FERRULE_CUDA
  std::unique_ptr<DeviceRunner> device_;
#endif
};

}  // namespace

int Run(const Common& common, const RunOptions& options) { return Runner(common, options).Run(); }

}  // namespace ferrule::cli
