// SPDX-License-Identifier: Apache-2.0
// A checkpoint on the GPU, byte for byte what is in its files, and what is refused.
#include "kernels/device_model.h"

#include <cuda_runtime_api.h>

#include <cstring>

#include "kernels/loader.h"
#include "tests/catch.h"
#include "tests/loader/made.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr char kModules[] = R"(  plain: {rows: plain, in: in, split: column, bias: true}
  down: {rows: out, in: wide, split: row, bias: true}
)";

Made Model() {
  Made made(9, {"fp8_block", 128, 128, DType::kBF16, DType::kBF16}, kModules,
            {{"plain", 5000}, {"in", 1000}, {"out", 700}, {"wide", 18432}});
  made.AddLinear("plain", 5000, 1000);
  made.AddLinear("down", 700, 18432);
  made.AddBias("plain", DType::kF16);
  made.AddBias("down", DType::kBF16);
  return made;
}

std::vector<LoadRequest> Everything(const Plan& plan) {
  std::vector<LoadRequest> requests;
  for (const char* name : {"down", "plain"})
    for (int rank = 0; rank < plan.tp; ++rank) requests.push_back({plan.Find(name), rank});
  return requests;
}

}  // namespace

TEST_CASE("every rank's weights and scales arrive as they are stored") {
  Made made = Model();
  for (const int tp : {1, 2, 8})
    for (const int readers : {1, 3, 64})
      for (const uint64_t buffer : {uint64_t{40000}, uint64_t{8} << 20}) {
        const Plan plan = made.PlanAt(tp);
        const std::vector<LoadRequest> requests = Everything(plan);
        DeviceLoadOptions options;
        options.readers = readers;
        options.buffer = buffer;
        uint64_t done = 0, all = 1;
        options.progress = [&](uint64_t a, uint64_t b) { done = a, all = b; };
        Diagnostics out;
        const auto model = DeviceModel::Load(plan, requests, options, &out);
        INFO(Lines(out, made.directory()));
        REQUIRE(model);
        CHECK(done == all);
        CHECK(model->speed().pinned <= kMostPinned);
        for (size_t i = 0; i < requests.size(); ++i) {
          const auto want = LoadModule(plan, requests[i].module, requests[i].rank, &out);
          REQUIRE(want);
          const DeviceModule& got = model->modules()[i];
          REQUIRE(got.segments.size() == want->segments.size());
          CHECK(got.first_column == want->first_column);
          for (size_t k = 0; k < got.segments.size(); ++k) {
            const LinearSegment &a = got.segments[k], &b = want->segments[k];
            const size_t size = static_cast<size_t>(b.rows * want->in);
            std::vector<uint8_t> bytes(size);
            REQUIRE(cudaMemcpy2D(bytes.data(), static_cast<size_t>(want->in), a.weight,
                                 static_cast<size_t>(a.weight_stride),
                                 static_cast<size_t>(want->in), static_cast<size_t>(b.rows),
                                 cudaMemcpyDeviceToHost) == cudaSuccess);
            CHECK(std::memcmp(bytes.data(), b.weight, size) == 0);
            const int64_t last = (b.rows - 1 + b.n_phase) / b.block_n * b.scale_stride +
                                 (want->in - 1 + b.k_phase) / b.block_k;
            std::vector<float> scales(static_cast<size_t>(last + 1));
            REQUIRE(cudaMemcpy(scales.data(), a.scale, scales.size() * 4, cudaMemcpyDeviceToHost) ==
                    cudaSuccess);
            CHECK(std::memcmp(scales.data(), b.scale, scales.size() * 4) == 0);
            REQUIRE((a.bias != nullptr) == (b.bias != nullptr));
            if (b.bias == nullptr) continue;
            std::vector<float> bias(static_cast<size_t>(b.rows));
            REQUIRE(cudaMemcpy(bias.data(), a.bias, bias.size() * 4, cudaMemcpyDeviceToHost) ==
                    cudaSuccess);
            CHECK(std::memcmp(bias.data(), b.bias, bias.size() * 4) == 0);
          }
        }
      }
}

TEST_CASE("limits are measured without a change to the weights") {
  Made made = Model();
  const Plan plan = made.PlanAt(1);
  const std::vector<LoadRequest> requests = Everything(plan);
  Diagnostics out;
  const auto model = DeviceModel::Load(plan, requests, {}, &out);
  REQUIRE(model);
  const LinearSegment& s = model->modules()[0].segments[0];
  std::vector<uint8_t> before(700 * 18432), after = before;
  REQUIRE(cudaMemcpy(before.data(), s.weight, before.size(), cudaMemcpyDeviceToHost) ==
          cudaSuccess);
  REQUIRE(model->MeasureLimits(plan, requests, {}, UINT64_MAX, &out));
  REQUIRE(cudaMemcpy(after.data(), s.weight, after.size(), cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(before == after);
  CHECK(model->speed().page_cache > 0);
  CHECK(model->speed().pcie > 0);
}

TEST_CASE("NaN codes in a weight are found on the GPU and told as from the files") {
  for (const size_t at : {size_t{0}, size_t{999}, size_t{4321987}}) {
    Made made = Model();
    made.tensors().at("plain.weight").bytes[at] = at % 2 == 0 ? 0xFF : 0x7F;
    const Plan plan = made.PlanAt(1);
    Diagnostics out, want;
    CHECK(DeviceModel::Load(plan, Everything(plan), {}, &out) == nullptr);
    CHECK(LoadModule(plan, plan.Find("plain"), 0, &want) == nullptr);
    CHECK(Lines(out, made.directory()) == Lines(want, made.directory()));
  }
}
