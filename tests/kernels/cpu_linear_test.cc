// SPDX-License-Identifier: Apache-2.0
// The fast paths against the specification. Every kernel row that this machine can run is tested.
#include "kernels/cpu_linear.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/dispatch.h"
#include "tests/catch.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr double kFastBound = 1e-5;
constexpr LinearScheme kBlock = LinearScheme::kFp8Block;
constexpr LinearScheme kChannel = LinearScheme::kFp8Channel;
constexpr LinearScheme kTensor = LinearScheme::kFp8Tensor;
constexpr LinearScheme kPlain = LinearScheme::kBf16;

// Memory of exactly the size that was asked for, with guard bytes behind it.
class Workspace {
 public:
  explicit Workspace(size_t size) : size_(size), memory_(size + 2 * kWorkspaceAlignment, 0xA5) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    start_ = memory_.data() + (kWorkspaceAlignment - address % kWorkspaceAlignment);
  }
  void* data() { return start_; }
  size_t size() const { return size_; }
  bool Intact() const {
    for (const uint8_t* p = start_ + size_; p < memory_.data() + memory_.size(); ++p)
      if (*p != 0xA5) return false;
    return true;
  }

 private:
  size_t size_;
  std::vector<uint8_t> memory_;
  uint8_t* start_;
};

std::vector<const KernelRow*> Runnable(const LinearGroup& group) {
  std::vector<const KernelRow*> rows;
  for (const KernelRow& row : AllKernels())
    if (row.refuses(group, ThisMachine()) == nullptr) rows.push_back(&row);
  return rows;
}

void Run(const KernelRow& row, TestGroup* test, LinearPool* pool = nullptr) {
  Workspace workspace(WorkspaceSize(test->group()));
  test->Poison();
  const LinearStatus status =
      RunKernel(row, test->group(), workspace.data(), workspace.size(), pool);
  INFO(status.message);
  REQUIRE(status.code == LinearCode::kOk);
  CHECK(workspace.Intact());
  CHECK(test->Damage() == "");
}

// The largest error over the segments of every kernel against the reference.
double WorstError(TestGroup* test) {
  REQUIRE(LinearReference(test->group()));
  std::vector<std::vector<float>> expected;
  const auto count = static_cast<size_t>(test->group().segment_count);
  for (size_t i = 0; i < count; ++i) expected.push_back(test->Y(i));
  double worst = 0;
  for (const KernelRow* row : Runnable(test->group())) {
    Run(*row, test);
    for (size_t i = 0; i < count; ++i)
      worst = std::max(worst, RelativeError(test->Y(i), expected[i]));
  }
  return worst;
}

const Shape kSchemes[] = {
    {.scheme = kBlock},
    {.scheme = kBlock, .extreme = true},
    {.scheme = kBlock, .ue8m0 = true},
    {.scheme = kBlock, .normal = true},
    {.scheme = kChannel},
    {.scheme = kChannel, .bias = true, .extreme = true},
    {.scheme = kTensor, .fixed = true},
    {.scheme = kPlain},
    {.scheme = kPlain, .weight_type = LinearWeight::kF16},
    {.scheme = kPlain, .weight_type = LinearWeight::kF32, .bias = true},
};

}  // namespace

TEST_CASE("odd numbers of tokens, rows and columns") {
  const int64_t all_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17};
  const int64_t all_rows[] = {1, 8, 16, 24, 64, 576, 1000};
  const int64_t all_columns[] = {1, 7, 64, 128, 200, 512, 2112};
  std::mt19937 random(7);
  size_t scheme = 0;
  double worst = 0;
  // Every pair of rows and columns with every number of tokens would take minutes in double: each
  // pair gets four of them in turn, with the schemes in turn.
  size_t turn = 0;
  for (const int64_t rows : all_rows) {
    for (const int64_t columns : all_columns) {
      for (int i = 0; i < (rows * columns > 500000 ? 2 : 6); ++i) {
        Shape shape = kSchemes[scheme++ % std::size(kSchemes)];
        const int64_t tokens = all_tokens[turn++ % std::size(all_tokens)];
        shape.rows = rows;
        if (shape.scheme == kBlock) {
          shape.n_phase = static_cast<int32_t>(random() % 128);
          shape.k_phase = static_cast<int32_t>(random() % 128);
        }
        INFO("tokens " << tokens << " rows " << rows << " columns " << columns << " scheme "
                       << (scheme - 1) % std::size(kSchemes));
        TestGroup test(static_cast<uint32_t>(random()), tokens, columns, {shape});
        const double error = WorstError(&test);
        CHECK(error <= kFastBound);
        worst = std::max(worst, error);
      }
    }
  }
  CHECK(worst > 0);  // a comparison with itself would be 0
}

TEST_CASE("all phases, with scales from 1e-4 to 1e4") {
  for (int32_t phase = 0; phase < 128; ++phase) {
    INFO("phase " << phase);
    const Shape by_row{.scheme = kBlock, .rows = 130, .n_phase = phase, .extreme = true};
    const Shape by_both{
        .scheme = kBlock, .rows = 130, .n_phase = 127 - phase, .k_phase = phase, .extreme = true};
    TestGroup test(static_cast<uint32_t>(phase), 2, 145, {by_row, by_both});
    CHECK(WorstError(&test) <= kFastBound);
  }
}

TEST_CASE("many tokens and other block sizes") {
  for (const Shape& shape : kSchemes) {
    TestGroup test(11, 131, 300, {shape});  // three tiles of tokens
    CHECK(WorstError(&test) <= kFastBound);
  }
  for (const int32_t block_k : {1, 16, 100, 512, 1 << 30}) {
    for (const int64_t tokens : {1, 7}) {
      TestGroup test(12, tokens, 2100, {{.scheme = kBlock, .rows = 20}});
      // 2100 columns have 17 blocks of 128; scales of smaller blocks are read as they come.
      std::vector<float> scales(20 * 2100, 0.5f);
      for (size_t i = 0; i < scales.size(); ++i) scales[i] += static_cast<float>(i % 97) * 0.01f;
      LinearSegment& s = test.segment(0);
      s.scale = scales.data();
      s.scale_stride = 2100;
      s.block_n = 7;
      s.block_k = block_k;
      s.k_phase = block_k - 1;
      INFO("block_k " << block_k << " tokens " << tokens);
      CHECK(WorstError(&test) <= kFastBound);
    }
  }
}

TEST_CASE("a group of mixed schemes gives what its segments give alone") {
  const std::vector<Shape> shapes{
      {.scheme = kBlock, .rows = 200, .n_phase = 64},
      {.scheme = kPlain, .rows = 0},
      {.scheme = kPlain, .rows = 16, .y_type = LinearOutput::kBf16},
      {.scheme = kChannel, .rows = 33},
      {.scheme = kBlock, .rows = 40, .ue8m0 = true},
      {.scheme = kTensor, .rows = 7, .fixed = true},
      {.scheme = kPlain, .rows = 5, .weight_type = LinearWeight::kF32},
      {.scheme = kBlock, .rows = 3, .n_phase = 126, .k_phase = 50},
      {.scheme = kPlain, .rows = 0},
  };
  TestGroup test(13, 5, 450, shapes);
  CHECK(WorstError(&test) <= 3e-3);  // one output is BF16
  for (const KernelRow* row : Runnable(test.group())) {
    Run(*row, &test);
    const auto together = test.Raw();
    const LinearGroup whole = test.group();
    test.Poison();
    for (int32_t i = 0; i < whole.segment_count; ++i) {
      LinearGroup one = whole;
      one.segments = whole.segments + i;
      one.segment_count = 1;
      Workspace workspace(WorkspaceSize(one));
      REQUIRE(RunKernel(*row, one, workspace.data(), workspace.size(), nullptr));
    }
    CHECK(test.Raw() == together);
  }
}

TEST_CASE("bits do not depend on the number of threads") {
  for (const int64_t tokens : {1, 4, 17, 70}) {
    TestGroup test(14, tokens, 515,
                   {{.scheme = kBlock, .rows = 300, .n_phase = 5},
                    {.scheme = kPlain, .rows = 100},
                    {.scheme = kChannel, .rows = 50}});
    for (const KernelRow* row : Runnable(test.group())) {
      Run(*row, &test);
      const auto alone = test.Raw();
      for (int threads = 1; threads <= 5; ++threads) {
        const auto pool = LinearPool::Create(threads);
        REQUIRE(pool != nullptr);
        for (int repeat = 0; repeat < 10; ++repeat) {
          Run(*row, &test, pool.get());
          CHECK(test.Raw() == alone);
        }
      }
    }
  }
}

TEST_CASE("bits of a token do not depend on the tokens beside it") {
  for (const Shape& shape : kSchemes) {
    TestGroup test(15, 67, 333, {shape});
    for (const KernelRow* row : Runnable(test.group())) {
      Run(*row, &test);
      const auto together = test.Y(0);
      for (const int64_t tokens : {1, 2, 3, 4, 5}) {
        test.group().tokens = tokens;
        test.Poison();
        Workspace workspace(WorkspaceSize(test.group()));
        REQUIRE(RunKernel(*row, test.group(), workspace.data(), workspace.size(), nullptr));
        const auto few = test.Y(0);
        CHECK(std::memcmp(few.data(), together.data(), few.size() * 4) == 0);
      }
      test.group().tokens = 67;
    }
  }
}

TEST_CASE("NaN and Inf in x stay in their token, in every kernel") {
  const uint16_t values[] = {0x7FC0, 0xFF81, 0x7F80, 0xFF80};
  for (const uint16_t bits : values) {
    TestGroup test(16, 6, 300,
                   {{.scheme = kBlock, .rows = 20},
                    {.scheme = kTensor, .rows = 20, .fixed = true},
                    {.scheme = kChannel, .rows = 20}});
    for (const KernelRow* row : Runnable(test.group())) {
      Run(*row, &test);
      CHECK(*test.group().nonfinite_tokens == 0);
      const std::vector<float> before[] = {test.Y(0), test.Y(1), test.Y(2)};
      const uint16_t old = test.x(3)[130];
      test.x(3)[130] = bits;
      Run(*row, &test);
      CHECK(*test.group().nonfinite_tokens == 1);
      for (size_t segment = 0; segment < 3; ++segment) {
        const auto y = test.Y(segment);
        for (size_t i = 0; i < y.size(); ++i)
          CHECK((i / 20 == 3 ? std::isnan(y[i]) : y[i] == before[segment][i]));
      }
      test.x(3)[130] = old;
    }
  }
}

TEST_CASE("a NaN code in a weight stays in its row") {
  for (const int64_t tokens : {1, 2, 3, 4, 9}) {
    for (const int64_t column : {0, 130, 143, 144, 149}) {
      for (const uint8_t code : {uint8_t{0x7F}, uint8_t{0xFF}}) {
        TestGroup test(17, tokens, 150, {{.scheme = kBlock, .rows = 21}});
        LinearSegment& s = test.segment(0);
        auto* weight = const_cast<uint8_t*>(static_cast<const uint8_t*>(s.weight));
        weight[18 * s.weight_stride + column] = code;
        CHECK(WorstError(&test) <= kFastBound);  // agrees with the reference about what is NaN
        const auto y = test.Y(0);
        for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i % 21 == 18));
      }
    }
  }
}

TEST_CASE("the largest, the smallest and subnormal codes") {
  for (const uint8_t code : {uint8_t{0x01}, uint8_t{0x07}, uint8_t{0x08}, uint8_t{0x7E},
                             uint8_t{0xFE}, uint8_t{0x00}, uint8_t{0x80}}) {
    for (const int64_t tokens : {1, 6}) {
      TestGroup test(18, tokens, 200, {{.scheme = kBlock, .rows = 5}});
      LinearSegment& s = test.segment(0);
      auto* weight = const_cast<uint8_t*>(static_cast<const uint8_t*>(s.weight));
      std::memset(weight, code, static_cast<size_t>(s.rows * s.weight_stride));
      for (int64_t m = 0; m < tokens; ++m)  // no cancellation, so that a bound per value holds
        for (int64_t k = 0; k < 200; ++k) test.x(m)[k] &= 0x7FFF;
      CHECK(WorstError(&test) <= kFastBound);
    }
  }
}

TEST_CASE("zero and denormal activations") {
  TestGroup test(19, 5, 256,
                 {{.scheme = kBlock, .rows = 20},
                  {.scheme = kChannel, .rows = 20},
                  {.scheme = kPlain, .rows = 20}});
  for (int64_t k = 0; k < 256; ++k) {
    test.x(0)[k] = 0;
    test.x(1)[k] = 0x8000;
    test.x(2)[k] = static_cast<uint16_t>(k % 128);        // subnormals
    test.x(3)[k] = k < 128 ? uint16_t{0} : test.x(3)[k];  // one group of zeros
  }
  CHECK(WorstError(&test) <= kFastBound);
  for (size_t segment = 0; segment < 2; ++segment)
    for (size_t i = 0; i < 60; ++i) CHECK(test.Y(segment)[i] == 0);
}

TEST_CASE("repeated calls with one workspace do not see each other") {
  TestGroup a(20, 64, 200, {{.scheme = kBlock, .rows = 30}});
  TestGroup b(21, 3, 100, {{.scheme = kPlain, .rows = 40}, {.scheme = kChannel, .rows = 40}});
  Workspace workspace(std::max(WorkspaceSize(a.group()), WorkspaceSize(b.group())));
  std::vector<uint32_t> first[2];
  for (int repeat = 0; repeat < 5; ++repeat) {
    size_t i = 0;
    for (TestGroup* test : {&a, &b}) {
      test->Poison();
      REQUIRE(LinearCpu(test->group(), workspace.data(), workspace.size()));
      if (repeat == 0) first[i] = test->Raw();
      CHECK(test->Raw() == first[i++]);
    }
  }
}
