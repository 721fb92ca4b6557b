// SPDX-License-Identifier: Apache-2.0
// A user of the installed library who loads two modules to the GPU: gpu_program CHECKPOINT MODULE
// MODULE
#include <ferrule/ferrule.h>
#include <ferrule/load_gpu.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto book = ferrule::RuleBook::Load();
  if (!book) return 2;
  const auto plan = book->Plan(argv[1], {.tp = 2});
  if (!plan) return 2;
  std::string error;
  const auto weights = ferrule::GpuWeights::Load(*plan, {argv[2], argv[3]}, 1, {}, &error);
  if (!weights) {
    std::fputs(error.c_str(), stdout);
    return 1;
  }
  for (const ferrule::DeviceModule& module : weights->modules())
    std::printf("%s: [%lld, %lld]\n", module.name.c_str(), static_cast<long long>(module.rows),
                static_cast<long long>(module.in));
  return 0;
}
