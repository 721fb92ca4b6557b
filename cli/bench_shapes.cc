// SPDX-License-Identifier: Apache-2.0
// ferrule bench --list [--plan DIR [--tp N [--rank R]] | --shape NAME=IN:SEGMENTS …]
#include "cli/bench_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "engine/text/source.h"

namespace ferrule::cli {
namespace {

// Linears of released models, one GPU and four. tests/bench/ratios.py averages the first 18.
constexpr const char* kShapes[] = {
    "q3n_qkvz=2048:12288",
    "q3n_ba=2048:64",
    "q3n_out_o=4096:2048",
    "q3n_qkv=2048:9216",
    "q3n_sh_gateup=2048:1024",
    "q3n_sh_down=512:2048",
    "q35_27b_qkvz=5120:16384",
    "q35_27b_qkvgate=5120:14336",
    "q35_27b_out_o=6144:5120",
    "q35_27b_gateup=5120:34816",
    "q35_27b_down=17408:5120",
    "ds_qkv_a=7168:2112",
    "ds_q_b=1536:24576",
    "ds_o=16384:7168",
    "ds_sh_gateup=7168:4096",
    "ds_sh_down=2048:7168",
    "ds_dense_gateup=7168:36864",
    "ds_dense_down=18432:7168",
    "q3n_tp4_qkvz=2048:3072",
    "q3n_tp4_out_o=1024:2048",
    "q3n_tp4_sh_gateup=2048:256",
    "group_q3n_qkvz_ba=2048:12288,64b",
    "group_q3n_shared_router_gate=2048:1024,512b,1b",
    "group_q3n_gate_up_router_gate=2048:512,512,512b,1b",
    "group_q3n_gate_up=2048:512,512",
    "group_q3n_q_k_v=2048:8192,512,512",
    "group_ds_q_a_kv_a=7168:1536,576",
    "channel_4096=4096:4096c",
    "channel_12288=2048:12288c",
    "tensor_4096=4096:4096t",
    "tensor_12288=2048:12288t",
    "bf16_q3n_ba=2048:64b",
    "bf16_q3n_router=2048:512b",
    "bf16_q3n_qkvz=2048:12288b",
};

// Takes the number at the front of `text`.
bool TakeNumber(std::string_view* text, int64_t* value) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *value);
  if (error != std::errc() || *value < 0 || *value > 0x7FFFFFF) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

// Takes `letter` and the number behind it, where they are there.
bool TakePhase(std::string_view* text, char letter, int64_t* value) {
  if (text->empty() || text->front() != letter) return true;
  text->remove_prefix(1);
  return TakeNumber(text, value) && *value > 0;
}

bool TakeLetter(std::string_view* text, char letter) {
  if (text->empty() || text->front() != letter) return false;
  text->remove_prefix(1);
  return true;
}

bool ParseSegment(std::string_view text, int64_t in, BenchSegment* segment) {
  if (!TakeNumber(&text, &segment->rows) || segment->rows == 0) return false;
  const std::pair<char, LinearScheme> schemes[] = {{'b', LinearScheme::kBf16},
                                                   {'f', LinearScheme::kBf16},
                                                   {'h', LinearScheme::kBf16},
                                                   {'t', LinearScheme::kFp8Tensor},
                                                   {'c', LinearScheme::kFp8Channel}};
  for (const auto& [letter, scheme] : schemes)
    if (TakeLetter(&text, letter)) {
      segment->scheme = scheme;
      segment->weight_type = letter == 'f'   ? LinearWeight::kF32
                             : letter == 'h' ? LinearWeight::kF16
                                             : LinearWeight::kBf16;
      break;
    }
  const bool blocks = segment->scheme == LinearScheme::kFp8Block;
  segment->ue8m0 = !segment->bf16() && TakeLetter(&text, 'u');
  segment->static_x = !segment->bf16() && !blocks && !segment->ue8m0 && TakeLetter(&text, 's');
  int64_t n_phase = 0, k_phase = 0;
  if (blocks && (!TakePhase(&text, 'n', &n_phase) || !TakePhase(&text, 'k', &k_phase) ||
                 !TakePhase(&text, 'g', &segment->scale_stride)))
    return false;
  segment->n_phase = static_cast<int32_t>(n_phase);
  segment->k_phase = static_cast<int32_t>(k_phase);
  return text.empty() && n_phase < 128 && k_phase < 128 &&
         (segment->scale_stride == 0 || segment->scale_stride > segment->ScaleColumns(in));
}

std::string SegmentText(const BenchSegment& s) {
  std::string text = fmt::format("{}", s.rows);
  if (s.bf16())
    text += s.weight_type == LinearWeight::kF32   ? "f"
            : s.weight_type == LinearWeight::kF16 ? "h"
                                                  : "b";
  if (s.scheme == LinearScheme::kFp8Tensor) text += "t";
  if (s.scheme == LinearScheme::kFp8Channel) text += "c";
  if (s.ue8m0) text += "u";
  if (s.static_x) text += "s";
  if (s.n_phase > 0) text += fmt::format("n{}", s.n_phase);
  if (s.k_phase > 0) text += fmt::format("k{}", s.k_phase);
  if (s.scale_stride > 0) text += fmt::format("g{}", s.scale_stride);
  return text;
}

}  // namespace

bool ParseShape(std::string_view text, BenchShape* shape) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  shape->name = text.substr(0, equals);
  text.remove_prefix(equals + 1);
  if (!TakeNumber(&text, &shape->in) || shape->in == 0 || !TakeLetter(&text, ':')) return false;
  while (true) {
    const size_t end = std::min(text.find(','), text.size());
    BenchSegment segment;
    if (!ParseSegment(text.substr(0, end), shape->in, &segment)) return false;
    shape->segments.push_back(segment);
    if (end == text.size()) return true;
    text.remove_prefix(end + 1);
  }
}

std::string SegmentsText(const BenchShape& shape) {
  std::string text;
  for (const BenchSegment& s : shape.segments) text += (text.empty() ? "" : ",") + SegmentText(s);
  return text;
}

std::optional<BenchList> ShapesToTime(const Common& common, const BenchOptions& options,
                                      Diagnostics* out) {
  if (!options.plan.empty()) return ShapesOfPlan(common, options, out);
  BenchList list;
  std::vector<std::string> texts = options.shapes;
  if (texts.empty()) texts.assign(std::begin(kShapes), std::end(kShapes));
  for (const std::string& text : texts) {
    BenchShape shape;
    if (!ParseShape(text, &shape)) {
      out->Add(Code::kUsage, fmt::format("{} is no shape", Quoted(text)))
          .Help(
              "NAME=IN:ROWS,ROWS…, with a letter after the rows of segments that are not FP8 "
              "blocks: `b` BF16, `t` FP8 with one scale, `c` with one for each row; "
              "`ferrule bench --list` prints shapes");
      return std::nullopt;
    }
    list.shapes.push_back(std::move(shape));
  }
  return list;
}

int ListShapes(const Common& common, const BenchOptions& options) {
  Diagnostics findings;
  const std::optional<BenchList> list = ShapesToTime(common, options, &findings);
  if (!list) return Finish(common, "bench", findings);
  std::string text = list->remarks + "shape\tmodules\tN\tK\tsegments\n";
  for (size_t i = 0; i < list->shapes.size(); ++i) {
    const BenchShape& shape = list->shapes[i];
    text += fmt::format("{}\t{}\t{}\t{}\t{}\n", shape.name,
                        list->modules.empty() ? "" : fmt::format("{}", list->modules[i]),
                        shape.rows(), shape.in, SegmentsText(shape));
  }
  Print(text);
  return 0;
}

}  // namespace ferrule::cli
