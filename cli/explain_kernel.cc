// SPDX-License-Identifier: Apache-2.0
// ferrule explain MODULE DIR --kernel [--with MODULE,…] [--tp N [--rank R]] [--batch-invariant]:
// which kernel runs a module, or several that read the same x, for how many tokens, x and y in
// BF16.
#include <fmt/format.h>

#include "cli/command.h"
#include "engine/plan/plan.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"
#include "kernels/dispatch.h"
#include "kernels/kernel_table.h"
#include "kernels/placement.h"

namespace ferrule::cli {
namespace {

constexpr int64_t kMostTokens = 8192;
constexpr const char* kHopperName = "sm_90";

std::string SchemeOf(const LinearSegment& s) {
  switch (s.scheme) {
    case LinearScheme::kFp8Block:
      return fmt::format("fp8_block {}x{}", s.block_n, s.block_k);
    case LinearScheme::kFp8Channel:
      return "fp8_channel";
    case LinearScheme::kFp8Tensor:
      return "fp8_tensor";
    case LinearScheme::kBf16:
      break;
  }
  return s.weight_type == LinearWeight::kF32   ? "f32"
         : s.weight_type == LinearWeight::kF16 ? "f16"
                                               : "bf16";
}

// Where the memory is does not matter, only how it is aligned: as the loader aligns it, and as the
// segments of a module lie side by side in its y.
alignas(16) constexpr char kAligned[16] = {};

struct Asked {
  std::vector<PlacedModule> modules;
  std::vector<LinearSegment> segments;  // of all, rows 16 bytes apart
  std::vector<size_t> module_of;
};

LinearGroup GroupOf(const Asked& asked, const ExplainOptions& options) {
  LinearGroup group;
  group.x = kAligned;
  group.in = asked.modules[0].in;
  group.x_stride = (group.in + 7) / 8 * 8;
  group.segments = asked.segments.data();
  group.segment_count = static_cast<int32_t>(asked.segments.size());
  group.batch_invariant = options.batch_invariant;
  return group;
}

std::optional<Asked> Place(const Plan& plan, const ExplainOptions& options, Diagnostics* out) {
  Asked asked;
  std::vector<std::string> names = {options.what};
  names.insert(names.end(), options.with.begin(), options.with.end());
  for (const std::string& name : names) {
    const int32_t module = plan.Find(name);
    if (module < 0 || plan.CutOf(plan.decisions.UnitOf(module)) == nullptr) {
      out->Add(Code::kUnknownModule, module < 0
                                         ? fmt::format("the model has no module {}", Quoted(name))
                                         : fmt::format("{} is no linear", Quoted(name)));
      return std::nullopt;
    }
    std::optional<PlacedModule> placed = PlaceModule(plan, module, options.rank, out);
    if (!placed) return std::nullopt;
    if (!asked.modules.empty() && placed->in != asked.modules[0].in) {
      out->Add(Code::kUsage,
               fmt::format("`{}` reads {} columns and `{}` {}: not the same x",
                           asked.modules[0].name, asked.modules[0].in, placed->name, placed->in))
          .Help("name linears that read the same activation");
      return std::nullopt;
    }
    int64_t row = 0;
    for (const PlacedSegment& from : placed->segments) {
      LinearSegment s = from.segment;
      const int64_t each = 16 / WeightBytes(s);
      s.weight = kAligned;
      s.y = const_cast<char*>(kAligned) + row * 2 % 16;
      s.y_type = LinearOutput::kBf16;
      row += s.rows;
      s.weight_stride = (placed->in + each - 1) / each * each;
      s.y_stride = placed->rows;
      if (from.scale >= 0) s.scale = reinterpret_cast<const float*>(kAligned);
      if (from.input >= 0) s.input_scale = reinterpret_cast<const float*>(kAligned);
      if (from.bias >= 0) s.bias = reinterpret_cast<const float*>(kAligned);
      asked.segments.push_back(s);
      asked.module_of.push_back(asked.modules.size());
    }
    asked.modules.push_back(std::move(*placed));
  }
  return asked;
}

GpuTarget TargetOf(const std::string& gpu) { return GpuWithLt(std::stoi(gpu.substr(3))); }

std::string Phase(const LinearSegment& s) {
  std::string text;
  if (s.n_phase > 0) text += fmt::format(", begins at row {} of its block", s.n_phase);
  if (s.k_phase > 0) text += fmt::format(", at column {}", s.k_phase);
  return text;
}

std::string Tokens(const KernelRange& range) {
  const std::string fours = range.step == 1 ? "" : ", in fours";
  if (range.last == kMostTokens) return fmt::format("{} and more{}", range.first, fours);
  return range.first == range.last ? fmt::format("{}", range.first)
                                   : fmt::format("{}-{}{}", range.first, range.last, fours);
}

std::string Human(const Asked& asked, const std::vector<KernelRange>& ranges,
                  const ExplainOptions& options) {
  const int tp = options.tp, rank = options.rank;
  std::string text;
  size_t next = 0;
  for (size_t m = 0; m < asked.modules.size(); ++m) {
    const PlacedModule& module = asked.modules[m];
    text += fmt::format("{}: [{}, {}]{}\n", Printable(module.name), module.rows, module.in,
                        tp == 1 ? "" : fmt::format(", rank {} of {}", rank, tp));
    for (; next < asked.segments.size() && asked.module_of[next] == m; ++next)
      text += fmt::format("  segment {:<3} {:>6} rows  {}{}\n", next, asked.segments[next].rows,
                          SchemeOf(asked.segments[next]), Phase(asked.segments[next]));
  }
  size_t what = 0, tokens = 6;
  for (const KernelRange& range : ranges) {
    tokens = std::max(tokens, Tokens(range).size());
    for (const KernelLine& line : range.lines) what = std::max(what, line.what.size());
  }
  text += fmt::format("on {}, with cuBLASLt{}\n  {:<{}}  launch\n",
                      options.gpu == kHopperName ? "H100 and H200 (sm_90)" : options.gpu,
                      options.batch_invariant ? ", batch_invariant" : "", "tokens", tokens);
  for (const KernelRange& range : ranges) {
    std::string first = Tokens(range);
    for (const KernelLine& line : range.lines) {
      text += fmt::format("  {:<{}}  {:<15}  {:<{}}  {}\n", first, tokens, line.kernel, line.what,
                          what, line.why);
      first.clear();
    }
  }
  if (options.gpu == kHopperName)
    text += fmt::format(
        "measured on one {} ({} multiprocessors); others of sm_90, as H100 and H20, are given the "
        "same, unmeasured\n",
        kTableGpu, kMultiprocessors);
  text += "without a GPU: the first of";
  for (const KernelRow& row : AllKernels())
    text += fmt::format("{} {} ({})", row.name == AllKernels().begin()->name ? "" : ",", row.name,
                        row.what);
  return text + "\n";
}

std::string Json(const Common& common, const ExplainOptions& options, const Asked& asked,
                 const std::vector<KernelRange>& ranges, const Diagnostics& findings) {
  JsonWriter out;
  WriteHead(Options(common, "explain", options.checkpoint), &out);
  out.Key("tp").Int(options.tp).Key("rank").Int(options.rank);
  out.Key("segments").BeginArray();
  for (size_t i = 0; i < asked.segments.size(); ++i) {
    const LinearSegment& s = asked.segments[i];
    out.Line().BeginObject().Key("module").Text(asked.modules[asked.module_of[i]].name);
    out.Key("scheme").Text(SchemeOf(s)).Key("rows").Int(s.rows);
    out.Key("in").Int(asked.modules[0].in);
    out.Key("n_phase").Int(s.n_phase).Key("k_phase").Int(s.k_phase).EndObject();
  }
  out.EndArray().Key("gpu").Text(options.gpu).Key("measured_on");
  if (options.gpu == kHopperName)
    out.Text(kTableGpu);
  else
    out.Null();
  out.Key("batch_invariant").Bool(options.batch_invariant).Key("kernels").BeginArray();
  for (const KernelRange& range : ranges) {
    out.Line().BeginObject().Key("tokens").BeginArray().Int(range.first);
    if (range.last == kMostTokens)
      out.Null();
    else
      out.Int(range.last);
    out.EndArray().Key("step").Int(range.step).Key("launches").BeginArray();
    for (const KernelLine& line : range.lines)
      out.BeginObject()
          .Key("kernel")
          .Text(line.kernel)
          .Key("what")
          .Text(line.what)
          .Key("why")
          .Text(line.why)
          .EndObject();
    out.EndArray().EndObject();
  }
  out.EndArray();
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

}  // namespace

int ExplainKernels(const Common& common, const ExplainOptions& options, const Plan& plan) {
  Diagnostics findings;
  if (!plan.decisions.has_headers) {
    findings
        .Add(Code::kMissingFile, "there are no headers: what is stored how is not known",
             {nullptr, options.checkpoint, 0, 0, 0, ""})
        .Help("kernels are chosen by what is stored: name a checkpoint or a header fixture");
    return Finish(common, "explain", findings);
  }
  const std::optional<Asked> asked = Place(plan, options, &findings);
  if (!asked) return Finish(common, "explain", findings);
  const std::vector<KernelRange> ranges =
      KernelRanges(GroupOf(*asked, options), TargetOf(options.gpu), kMostTokens);
  if (common.format == Format::kJson) {
    Print(Json(common, options, *asked, ranges, findings));
  } else if (common.format == Format::kShort) {
    std::string text;
    for (const KernelRange& range : ranges) {
      text += Tokens(range) + ":";
      for (const KernelLine& line : range.lines) text += " " + line.kernel;
      text += "\n";
    }
    Print(text);
  } else {
    Print(Human(*asked, ranges, options));
  }
  return 0;
}

}  // namespace ferrule::cli
