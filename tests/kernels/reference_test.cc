// SPDX-License-Identifier: Apache-2.0
// The specification against a second reading of the same prose, and against readings that are
// wrong.
#include "kernels/reference.h"

#include <cmath>
#include <thread>

#include "tests/catch.h"
#include "tests/kernels/group.h"
#include "tests/kernels/naive.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr double kReferenceBound = 1e-6;
constexpr double kFastBound = 1e-5;  // the loosest bound of the suite: mutants must fail this one

constexpr LinearScheme kBlock = LinearScheme::kFp8Block;
constexpr LinearScheme kChannel = LinearScheme::kFp8Channel;
constexpr LinearScheme kTensor = LinearScheme::kFp8Tensor;
constexpr LinearScheme kPlain = LinearScheme::kBf16;

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  // One of 0 … count-1.
  int32_t Below(uint32_t count) { return static_cast<int32_t>(random_() % count); }
  bool Coin() { return Below(2) == 0; }
  template <typename T>
  T Of(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<uint32_t>(values.size()))];
  }

 private:
  std::mt19937 random_;
};

Shape AnyShape(Dice* dice) {
  Shape shape{
      .scheme = dice->Of({kPlain, kBlock, kChannel, kTensor}),
      .rows = dice->Of({0, 1, 2, 3, 9, 128, 131, 300}),
      .weight_type = dice->Of({LinearWeight::kBf16, LinearWeight::kF16, LinearWeight::kF32}),
      .y_type = dice->Of({LinearOutput::kF32, LinearOutput::kBf16}),
      .bias = dice->Coin(),
      .extreme = dice->Coin()};
  if (shape.scheme == kBlock) {
    shape.n_phase = dice->Below(128);
    shape.k_phase = dice->Below(128);
  }
  if (shape.scheme == kChannel || shape.scheme == kTensor) shape.fixed = dice->Coin();
  if (shape.scheme != kPlain && !shape.fixed) shape.ue8m0 = dice->Coin();
  return shape;
}

}  // namespace

TEST_CASE("the reference agrees with a second reading of the numerics") {
  struct Row {
    const char* what;
    int64_t tokens, in;
    Shape shape;
  };
  const Row rows[] = {
      {"bf16", 3, 200, {.scheme = LinearScheme::kBf16, .rows = 24}},
      {"f16 weights", 2, 64, {LinearScheme::kBf16, 9, 0, 0, LinearWeight::kF16}},
      {"f32 weights and bias",
       2,
       64,
       {LinearScheme::kBf16, 9, 0, 0, LinearWeight::kF32, LinearOutput::kF32, false, false, true}},
      {"whole blocks", 3, 512, {kBlock, 256}},
      {"tails", 3, 200, {kBlock, 200}},
      {"phases", 3, 450, {kBlock, 300, 64, 32}},
      {"phases of one", 2, 255, {kBlock, 130, 127, 127}},
      {"one column", 2, 1, {kBlock, 3, 5, 127}},
      {"extreme scales", 3, 512, {.scheme = kBlock, .rows = 512, .n_phase = 17, .extreme = true}},
      {"ue8m0", 3, 300, {.scheme = kBlock, .rows = 40, .k_phase = 100, .ue8m0 = true}},
      {"channel", 3, 300, {.scheme = kChannel, .rows = 40, .extreme = true}},
      {"channel, static", 3, 300, {.scheme = kChannel, .rows = 40, .fixed = true}},
      {"tensor", 3, 300, {.scheme = kTensor, .rows = 40}},
      {"tensor, static, bias",
       3,
       300,
       {.scheme = kTensor, .rows = 40, .fixed = true, .bias = true}},
  };
  uint32_t seed = 100;
  for (const Row& row : rows) {
    INFO(row.what);
    TestGroup test(++seed, row.tokens, row.in, {row.shape});
    REQUIRE(LinearReference(test.group()));
    const auto naive = Naive(test.group(), test.segment(0), Mutant::kNone);
    CHECK(RelativeError(test.Y(0), naive) <= kReferenceBound);
    CHECK(test.Damage() == "");
  }
}

TEST_CASE("wrong numerics are far outside the bounds") {
  struct Row {
    Mutant mutant;
    const char* what;
    Shape shape;
    double at_least;  // the difference the mistake makes on this data, far from kFastBound
  };
  const Shape plain{kBlock, 320};
  const Shape phased{kBlock, 320, 64, 64};
  const Shape ue8m0{.scheme = kBlock, .rows = 320, .ue8m0 = true};
  const Row rows[] = {
      {Mutant::kNextScaleRow, "next row of scales", plain, 0.1},
      {Mutant::kNextScaleRow, "next row of channel scales", {kChannel, 320}, 0.1},
      {Mutant::kNextScaleColumn, "next column of scales", plain, 0.1},
      {Mutant::kTransposedScales, "transposed scales", plain, 0.1},
      {Mutant::kStretchedBlocks, "block height as rows / scale rows", plain, 0.05},
      {Mutant::kIgnoredNPhase, "row phase ignored", phased, 0.1},
      {Mutant::kIgnoredKPhase, "column phase ignored", phased, 0.1},
      {Mutant::kOtherXScale, "activation scale of another block", plain, 0.05},
      {Mutant::kUnquantizedX, "x not quantized", plain, 5e-3},
      {Mutant::kUnquantizedX, "x not quantized, channel", {kChannel, 320}, 5e-3},
      {Mutant::kOneScalePerToken, "one activation scale per token", plain, 1e-3},
      {Mutant::kDividedScale, "divided by the scale", plain, 0.5},
      {Mutant::kTruncatedX, "x truncated to E4M3", plain, 5e-3},
      {Mutant::kUnroundedUe8m0, "scale_fmt ignored", ue8m0, 1e-3},
      {Mutant::kFloorUe8m0, "scale_fmt rounded down", ue8m0, 1e-3},
  };
  uint32_t seed = 200;
  for (const Row& row : rows) {
    INFO(row.what);
    TestGroup test(++seed, 3, 448, {row.shape});
    REQUIRE(LinearReference(test.group()));
    REQUIRE(RelativeError(test.Y(0), Naive(test.group(), test.segment(0), Mutant::kNone)) <=
            kReferenceBound);
    const double error = RelativeError(test.Y(0), Naive(test.group(), test.segment(0), row.mutant));
    CHECK(error >= row.at_least);
    CHECK(error > 100 * kFastBound);
  }
}

TEST_CASE("a NaN or an Inf in x reaches its token alone and is counted") {
  for (const uint16_t bits :
       {uint16_t{0x7FC0}, uint16_t{0xFF81}, uint16_t{0x7F80}, uint16_t{0xFF80}}) {
    for (const bool fixed : {false, true}) {
      TestGroup test(3, 4, 300, {{kBlock, 20}, {.scheme = kTensor, .rows = 20, .fixed = fixed}});
      REQUIRE(LinearReference(test.group()));
      const auto before = {test.Y(0), test.Y(1)};
      CHECK(*test.group().nonfinite_tokens == 0);
      test.x(2)[299] = bits;
      REQUIRE(LinearReference(test.group()));
      CHECK(*test.group().nonfinite_tokens == 1);
      size_t segment = 0;
      for (const auto& old : before) {
        const auto y = test.Y(segment++);
        for (size_t i = 0; i < y.size(); ++i)
          CHECK((i / 20 == 2 ? std::isnan(y[i]) : y[i] == old[i]));
      }
    }
  }
}

TEST_CASE("zero gives zero, also below the floor of amax") {
  TestGroup test(4, 2, 256, {{kBlock, 20}, {kChannel, 20}, {LinearScheme::kBf16, 20}});
  for (int64_t k = 0; k < 256; ++k) {
    test.x(0)[k] = static_cast<uint16_t>(k % 2 == 0 ? 0 : 0x8000);
    test.x(1)[k] = static_cast<uint16_t>(k % 2 == 0 ? 1 : 0x8001);  // the smallest subnormals
  }
  REQUIRE(LinearReference(test.group()));
  for (size_t s = 0; s < 2; ++s)
    for (const float y : test.Y(s)) CHECK(y == 0);
  CHECK(RelativeError(test.Y(2), Naive(test.group(), test.segment(2), Mutant::kNone)) <= 1e-6);
}

TEST_CASE("BF16 output is the F32 output rounded") {
  TestGroup f32(5, 3, 200, {{kBlock, 33}});
  TestGroup bf16(5, 3, 200, {{.scheme = kBlock, .rows = 33, .y_type = LinearOutput::kBf16}});
  REQUIRE(LinearReference(f32.group()));
  REQUIRE(LinearReference(bf16.group()));
  const auto wide = f32.Y(0);
  const auto narrow = bf16.Y(0);
  for (size_t i = 0; i < wide.size(); ++i)
    CHECK(std::abs(wide[i] - narrow[i]) <= std::abs(wide[i]) * 0x1p-8f);
  CHECK(RelativeError(narrow, wide) > 5e-4);
  CHECK(bf16.Damage() == "");
}

TEST_CASE("rows shared out to threads give the same bits, and tokens are counted once") {
  std::vector<std::unique_ptr<LinearPool>> pools;
  for (const int threads : {1, 2, 3, 20}) pools.push_back(LinearPool::Create(threads));
  Dice dice(6);
  int64_t nonfinite = 0;
  for (uint32_t round = 0; round < 150; ++round) {
    INFO("round " << round);
    std::vector<Shape> shapes(static_cast<size_t>(dice.Below(5)));
    for (Shape& shape : shapes) shape = AnyShape(&dice);
    TestGroup test(1000 + round, dice.Below(5), 1 + dice.Below(300), shapes);
    for (size_t i = 0; i < shapes.size(); ++i)  // the grid of scales has room for larger blocks
      test.segment(i).block_n = test.segment(i).block_k = dice.Of({128, 150});
    if (test.group().tokens > 0) test.x(0)[0] = dice.Of<uint16_t>({0x3F80, 0x3F80, 0x7F80});
    REQUIRE(LinearReference(test.group()));
    const auto alone = test.Raw();
    const int64_t counted = *test.group().nonfinite_tokens;
    nonfinite += counted;
    for (const auto& pool : pools) {
      INFO(pool->threads() << " threads");
      test.Poison();
      *test.group().nonfinite_tokens = -1;
      CHECK(LinearReference(test.group(), pool.get()));
      CHECK(test.Raw() == alone);
      CHECK(*test.group().nonfinite_tokens == counted);
      CHECK(test.Damage() == "");
    }
  }
  CHECK(nonfinite > 0);
}

TEST_CASE("callers that share a pool do not see each other, one of the fast path neither") {
  const auto pool = LinearPool::Create(3);
  int wrong[4] = {};
  std::vector<std::thread> callers;
  for (uint32_t caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] {
      TestGroup test(30 + caller, 2, 100, {{kBlock, 20 + caller}, {kChannel, 7}});
      std::vector<char> memory(WorkspaceSize(test.group()) + kWorkspaceAlignment);
      void* workspace = memory.data();
      size_t size = memory.size();
      std::align(kWorkspaceAlignment, WorkspaceSize(test.group()), workspace, size);
      const auto run = [&](LinearPool* on) {
        test.Poison();
        return caller == 0 ? LinearCpu(test.group(), workspace, size, on)
                           : LinearReference(test.group(), on);
      };
      wrong[caller] += !run(nullptr);
      const auto alone = test.Raw();
      for (int i = 0; i < 100; ++i) wrong[caller] += !run(pool.get()) || test.Raw() != alone;
    });
  for (std::thread& caller : callers) caller.join();
  for (const int count : wrong) CHECK(count == 0);
}
