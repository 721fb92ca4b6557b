// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoints, loaded to the GPU as planned and run there, give the outputs that were
// recorded by others, whole and in two ranks.
#include <fmt/format.h>

#include "kernels/device_linear.h"
#include "kernels/device_model.h"
#include "kernels/fp8.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/gpu/agreement.h"
#include "tests/loader/tiny.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

struct Tiny {
  Tiny(const std::string& name, int parallel)
      : plan(test::PlanFor(SourceBook(), OpenSound(FixturePath("tiny/" + name)), parallel)),
        inputs(FixturePath("tiny/" + name + "/inputs.safetensors")),
        outputs(FixturePath("tiny/" + name + "/outputs.safetensors")) {
    for (const std::string& module : inputs.names())
      for (int rank = 0; rank < parallel; ++rank) {
        std::string y =
            parallel == 1 ? module + ".y" : fmt::format("{}.y_tp{}.rank{}", module, parallel, rank);
        if (!outputs.Has(y)) continue;  // as for what is not split
        requests.push_back({plan.Find(module), rank});
        modules.push_back(module);
        recorded.push_back(std::move(y));
      }
    Diagnostics out;
    model = DeviceModel::Load(plan, requests, {}, &out);
    INFO(ToHuman(out, false));
    REQUIRE(model);
    REQUIRE(model->modules().size() == requests.size());
  }

  // y of the i-th request, with its bias or without.
  std::vector<float> Run(size_t i, bool bias) const {
    const DeviceModule& module = model->modules()[i];
    const Activations x = Read(inputs, modules[i]);
    std::vector<LinearSegment> segments = module.segments;
    for (LinearSegment& segment : segments)
      if (!bias) segment.bias = nullptr;
    std::vector<float> y(static_cast<size_t>(x.tokens * module.rows));
    const LinearStatus status =
        RunFromHost(segments, module.rows, module.in, x.values.data() + module.first_column,
                    x.tokens, x.columns, y.data(), module.rows);
    INFO(status.message);
    REQUIRE(status);
    return y;
  }

  Plan plan;
  TensorData inputs, outputs;
  std::vector<LoadRequest> requests;
  std::vector<std::string> modules, recorded;  // of each request
  std::unique_ptr<DeviceModel> model;
};

}  // namespace

TEST_CASE("the recorded outputs come out of the GPU") {
  for (const char* const name : {"qwen3_next_fp8", "qwen3_5_fp8"})
    for (const int tp : {1, 2}) {
      const Tiny tiny(name, tp);
      CHECK(tiny.requests.size() > 50);
      for (size_t i = 0; i < tiny.requests.size(); ++i) {
        INFO(name << ", " << tiny.recorded[i]);
        CHECK(RelativeError(tiny.Run(i, false), tiny.outputs.Floats(tiny.recorded[i])) < kF32Bound);
      }
    }
}

TEST_CASE("biases of a checkpoint are added on the GPU") {
  const Tiny tiny("qwen3_5_fp8", 1);
  const TensorData stored(FixturePath("tiny/qwen3_5_fp8/model.safetensors"));
  int biased = 0;
  for (size_t i = 0; i < tiny.requests.size(); ++i) {
    if (!stored.Has(tiny.modules[i] + ".bias")) continue;
    INFO(tiny.modules[i]);
    const std::vector<uint16_t> bias = stored.Halves(tiny.modules[i] + ".bias");
    std::vector<float> y = tiny.outputs.Floats(tiny.recorded[i]);
    const std::vector<float> without = y;
    for (size_t k = 0; k < y.size(); ++k) y[k] += Bf16ToFloat(bias[k % bias.size()]);
    CHECK(RelativeError(y, without) > 1e-3);
    CHECK(RelativeError(tiny.Run(i, true), y) < kF32Bound);
    ++biased;
  }
  CHECK(biased == 6);
}
