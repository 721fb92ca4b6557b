// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch: a kernel begins while the one before still runs. In a graph of
// twenty launches, which begin as early as they can, each must read what the one before wrote and
// write nothing that it still reads: x, y, the quantized x and nonfinite_tokens.
#include "tests/gpu/chain.h"

#include <set>

#include "kernels/linear_gpu.h"
#include "kernels/lt_linear.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

Shape Normal(int64_t rows) {
  Shape s = Fp8(rows);
  s.normal = true;
  return s;
}

constexpr int64_t kKept = 1 << 18;  // values of a y, of which those of all links are kept

// A graph, replayed twenty times, and launches without a wait give what launches give of which each
// is awaited.
void Holds(Chain* chain, const Chain::Way& way) {
  INFO(ExplainGpu(chain->device().group(), way.choice)
       << way.buffers << " buffers" << (way.counts ? ", counts" : ""));
  chain->Run(way, true);
  const std::vector<uint16_t> all = chain->All(way), last = chain->Last(way);
  const std::vector<int64_t> counts = chain->Counts();
  CHECK(chain->Alive(last));
  if (way.counts) CHECK(counts == std::vector<int64_t>(Chain::kLinks, chain->nonfinite()));
  chain->Run(way, false);
  CHECK(chain->Last(way) == last);
  const cudaGraphExec_t graph = chain->Capture(way);
  for (int i = 0; i < 20; ++i) {
    chain->Replay(graph);
    REQUIRE(chain->Last(way) == last);
    REQUIRE(chain->Counts() == counts);
  }
  CHECK(chain->All(way) == all);
  cudaGraphExecDestroy(graph);
}

// Every choice, which must be heard; what plans of kLarge do is added to `works`, and to `sends`
// whether y leaves in boxes.
struct Done {
  std::set<LargeWork> works;
  std::set<bool> sends;
};
void Hold(int64_t tokens, int64_t size, const std::vector<Shape>& shapes,
          const std::vector<GpuChoice>& choices, Done* done = nullptr) {
  Chain chain(tokens, size, shapes);
  INFO(tokens << " tokens");
  for (const GpuChoice& choice : choices) {
    std::vector<LinearSegment> segments;
    const LinearGroup link = chain.Link({choice}, 0, &segments);
    INFO(ExplainGpu(link, choice));
    CHECK(Unheard(link, choice) == "");
    if (done != nullptr) {
      const LargePlan plan = LargePlanOf(link, choice);
      done->works.insert(plan.work);
      done->sends.insert(plan.sends);
    }
    Holds(&chain, {choice, 2, false});
    Holds(&chain, {choice, tokens * size <= kKept ? Chain::kLinks + 1 : 2, true});
  }
}

}  // namespace

TEST_CASE("each launch of a chain of few tokens reads what the one before wrote") {
  std::vector<GpuChoice> choices;
  for (const int slices : {1, 2, 4, 8})  // of 8 there are 128 CTAs
    for (const int halves : {1, 2})
      for (const int quantized : {0, 1})
        choices.push_back(InSmall({.slices = slices, .halves = halves, .quantized = quantized}));
  for (const int quantized : {0, 1}) {
    choices.push_back(InSmall({.clusters = 2, .quantized = quantized}));
    for (const int ahead : {SmallChoice::kAtOnce, SmallChoice::kAfterX, 0, 9})
      choices.push_back(InSmall({.ahead = ahead, .quantized = quantized}));
  }
  choices.push_back(Only(GpuKernel::kAny));
  for (const int64_t tokens : {1, 8, 16, 32, 100}) {
    Hold(tokens, 1024, {Normal(1024)}, choices);
    Hold(tokens, 1024, {Normal(960), Bf16(64)}, FewTokens(true));
  }
  Hold(3, 512, {Normal(512)}, FewTokens(false));
}

TEST_CASE("each launch of a chain of many tokens reads what the one before wrote") {
  Done done;
  std::vector<GpuChoice> choices = ManyTokens(40, 0);
  for (const int rows : {64, 128})
    for (const int slices : {6, 8}) choices.push_back(InLarge({64, rows, slices, 1, 1}));
  Hold(40, 1024, {Normal(1024)}, choices, &done);
  Hold(200, 1024, {Normal(1024)}, {InLarge({128, 128, 8, 1, 1}), InLarge({128, 96, 1, 1, 1})},
       &done);
  Hold(1000, 1024, {Normal(1024)}, ManyTokens(1000, 0), &done);  // 128 tiles of 128 x 64
  Hold(140, 1024, {Normal(960), Bf16(64)}, ManyTokens(140, 32), &done);
  Hold(5, 512, {Normal(512)}, ManyTokens(5, 0), &done);
  CHECK(done.works.size() == 5);  // all that there are
  for (const int64_t tokens : {64, 200, 600}) {
    Hold(tokens, 1024, {Normal(1024)}, {Only(GpuKernel::kAny)});
    Hold(tokens, 1024, {Normal(960), Bf16(64)}, {Only(GpuKernel::kAny)});
  }
}

TEST_CASE("each launch of a chain whose y leaves in boxes reads what the one before wrote") {
  Done done;
  std::vector<GpuChoice> choices;
  for (const auto& [tokens, rows] : {std::pair{128, 64}, {128, 128}, {128, 192}, {256, 128}})
    choices.push_back(InLarge({tokens, rows, 1, 1, 1}));
  for (const int share : {2, -2, 4}) choices.push_back(InLarge({128, 128, 1, share, 1}));
  Hold(2056, 2048, {Normal(2048)}, choices, &done);
  Hold(2056, 2048, {Normal(1024), Normal(1024)},
       {InLarge({128, 128, 1, 1, 1}), InLarge({256, 128, 1, 1, 1})}, &done);
  CHECK(done.sends == std::set<bool>{true});
}

TEST_CASE("each launch of a chain of other kernels reads what the one before wrote") {
  for (const int64_t tokens : {5, 70, 300}) {
    Hold(tokens, 512, {Normal(512)}, AnyTokens(false));
    Hold(tokens, 512, {Normal(448), Bf16(64)}, AnyTokens(true));
    const std::vector<GpuChoice> few = {InFewRows({1, 1}), InFewRows({1, 2}), InFewRows({4, 1})};
    Hold(tokens, 512, {Normal(512)}, few);
    Hold(tokens, 512, {Bf16(448), Bf16(64)}, few);
  }
  Hold(128, 1024, {Normal(1024)}, {InTile({64, 128, 4, 1, 1}), InTile({128, 128, 8, 1, 1})});
}

TEST_CASE("each launch of a chain by cuBLASLt reads what the one before wrote") {
  if (LtAbsent() != nullptr) return Skip(LtAbsent());
  Shape channel = Normal(1024);
  channel.scheme = LinearScheme::kFp8Channel;
  for (const Shape& shape : {Bf16(1024), channel})
    for (const int64_t tokens : {64, 1000}) {
      Chain chain(tokens, 1024, {shape});
      const GpuChoice choice = Only(GpuKernel::kLt);
      REQUIRE(chain.device().Prepare(choice) == "");
      CHECK(Unheard(chain.device().group(), choice) == "");
      Holds(&chain, {choice, 2, false});
      Holds(&chain, {choice, Chain::kLinks + 1, true});
    }
}
