// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear.h"  // first: it must compile alone

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/thread_pool.h"
#include "tests/catch.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr LinearScheme kBlock = LinearScheme::kFp8Block;
constexpr LinearScheme kPlain = LinearScheme::kBf16;

template <typename T>
T* Shifted(T* pointer, int bytes) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(pointer) + static_cast<uintptr_t>(bytes));
}
const void* Shifted(const void* pointer, int bytes) {
  return static_cast<const char*>(pointer) + bytes;
}

}  // namespace

TEST_CASE("what is wrong with a descriptor is named, and nothing is written") {
  struct Row {
    LinearCode code;
    int segment;
    const char* message;
    void (*spoil)(LinearGroup& g, LinearSegment& fp8, LinearSegment& bf16);
  };
  constexpr int64_t kHuge = 1LL << 31;
  // The group has two segments: 0 is fp8_block, 1 is bf16.
#define SPOIL [](LinearGroup & g, LinearSegment & f, LinearSegment & b)
#define UNUSED (void)g, (void)f, (void)b
  const Row rows[] = {{LinearCode::kBadSize, -1, "tokens is negative", SPOIL{UNUSED, g.tokens = -1;
}
}
, {LinearCode::kTooLarge, -1, "tokens is too large", SPOIL{UNUSED, g.tokens = kHuge;
}
}
, {LinearCode::kBadSize, -1, "in is below 1", SPOIL{UNUSED, g.in = 0;
}
}
, {LinearCode::kBadSize, -1, "in is below 1", SPOIL{UNUSED, g.in = -128;
}
}
, {LinearCode::kTooLarge, -1, "in is too large", SPOIL{UNUSED, g.in = kHuge;
}
}
, {LinearCode::kBadSize, -1, "x_stride is smaller than in", SPOIL{UNUSED, g.x_stride = g.in - 1;
}
}
, {LinearCode::kTooLarge, -1, "x_stride is too large", SPOIL{UNUSED, g.x_stride = kHuge;
}
}
, {LinearCode::kNull, -1, "x is null", SPOIL{UNUSED, g.x = nullptr;
}
}
, {LinearCode::kMisaligned, -1, "x is not aligned to 2", SPOIL{UNUSED, g.x = Shifted(g.x, 1);
}
}
, {LinearCode::kMisaligned, -1, "nonfinite_tokens is not aligned to 8",
   SPOIL{UNUSED, g.nonfinite_tokens = Shifted(g.nonfinite_tokens, 4);
}
}
, {LinearCode::kNull, -1, "segments is null", SPOIL{UNUSED, g.segments = nullptr;
}
}
, {LinearCode::kBadSize, -1, "segment_count is negative", SPOIL{UNUSED, g.segment_count = -1;
}
}
, {LinearCode::kUnsupported, 0, "an unknown scheme",
   SPOIL{UNUSED, f.scheme = static_cast<LinearScheme>(9);
}
}
, {LinearCode::kUnsupported, 1, "an unknown output type",
   SPOIL{UNUSED, b.y_type = static_cast<LinearOutput>(2);
}
}
, {LinearCode::kUnsupported, 1, "E4M3 weights in a bf16 segment",
   SPOIL{UNUSED, b.weight_type = LinearWeight::kE4m3;
}
}
, {LinearCode::kBadSize, 1, "rows is negative", SPOIL{UNUSED, b.rows = -1;
}
}
, {LinearCode::kTooLarge, 1, "rows is too large", SPOIL{UNUSED, b.rows = kHuge;
}
}
, {LinearCode::kNull, 0, "weight is null", SPOIL{UNUSED, f.weight = nullptr;
}
}
, {LinearCode::kMisaligned, 1, "weight is not aligned to its element",
   SPOIL{UNUSED, b.weight = Shifted(b.weight, 1);
}
}
, {LinearCode::kBadSize, 0, "weight_stride is smaller than a row",
   SPOIL{UNUSED, f.weight_stride = g.in - 1;
}
}
, {LinearCode::kTooLarge, 0, "weight_stride is too large", SPOIL{UNUSED, f.weight_stride = kHuge;
}
}
, {LinearCode::kNull, 1, "y is null", SPOIL{UNUSED, b.y = nullptr;
}
}
, {LinearCode::kMisaligned, 1, "y is not aligned to its element",
   SPOIL{UNUSED, b.y = Shifted(b.y, 2);
}
}
, {LinearCode::kBadSize, 1, "y_stride is smaller than rows", SPOIL{UNUSED, b.y_stride = b.rows - 1;
}
}
, {LinearCode::kTooLarge, 1, "y_stride is too large", SPOIL{UNUSED, b.y_stride = kHuge;
}
}
, {LinearCode::kNull, 0, "scale is null", SPOIL{UNUSED, f.scale = nullptr;
}
}
, {LinearCode::kMisaligned, 0, "scale is not aligned to 4",
   SPOIL{UNUSED, f.scale = Shifted(f.scale, 2);
}
}
, {LinearCode::kBadSize, 0, "scale_stride is negative", SPOIL{UNUSED, f.scale_stride = -1;
}
}
, {LinearCode::kTooLarge, 0, "scale_stride is too large", SPOIL{UNUSED, f.scale_stride = kHuge;
}
}
, {LinearCode::kBadSize, 0, "scale_stride is smaller than a row of scales",
   SPOIL{UNUSED, f.scale_stride = 1;
}
}
, {LinearCode::kBadSize, 0, "n_phase is not inside its block", SPOIL{UNUSED, f.n_phase = 128;
}
}
, {LinearCode::kBadSize, 0, "n_phase is not inside its block", SPOIL{UNUSED, f.n_phase = -1;
}
}
, {LinearCode::kBadSize, 0, "k_phase is not inside its block", SPOIL{UNUSED, f.k_phase = 128;
}
}
, {LinearCode::kBadSize, 0, "k_phase is not inside its block", SPOIL{UNUSED, f.k_phase = -1;
}
}
, {LinearCode::kBadSize, 0, "a block size is below 1", SPOIL{UNUSED, f.block_n = 0;
}
}
, {LinearCode::kBadSize, 0, "a block size is below 1", SPOIL{UNUSED, f.block_k = -128;
}
}
, {LinearCode::kUnsupported, 0, "a static input_scale with block scales",
   SPOIL{UNUSED, f.input_scale = f.scale;
}
}
, {LinearCode::kUnsupported, 0, "a phase is given but the scheme has no blocks",
   SPOIL{UNUSED, f.scheme = LinearScheme::kFp8Channel, f.n_phase = 1;
}
}
, {LinearCode::kUnsupported, 0, "ue8m0 with a static input_scale",
   SPOIL{UNUSED, f.scheme = LinearScheme::kFp8Tensor, f.input_scale = f.scale, f.ue8m0 = true;
}
}
, {LinearCode::kMisaligned, 0, "input_scale is not aligned to 4",
   SPOIL{UNUSED, f.scheme = LinearScheme::kFp8Tensor, f.input_scale = Shifted(f.scale, 1);
}
}
, {LinearCode::kMisaligned, 1, "bias is not aligned to 4",
   SPOIL{UNUSED, b.bias = Shifted(f.scale, 1);
}
}
,
}
;
#undef SPOIL
#undef UNUSED
for (const Row& row : rows) {
  INFO(row.message);
  TestGroup test(1, 3, 200, {{.scheme = kBlock, .rows = 200}, {.scheme = kPlain, .rows = 9}});
  const auto poisoned = test.Raw();
  alignas(64) static char workspace[1 << 16];
  REQUIRE(Validate(test.group()));
  row.spoil(test.group(), test.segment(0), test.segment(1));
  for (const LinearStatus& status : {Validate(test.group()), LinearReference(test.group()),
                                     LinearCpu(test.group(), workspace, sizeof(workspace))}) {
    CHECK(status.code == row.code);
    CHECK(status.segment == row.segment);
    CHECK(std::string(status.message) == row.message);
  }
  CHECK(test.Raw() == poisoned);
}
}

TEST_CASE("zero tokens and no segments are nothing to do") {
  LinearGroup group;
  group.in = 128;
  int64_t nonfinite = 7;
  group.nonfinite_tokens = &nonfinite;
  CHECK(Validate(group));
  CHECK(WorkspaceSize(group) == 0);
  CHECK(LinearReference(group));
  CHECK(LinearCpu(group, nullptr, 0));
  CHECK(nonfinite == 0);

  // Tokens without rows to compute: only counted.
  const uint16_t x[2] = {0x7F80, 0x3F80};
  group = {.x = x, .tokens = 2, .in = 1, .x_stride = 1, .nonfinite_tokens = &nonfinite};
  CHECK(LinearCpu(group, nullptr, 0));
  CHECK(nonfinite == 1);
  CHECK(LinearReference(group));
  CHECK(nonfinite == 1);

  // Of a segment without rows nothing else is looked at.
  const LinearSegment none[] = {
      {.scheme = kBlock, .block_k = 0},
      {.scheme = LinearScheme::kFp8Tensor, .input_scale = reinterpret_cast<const float*>(4)}};
  group.segments = none;
  group.segment_count = 2;
  CHECK(LinearCpu(group, nullptr, 0));
  CHECK(LinearReference(group));
}

TEST_CASE("a workspace that does not do is refused") {
  TestGroup test(2, 3, 200, {{.scheme = kBlock, .rows = 20}});
  const size_t size = WorkspaceSize(test.group());
  REQUIRE(size > 0);
  std::vector<char> memory(size + 128);
  char* aligned = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
  CHECK(LinearCpu(test.group(), aligned, size));
  CHECK(LinearCpu(test.group(), aligned, size - 1).code == LinearCode::kWorkspace);
  CHECK(LinearCpu(test.group(), aligned + 32, size).code == LinearCode::kWorkspace);
  CHECK(LinearCpu(test.group(), nullptr, size).code == LinearCode::kWorkspace);
}

TEST_CASE("the workspace grows to 64 tokens and needs no pointers") {
  LinearSegment s{
      .scheme = kBlock, .rows = 64, .weight_stride = 512, .scale_stride = 4, .y_stride = 64};
  LinearGroup group{.tokens = 1, .in = 512, .segments = &s, .segment_count = 1};
  size_t last = 0;
  for (const int64_t tokens : {1, 2, 16, 64}) {
    group.tokens = tokens;
    CHECK(WorkspaceSize(group) > last);
    last = WorkspaceSize(group);
  }
  group.tokens = 1000000;
  CHECK(WorkspaceSize(group) == last);
  // Segments that want the same x share it.
  const LinearSegment two[] = {s, s};
  group.segments = two;
  group.segment_count = 2;
  CHECK(WorkspaceSize(group) < last + 1024);
  group.in = -1;
  CHECK(WorkspaceSize(group) == 0);
}

TEST_CASE("pools of any size work, and one pool serves many callers") {
  for (const auto& [asked, given] : {std::pair{-1, 1}, {0, 1}, {1, 1}, {3, 3}, {100000, 256}}) {
    const auto pool = LinearPool::Create(asked);
    REQUIRE(pool != nullptr);
    CHECK(pool->threads() <= given);
    CHECK(pool->threads() >= 1);
    if (given <= 3) CHECK(pool->threads() == given);
  }
  const auto pool = LinearPool::Create(3);
  std::vector<std::thread> callers;
  std::vector<int> wrong(4);
  for (uint32_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      TestGroup test(caller, 5, 300, {{.scheme = kBlock, .rows = 200}});
      const size_t size = WorkspaceSize(test.group());
      std::vector<char> memory(size + 64);
      char* aligned = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
      std::vector<uint32_t> first;
      for (int i = 0; i < 50; ++i) {
        test.Poison();
        wrong[caller] += !LinearCpu(test.group(), aligned, size, i == 0 ? nullptr : pool.get());
        if (i == 0) first = test.Raw();
        wrong[caller] += test.Raw() != first;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("a pool runs every task once") {
  const auto pool = LinearPool::Create(4);
  for (const int64_t count : {0, 1, 2, 3, 1000}) {
    std::vector<std::atomic<int>> ran(1000);
    RunTasks(
        pool.get(), count,
        [](void* context, int64_t task) {
          ++(*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<size_t>(task)];
        },
        &ran);
    for (int64_t i = 0; i < 1000; ++i) CHECK(ran[static_cast<size_t>(i)] == (i < count ? 1 : 0));
  }
}
