// SPDX-License-Identifier: Apache-2.0
// The public half of loading to a GPU: modules by name, errors as text.
#include "kernels/load_gpu.h"

#include "engine/ferrule.h"
#include "kernels/device_model.h"
#include "kernels/loader.h"

namespace ferrule {

GpuWeights::GpuWeights(std::unique_ptr<DeviceModel> model) : model_(std::move(model)) {}
GpuWeights::~GpuWeights() = default;
const std::vector<DeviceModule>& GpuWeights::modules() const { return model_->modules(); }

std::unique_ptr<GpuWeights> GpuWeights::Load(const ModelPlan& plan,
                                             const std::vector<std::string>& names, int rank,
                                             const DeviceLoadOptions& options, std::string* error) {
  Diagnostics out;
  std::vector<LoadRequest> requests;
  for (const std::string& name : names) {
    const int32_t module = FindLoadable(plan, name, rank, &out);
    if (module < 0) break;
    requests.push_back({module, rank});
  }
  std::unique_ptr<DeviceModel> model;
  if (requests.size() == names.size())
    model = DeviceModel::Load(plan.internal(), requests, options, &out);
  if (model) return std::unique_ptr<GpuWeights>(new GpuWeights(std::move(model)));
  if (error != nullptr) *error = ToHuman(out, false);
  return nullptr;
}

}  // namespace ferrule
