// SPDX-License-Identifier: Apache-2.0
// Which way a group takes on GPUs that are no Hopper, and what cuBLASLt is given; no GPU is asked.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gpu_segments.h"
#include "kernels/gpu_steps.h"
#include "kernels/gpu_table.h"
#include "kernels/kernel_table.h"
#include "tests/catch.h"
#include "tests/kernels/asked_group.h"

using namespace ferrule;

namespace {

LinearSegment Of(LinearScheme scheme, int64_t rows) {
  LinearSegment s;
  s.scheme = scheme;
  s.weight = asked_memory;
  s.rows = s.y_stride = rows;
  s.weight_stride = 2048;
  s.scale = reinterpret_cast<const float*>(asked_memory);
  s.scale_stride = scheme == LinearScheme::kFp8Block ? 16 : 1;
  s.y = asked_memory;
  return s;
}

constexpr LinearScheme kBlocks = LinearScheme::kFp8Block, kBf16 = LinearScheme::kBf16,
                       kChannel = LinearScheme::kFp8Channel, kTensor = LinearScheme::kFp8Tensor;

bool Everything(const LtShape&, size_t* workspace) {
  *workspace = 1000;
  return true;
}

struct Asked : AskedGroup {
  using AskedGroup::AskedGroup;

  // "quantize mma0 mma1"
  std::string On(const GpuTarget& target, GpuKernel kernel = GpuKernel::kAny) const {
    std::string text;
    GpuChoice choice;
    choice.kernel = kernel;
    const auto take = [](const GpuStep& step, void* to) {
      std::string& words = *static_cast<std::string*>(to);
      const char* names[] = {"any",  "count", "small", "few", "quantize",
                             "tile", "large", "mma",   "lt",  "plain"};
      words += std::string(words.empty() ? "" : " ") + names[static_cast<int>(step.kernel)];
      if (step.kernel == GpuKernel::kQuantize && step.tight) words += "!";
      for (int i = 0; i < step.count; ++i) words += std::to_string(step.segments[i]);
      return LinearStatus();
    };
    CHECK(ForEachStep(group, choice, target, take, &text));
    return text;
  }
};

}  // namespace

TEST_CASE("other GPUs multiply by mma.sync, and by cuBLASLt where it is prepared") {
  for (const int sm : {80, 86, 89, 100, 120}) {
    INFO("sm_" << sm);
    for (const int64_t tokens : {1, 32, 33, 64, 65, 5000}) {
      CHECK(Asked(tokens, {Of(kBlocks, 512), Of(kBf16, 64), Of(kBlocks, 30)}).On({sm, nullptr}) ==
            "quantize mma0 mma2 mma1");
      CHECK(Asked(tokens, {Of(kChannel, 512), Of(kTensor, 64)}).On({sm, nullptr}) ==
            "quantize mma0 mma1");
    }
    const GpuTarget with_lt = GpuWithLt(sm);
    // Of FP8 cuBLASLt has there what has one scale for W and one for x, from Ada on.
    CHECK(Asked(64, {Of(kBlocks, 512)}).On(with_lt) == "quantize mma0");
    CHECK(Asked(5000, {Of(kBlocks, 512), Of(kBf16, 64)}).On(with_lt) == "quantize mma0 lt1");
    CHECK(Asked(32, {Of(kBf16, 64)}).On(with_lt) == "mma0");
    CHECK(Asked(33, {Of(kBf16, 64)}).On(with_lt) == "lt0");
    CHECK(Asked(5000, {Of(kChannel, 64)}).On(with_lt) == "quantize mma0");
    CHECK(Asked(5000, {Of(kTensor, 64)}).On(with_lt) == "quantize mma0");
    LinearSegment fixed = Of(kTensor, 64);
    fixed.input_scale = fixed.scale;
    CHECK(Asked(16, {fixed}).On(with_lt) == "quantize mma0");
    CHECK(Asked(17, {fixed}).On(with_lt) == (sm < 89 ? "quantize mma0" : "quantize lt0"));
    // What a cuBLASLt that is asked says counts more: it may learn.
    CHECK(Asked(17, {Of(kChannel, 64)}).On({sm, Everything}) == "quantize lt0");
    LinearSegment odd = Of(kBlocks, 64);
    odd.weight = asked_memory + 4;
    CHECK(Asked(3, {odd}).On({sm, nullptr}) == "quantize plain0");
  }
}

TEST_CASE("where cuBLASLt lacks scales is said") {
  for (const LtScales scales :
       {LtScales::kNone, LtScales::kScalar, LtScales::kOuter, LtScales::kBlocks})
    CHECK(LtLacks(scales, 90) == nullptr);
  CHECK(LtLacks(LtScales::kNone, 80) == nullptr);
  CHECK(LtLacks(LtScales::kScalar, 100) == nullptr);
  CHECK(std::string(LtLacks(LtScales::kScalar, 86)) == "the GPU does not multiply FP8");
  CHECK(std::string(LtLacks(LtScales::kOuter, 89)) ==
        "it has scales of rows and tokens on Hopper alone");
  CHECK(std::string(LtLacks(LtScales::kBlocks, 100)) == "it has scales of blocks on Hopper alone");
}

TEST_CASE("Hopper gives much work of per-tensor, per-channel and BF16 to cuBLASLt") {
  const GpuTarget alone{90, nullptr}, both = GpuWithLt(90);
  // One scale of x a token: cuBLASLt from 2^21 outputs of a segment on, 2^22 where there are
  // several.
  CHECK(Asked(16, {Of(kChannel, 4096)}).On(both) == "quantize small0");
  CHECK(Asked(32, {Of(kChannel, 4096)}).On(both) == "quantize small0");
  CHECK(Asked(32, {Of(kChannel, 12288)}).On(both) == "quantize large0");
  CHECK(Asked(33, {Of(kTensor, 4096)}).On(both) == "quantize large0");
  CHECK(Asked(511, {Of(kChannel, 4096)}).On(both) == "quantize large0");
  CHECK(Asked(512, {Of(kChannel, 4096)}).On(both) == "quantize lt0");
  CHECK(Asked(512, {Of(kChannel, 4096)}).On(alone) == "quantize large0");
  CHECK(Asked(512, {Of(kTensor, 4096)}).On(both) == "quantize lt0");
  CHECK(Asked(1023, {Of(kChannel, 4096), Of(kChannel, 1024), Of(kTensor, 1024)}).On(both) ==
        "quantize large012");
  // What is quantized for one serves the others.
  CHECK(Asked(1024, {Of(kChannel, 4096), Of(kChannel, 1024), Of(kTensor, 1024)}).On(both) ==
        "quantize large12 lt0");
  // BF16 beside it is a launch of its own; so are blocks, which want another x.
  CHECK(Asked(8, {Of(kChannel, 512), Of(kBf16, 64)}).On(both) == "quantize small0 few1");
  CHECK(Asked(100, {Of(kChannel, 512), Of(kBlocks, 512), Of(kBf16, 64)}).On(both) ==
        "quantize large0 quantize large21");
  CHECK(Asked(100, {Of(kChannel, 512), Of(kChannel, 512), Of(kChannel, 512), Of(kTensor, 512),
                    Of(kChannel, 512)})
            .On(both) == "quantize large0123 large4");
  // Two kernels have scales of blocks alone.
  CHECK(Asked(8, {Of(kChannel, 512)}).On(both, GpuKernel::kTile) == "quantize mma0");
  CHECK(Asked(8, {Of(kChannel, 512)}).On(both, GpuKernel::kFewRows) == "quantize mma0");
  LinearSegment gaps = Of(kChannel, 512);
  gaps.scale_stride = 2;
  CHECK(Asked(8, {gaps}).On(both) == "quantize mma0");
  CHECK(Asked(16, {Of(kBf16, 16384)}).On(both) == "small0");
  CHECK(Asked(17, {Of(kBf16, 16384)}).On(both) == "lt0");
  CHECK(Asked(17, {Of(kBf16, 16384)}).On(alone) == "small0");
  CHECK(Asked(32, {Of(kBf16, 4095)}).On(both) == "small0");
  CHECK(Asked(17, {Of(kBf16, 4096)}).On(both) == "lt0");
  CHECK(Asked(128, {Of(kBf16, 2048)}).On(both) == "large0");
  CHECK(Asked(129, {Of(kBf16, 2048)}).On(both) == "lt0");
  CHECK(Asked(128, {Of(kBf16, 64)}).On(both) == "small0");
  CHECK(Asked(4096, {Of(kBf16, 64)}).On(both) == "large0");
  CHECK(Asked(4097, {Of(kBf16, 64)}).On(both) == "lt0");
  CHECK(Asked(1024, {Of(kBf16, 16384)}).On(both) == "lt0");
  CHECK(Asked(1024, {Of(kBf16, 16384)}).On(alone) == "large0");
  // Beside blocks BF16 goes in their launches, unless it is much work.
  CHECK(Asked(128, {Of(kBlocks, 512), Of(kBf16, 1 << 20)}).On(both) == "quantize large10");
  CHECK(Asked(129, {Of(kBlocks, 512), Of(kBf16, 16384)}).On(both) == "quantize large10");
  CHECK(Asked(299, {Of(kBlocks, 512), Of(kBf16, 16384)}).On(both) == "quantize large0 lt1");
  CHECK(Asked(299, {Of(kBlocks, 512), Of(kBf16, 16384)}).On(alone) == "quantize large0 large1");
  CHECK(Asked(4095, {Of(kBlocks, 1024), Of(kBf16, 512)}).On(both) == "quantize large10");
  CHECK(Asked(16, {Of(kBlocks, 12288), Of(kBf16, 64)}).On(both) == "small01");
  CHECK(Asked(17, {Of(kBlocks, 12288), Of(kBf16, 64)}).On(both) == "quantize large10");
  for (const int64_t tokens : {33, 64, 130, 512, 4096})
    CHECK(Asked(tokens, {Of(kBlocks, 12288), Of(kBf16, 64)}).On(both) == "quantize large10");
  // Blocks of shapes that were not measured: our own.
  CHECK(Asked(33, {Of(kBlocks, 500)}).On(both) == "quantize large0");
  CHECK(Asked(1024, {Of(kBlocks, 500)}).On(both) == "quantize large0");
  CHECK(Asked(256, {Of(kBlocks, 32768)}).On(both) == "quantize large0");
  CHECK(Asked(1024, {Of(kBlocks, 500), Of(kBlocks, 500)}).On(both) == "quantize large01");
  // Where asked for: if it is there and takes it, with scales of x that lie close.
  CHECK(Asked(1024, {Of(kBlocks, 500)}).On(both, GpuKernel::kLt) == "quantize! lt0");
  CHECK(Asked(1026, {Of(kBlocks, 500)}).On(both, GpuKernel::kLt) == "quantize tile0");  // in fours
  CHECK(Asked(1024, {Of(kBlocks, 500)}).On(alone, GpuKernel::kLt) == "quantize tile0");
  // Measured shapes go where they were the fastest, and else to the fastest of our own.
  for (const int64_t rows : {1024, 9216, 12288})
    for (const int64_t tokens : {256, 512, 1024, 4096}) {
      GpuChoice measured;
      REQUIRE(LookUpGpu(rows, 2048, tokens, &measured) > 0);
      INFO(rows << " rows, " << tokens << " tokens");
      CHECK(Asked(tokens, {Of(kBlocks, rows)}).On(both) ==
            (measured.kernel == GpuKernel::kLt ? "quantize! lt0" : "quantize large0"));
      CHECK(Asked(tokens, {Of(kBlocks, rows)}).On(alone) == "quantize large0");
    }
  CHECK(KernelRanges(Asked(1, {Of(kChannel, 12288)}).group, both, 20).back().lines.back().why ==
        "many boxes of W");
  // What was measured with scales of blocks is chosen for others, and said.
  CHECK(KernelRanges(Asked(1, {Of(kChannel, 12288)}).group, both, 40).back().lines.back().why ==
        "measured with block scales: 12288 x 2048, up to 64 tokens");
  CHECK(KernelRanges(Asked(1, {Of(kBlocks, 12288)}).group, both, 40).back().lines.back().why ==
        "measured: 12288 x 2048, up to 64 tokens");
  Asked invariant(1024, {Of(kChannel, 64), Of(kBf16, 16384)});
  invariant.group.batch_invariant = true;
  CHECK(invariant.On(both) == "tile1 quantize mma0");
}

TEST_CASE("what cuBLASLt does not take has a reason") {
  struct Row {
    const char* reason;
    LinearSegment segment;
    int64_t tokens = 64;
  };
  std::vector<Row> rows;
  const auto row = [&rows](const char* reason, LinearScheme scheme) -> Row& {
    rows.push_back({reason, Of(scheme, 64)});
    return rows.back();
  };
  row("its weight is not BF16", kBf16).segment.weight_type = LinearWeight::kF16;
  row("it adds no float32 bias to BF16 outputs", kChannel).segment.bias =
      reinterpret_cast<const float*>(asked_memory);
  row("its rows are no multiple of 16 bytes apart", kTensor).segment.weight = asked_memory + 1;
  row("its outputs are no multiple of 16 bytes apart", kBf16).segment.y_stride = 66;
  row("its blocks are not 128 × 128", kBlocks).segment.block_k = 64;
  row("it begins inside a scale block", kBlocks).segment.n_phase = 64;
  row("tokens are not in fours", kBlocks).tokens = 65;
  row("its scale rows have gaps", kBlocks).segment.scale_stride = 20;
  row("its scales have gaps", kChannel).segment.scale_stride = 2;
  row("one scale of x and one for each row of W", kChannel).segment.input_scale =
      reinterpret_cast<const float*>(asked_memory);
  for (const Row& r : rows) {
    const Asked asked(r.tokens, {r.segment});
    LtShape shape;
    const char* reason = LtRefuses(asked.group, asked.segments[0], &shape);
    REQUIRE(reason != nullptr);
    CHECK(std::string(reason) == r.reason);
  }
  LtShape shape;
  const Asked tensor(70, {Of(kTensor, 100)});
  REQUIRE(LtRefuses(tensor.group, tensor.segments[0], &shape) == nullptr);
  CHECK(shape.scales == LtScales::kOuter);
  CHECK(LtScaleBytes(tensor.segments[0], shape) == 512);
  GpuChoice only;
  only.kernel = GpuKernel::kLt;
  CHECK(WorkspaceBehindX(tensor.group, only, {90, Everything}) == 1512);
  CHECK(WorkspaceBehindX(tensor.group, only, {90, nullptr}) == 0);
}

TEST_CASE(
    "the quantizer repeats the scale of the segment that comes next, where cuBLASLt wants it") {
  const auto repeats = [](const std::vector<LinearSegment>& list, const GpuChoice& choice = {}) {
    const Asked asked(1 << 16, list);
    std::string text;
    const auto take = [](const GpuStep& step, void* to) {
      std::string& words = *static_cast<std::string*>(to);
      if (step.kernel == GpuKernel::kQuantize) words += "q" + std::to_string(step.repeats) + " ";
      if (step.kernel == GpuKernel::kLt) words += step.repeated ? "r " : "- ";
      return LinearStatus();
    };
    CHECK(ForEachStep(asked.group, choice, {90, Everything}, take, &text));
    return text;
  };
  CHECK(repeats({Of(kTensor, 64)}) == "q0 r ");
  CHECK(repeats({Of(kTensor, 64), Of(kTensor, 128)}) == "q0 r - ");
  CHECK(repeats({Of(kChannel, 64), Of(kTensor, 128)}) == "q-1 - - ");
  CHECK(repeats({Of(kTensor, 64), Of(kChannel, 128)}) == "q0 r - ");
  CHECK(repeats({Of(kChannel, 64)}) == "q-1 - ");
  LinearSegment fixed = Of(kTensor, 64);
  fixed.input_scale = reinterpret_cast<const float*>(asked_memory);
  CHECK(repeats({fixed}) == "q-1 - ");
  LinearSegment with_bias = Of(kTensor, 64);  // not by cuBLASLt, and quantized before
  with_bias.bias = reinterpret_cast<const float*>(asked_memory);
  CHECK(repeats({with_bias, Of(kTensor, 64)}) == "q-1 - ");
  GpuChoice before;
  before.x_is_quantized = true;
  CHECK(repeats({Of(kTensor, 64)}, before) == "- ");
}

namespace {

// A cuBLASLt that wants more for fewer tokens, by more than their x is smaller, prepared for all
// numbers of them but multiples of 3.
bool Falling(const LtShape& shape, size_t* workspace) {
  *workspace = static_cast<size_t>((10000 - shape.tokens) * 10000 + shape.rows);
  return shape.tokens % 3 != 0;
}
size_t MostFalling(const LtShape& shape) {
  size_t most = 0;
  for (LtShape fewer = shape; fewer.tokens > 0; --fewer.tokens) {
    size_t bytes = 0;
    if (fewer.IsUpTo(shape) && Falling(fewer, &bytes)) most = std::max(most, bytes);
  }
  return most;
}

// FP8 of blocks that the table gives to cuBLASLt, for the most tokens that it does so for.
Asked ByLt() {
  for (int64_t rows = 64; rows <= 65536; rows += 64)
    for (int64_t in = 512; in <= 32768; in += 512)
      for (int64_t tokens = 4096; tokens >= 64; tokens -= 64) {
        GpuChoice choice;
        if (LookUpGpu(rows, in, tokens, &choice) == 0) break;
        if (choice.kernel != GpuKernel::kLt) continue;
        LinearSegment segment = Of(kBlocks, rows);
        segment.weight_stride = in;
        segment.scale_stride = in / 128;
        Asked asked(tokens, {segment});
        asked.group.in = asked.group.x_stride = in;
        return asked;
      }
  FAIL("no row of the table is cuBLASLt's: what is said of those rows cannot be tested");
  return Asked(0, {});
}

}  // namespace

TEST_CASE("a workspace for many tokens does for fewer, also where cuBLASLt wants more for those") {
  struct Row {
    const char* sentence;
    Asked asked;
  };
  Row rows[] = {
      {"BF16 alone", {1, {Of(kBf16, 6144)}}},
      {"blocks of a measured shape: cuBLASLt for some numbers of tokens", ByLt()},
      {"a scale for the tensor", {1, {Of(kTensor, 2048)}}},
      {"one for each row, beside BF16", {1, {Of(kChannel, 4096), Of(kBf16, 640)}}},
      {"blocks and much BF16", {1, {Of(kBlocks, 1024), Of(kBf16, 16384)}}},
  };
  const GpuTarget target{90, Falling, MostFalling};
  for (Row& row : rows) {
    INFO(row.sentence);
    Asked& asked = row.asked;
    size_t needed = 0;      // by any number of tokens so far
    bool by_fewer = false;  // and by fewer than those asked about
    for (int64_t tokens = 1; tokens <= 2200; ++tokens) {
      asked.group.tokens = tokens;
      const size_t now = WorkspaceNow(asked.group, {}, target);
      by_fewer = by_fewer || now < needed;
      needed = std::max(needed, now);
      if (tokens % 50 > 3) continue;
      INFO(tokens << " tokens");
      CHECK(WorkspaceUpTo(asked.group, {}, target) >= needed);
    }
    CHECK(by_fewer);
    // Nothing of cuBLASLt's where it is not to run.
    const size_t x = WorkspaceUpTo(asked.group, {}, {90, nullptr});
    CHECK(x == WorkspaceNow(asked.group, {}, {90, nullptr}));
    asked.group.batch_invariant = true;
    CHECK(WorkspaceUpTo(asked.group, {}, target) == x);
  }
}

TEST_CASE("only the same product counts as one of fewer tokens") {
  const LtShape many{LtScales::kOuter, LinearOutput::kBf16, 512, 100, 2048, 2048, 2048, 512};
  LtShape few = many;
  CHECK(few.IsUpTo(many));
  few.tokens = 1;
  CHECK(few.IsUpTo(many));
  CHECK_FALSE(many.IsUpTo(few));
  for (int64_t LtShape::*field :
       {&LtShape::rows, &LtShape::in, &LtShape::w_stride, &LtShape::x_stride, &LtShape::y_stride}) {
    LtShape other = few;
    other.*field += 16;
    CHECK_FALSE(other.IsUpTo(many));
  }
  few.scales = LtScales::kScalar;
  CHECK_FALSE(few.IsUpTo(many));
}

TEST_CASE("what one device holds changes no other's steps") {
  GpuRoom few;
  few.multiprocessors = 78;
  for (int slices = 1; slices <= 16; ++slices) few.clusters[slices] = slices > 8 ? 0 : 78 / slices;
  const Asked asked(1, {Of(kBlocks, 12288)});
  const std::string before = ExplainSteps(asked.group, {}, {90});
  CHECK(ExplainSteps(asked.group, {}, {90, nullptr, nullptr, &few}) != before);
  CHECK(ExplainSteps(asked.group, {}, {90}) == before);
  Asked invariant(1, {Of(kBlocks, 2048)});
  invariant.group.batch_invariant = true;  // as many slices as there are multiprocessors for
  CHECK(ExplainSteps(invariant.group, {}, {90}).find("K in 8 slices") != std::string::npos);
  CHECK(ExplainSteps(invariant.group, {}, {90, nullptr, nullptr, &few}).find("K in 4 slices") !=
        std::string::npos);
}

TEST_CASE("why cuBLASLt does not take what it should is said") {
  struct Row {
    const char* reason;  // null: none is to be said
    LinearSegment segment;
    int64_t tokens = 64;
    GpuTarget target = GpuWithLt(90);
    bool batch_invariant = false;
  };
  LinearSegment odd = Of(kBf16, 16384), biased = Of(kChannel, 65536);
  odd.y_stride = 16385;
  biased.bias = biased.scale;
  const Row rows[] = {
      {nullptr, Of(kChannel, 65536)},
      {nullptr, Of(kChannel, 32767), 64, {90}},  // few outputs: not cuBLASLt's
      {nullptr, Of(kBlocks, 500), 1024, {90}},   // faster without it
      {"its outputs are no multiple of 16 bytes apart", odd},
      {"it adds no float32 bias to BF16 outputs", biased},
      {"it was not prepared", Of(kBf16, 16384), 64, {90}},
      {"it has scales of rows and tokens on Hopper alone", Of(kChannel, 64), 64, GpuWithLt(89)},
      {"the GPU does not multiply FP8", Of(kTensor, 64), 64, GpuWithLt(80)},
      {"the order of its sums changes with the tokens", Of(kBf16, 16384), 64, GpuWithLt(90), true},
  };
  for (const Row& row : rows) {
    Asked asked(row.tokens, {row.segment});
    asked.group.batch_invariant = row.batch_invariant;
    const std::string text = ExplainSteps(asked.group, {}, row.target);
    INFO(text);
    const std::string said = "; not by cuBLASLt: ";
    if (row.reason == nullptr)
      CHECK(text.find(said) == std::string::npos);
    else
      CHECK(text.find(said + row.reason + "\n") != std::string::npos);
  }
  Asked odd_tokens = ByLt();
  --odd_tokens.group.tokens;
  CHECK(ExplainSteps(odd_tokens.group, {}, GpuWithLt(90))
            .find("; not by cuBLASLt: tokens are not in fours\n") != std::string::npos);
  // Of several segments: which.
  const Asked two(300, {Of(kBlocks, 512), odd});
  CHECK(ExplainSteps(two.group, {}, GpuWithLt(90)).find("; not by cuBLASLt: its outputs") !=
        std::string::npos);
  const Asked beside(64, {Of(kBf16, 512), odd});
  CHECK(ExplainSteps(beside.group, {}, GpuWithLt(90)).find("; not by cuBLASLt, segment 1: its") !=
        std::string::npos);
}

TEST_CASE("other GPUs are explained by what they lack") {
  Asked asked(1, {Of(kBlocks, 512)});
  const std::vector<KernelRange> ranges = KernelRanges(asked.group, {80, nullptr}, 300);
  REQUIRE(ranges.size() == 1);
  REQUIRE(ranges[0].lines.size() == 2);
  CHECK(ranges[0].lines[1].kernel == "mma_linear");
  CHECK(ranges[0].lines[1].why == "the GPU is no Hopper");
}

TEST_CASE("what holds for tokens in fours alone is told apart") {
  const Asked asked = ByLt();
  const int64_t most = asked.group.tokens;
  const std::vector<KernelRange> ranges = KernelRanges(asked.group, {90, Everything}, most);
  REQUIRE(ranges.size() < 20);
  int64_t next = 1;
  for (const KernelRange& range : ranges) {
    if (range.step == 4) continue;
    CHECK(range.first == next);  // the others hold for all tokens
    next = range.last + 1;
  }
  CHECK(next == most + 1);
  CHECK(ranges.back().step == 4);
  CHECK(ranges.back().lines.back().kernel == "cuBLASLt");
  CHECK(ranges.back().last == most);
}
