// SPDX-License-Identifier: Apache-2.0
// The reads that bring modules into one piece of memory, run here on the host as
// kernels/device_model runs them on a GPU, against what LoadModule reads.
#include "kernels/load_jobs.h"

#include <cstring>

#include "kernels/loader.h"
#include "tests/catch.h"
#include "tests/loader/made.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr std::byte kGap{0xA5};

// All modules of all ranks.
std::vector<LoadRequest> Everything(const Plan& plan) {
  std::vector<LoadRequest> requests;
  for (const char* name : {"plain", "qkv", "down"})
    for (int rank = 0; rank < plan.tp; ++rank) requests.push_back({plan.Find(name), rank});
  return requests;
}

std::vector<std::byte> RunJobs(const Plan& plan, const LoadList& list) {
  std::vector<std::byte> memory(list.memory, kGap), buffer(list.buffer);
  uint64_t bytes = 0;
  for (const LoadJob& job : list.jobs) {
    Diagnostics out;
    const int64_t stride = ReadJob(*plan.checkpoint, job, buffer.data(), &out);
    REQUIRE(stride >= job.width);
    REQUIRE(static_cast<uint64_t>(job.rows * job.pitch) <= buffer.size());
    REQUIRE(static_cast<uint64_t>((job.rows - 1) * stride + job.width) <= buffer.size());
    for (int64_t row = 0; row < job.rows; ++row) {
      const uint64_t to = job.to + static_cast<uint64_t>(row * job.pitch);
      REQUIRE(to + static_cast<uint64_t>(job.width) <= memory.size());
      for (int64_t i = 0; i < job.width; ++i) REQUIRE(memory[to + i] == kGap);
      std::vector<std::byte> bits(buffer.begin() + row * stride,
                                  buffer.begin() + row * stride + job.width);
      // No byte is written twice; those that read like a gap are marked as written.
      for (std::byte& b : bits) b ^= kGap;
      for (std::byte& b : bits)
        if (b == kGap) b = std::byte{0x5A};
      std::memcpy(&memory[to], bits.data(), bits.size());
    }
    bytes += job.bytes();
  }
  CHECK(bytes == list.bytes);
  return memory;
}

std::byte Marked(std::byte b) {
  b ^= kGap;
  return b == kGap ? std::byte{0x5A} : b;
}

void Compare(const Plan& plan, const std::vector<LoadRequest>& requests, const LoadList& list,
             const std::vector<std::byte>& memory) {
  REQUIRE(list.modules.size() == requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    Diagnostics out;
    const auto linear = LoadModule(plan, requests[i].module, requests[i].rank, &out);
    REQUIRE(linear);
    const LaidModule& laid = list.modules[i];
    INFO(linear->name << " of rank " << requests[i].rank);
    CHECK(laid.placed.rows == linear->rows);
    CHECK(laid.placed.in == linear->in);
    REQUIRE(laid.segments.size() == linear->segments.size());
    for (size_t k = 0; k < laid.segments.size(); ++k) {
      const LinearSegment& s = laid.segments[k].segment;
      const LinearSegment& want = linear->segments[k];
      CHECK(s.scheme == want.scheme);
      CHECK(s.weight_type == want.weight_type);
      CHECK(s.n_phase == want.n_phase);
      CHECK(s.k_phase == want.k_phase);
      CHECK(s.scale_stride == want.scale_stride);
      REQUIRE(s.rows == want.rows);
      const int64_t element = WeightBytes(s);
      CHECK(s.weight_stride * element % 16 == 0);
      CHECK(laid.segments[k].weight % 256 == 0);
      bool same = true;
      for (int64_t row = 0; row < s.rows && same; ++row)
        for (int64_t b = 0; b < linear->in * element; ++b)
          same = same && memory[laid.segments[k].weight + row * s.weight_stride * element + b] ==
                             Marked(static_cast<const std::byte*>(
                                 want.weight)[row * want.weight_stride * element + b]);
      CHECK(same);
      const auto at = [&](uint64_t offset, const float* value) {
        const auto* bytes = reinterpret_cast<const std::byte*>(value);
        for (size_t b = 0; b < sizeof(float); ++b)
          if (memory[offset + b] != Marked(bytes[b])) return false;
        return true;
      };
      const PlacedSegment& placed = laid.placed.segments[k];
      const bool adds = placed.weight != plan.checkpoint->names.At("k.weight") &&
                        (linear->name != "down" || requests[i].rank == 0);
      CHECK((placed.bias >= 0) == adds);
      REQUIRE((want.bias != nullptr) == adds);
      for (int64_t row = 0; adds && row < s.rows; ++row)
        if (!at(laid.segments[k].bias + static_cast<uint64_t>(row) * 4, want.bias + row))
          FAIL_CHECK("bias of row " << row);
      if (want.scale == nullptr) continue;
      CHECK(at(laid.segments[k].scale, want.scale));
      if (want.scheme == LinearScheme::kFp8Block) {
        const int64_t last = (s.rows - 1 + s.n_phase) / s.block_n * s.scale_stride +
                             (linear->in - 1 + s.k_phase) / s.block_k;
        CHECK(at(laid.segments[k].scale + static_cast<uint64_t>(last) * 4, want.scale + last));
      }
      if (want.input_scale != nullptr) CHECK(at(laid.segments[k].input, want.input_scale));
    }
  }
}

}  // namespace

TEST_CASE("jobs of any size bring every byte of every rank to its place, once") {
  const Storage storages[] = {
      {"bf16", 0, 0, DType::kBF16, DType::kF32},
      {"bf16", 0, 0, DType::kF32, DType::kF32},
      {"fp8_block", 128, 128, DType::kBF16, DType::kBF16},
      {"fp8_channel", 0, 0, DType::kBF16, DType::kF32},
      {"fp8_static", 0, 0, DType::kBF16, DType::kF32},
  };
  uint32_t seed = 3;
  for (const Storage& storage : storages) {
    INFO(storage.scheme);
    Made made(seed++, storage, R"(  plain: {rows: plain, in: in, split: column, bias: true}
  q: {rows: 33, per: heads, in: in, split: column, bias: true}
  k: {rows: 17, per: heads, in: in, split: column}
  qkv: {fused: [q, k]}
  down: {rows: out, in: wide, split: row, bias: true}
)",
              {{"plain", 264}, {"in", 208}, {"heads", 4}, {"out", 21}, {"wide", 9216}});
    made.AddLinear("plain", 264, 208);
    made.AddLinear("q", 132, 208);
    made.AddLinear("k", 68, 208);
    made.AddLinear("down", 21, 9216);
    made.AddBias("plain", DType::kBF16);  // at tp 1 more than the smallest buffer
    made.AddBias("q", DType::kF16);
    made.AddBias("down", DType::kF32);
    for (const int tp : {1, 2, 4})
      for (const uint64_t buffer :
           {uint64_t{300}, uint64_t{1000}, uint64_t{30000}, uint64_t{8} << 20}) {
        INFO("tp " << tp << ", buffers of " << buffer);
        const Plan plan = made.PlanAt(tp);
        const std::vector<LoadRequest> requests = Everything(plan);
        Diagnostics out;
        const std::optional<LoadList> list = ListJobs(plan, requests, buffer, &out);
        REQUIRE(list);
        CHECK(list->buffer == buffer);  // whatever rows and scales there are
        Compare(plan, requests, *list, RunJobs(plan, *list));
        // Gaps are few: what a GPU holds beside the weights.
        uint64_t rows = 0;
        for (const LaidModule& module : list->modules)
          for (const LaidSegment& s : module.segments)
            rows += static_cast<uint64_t>(s.segment.rows);
        CHECK(list->memory <= list->bytes + 16 * rows + 256 * list->jobs.size());
      }
  }
}

TEST_CASE("a scale that cannot be is found where jobs read it too") {
  Made made(5, {"fp8_block", 128, 128, DType::kBF16, DType::kF32},
            "  w: {rows: rows, in: in, split: column}\n", {{"rows", 300}, {"in", 200}});
  made.AddLinear("w", 300, 200);
  const float zero = 0;
  std::memcpy(made.tensors().at("w.weight_scale_inv").bytes.data(), &zero, 4);
  const Plan plan = made.PlanAt(1);
  const LoadRequest request{plan.Find("w"), 0};
  Diagnostics out;
  const std::optional<LoadList> list = ListJobs(plan, {&request, 1}, 1 << 20, &out);
  REQUIRE(list);
  std::vector<std::byte> buffer(list->buffer);
  int failed = 0;
  for (const LoadJob& job : list->jobs)
    failed += ReadJob(*plan.checkpoint, job, buffer.data(), &out) == 0 ? 1 : 0;
  CHECK(failed == 1);
  REQUIRE(out.has_errors());
  CHECK(out.findings()[0].code == Code::kBadScaleValue);
}

TEST_CASE("buffers shrink so that those of all readers stay below 256 MB") {
  CHECK(BufferSize(1, 8 << 20) == 8 << 20);
  CHECK(BufferSize(8, 8 << 20) == 8 << 20);
  CHECK(BufferSize(8, 1000) == 1000);
  for (int readers = 1; readers <= 64; ++readers) {
    // With what the threads take.
    const auto count = static_cast<uint64_t>(readers);
    const uint64_t all = count * (2 * BufferSize(readers, 1 << 30) + (512 << 10));
    CHECK(all <= 240'000'000);
    CHECK(all + count * (2 << 20) > 240'000'000);  // and by no step more than they must
    CHECK(BufferSize(readers, 1 << 30) % (1 << 20) == 0);
  }
}
