// SPDX-License-Identifier: Apache-2.0
#include "kernels/dispatch.h"

#include "kernels/cpu_linear.h"

namespace ferrule {
namespace {

const char* RefusesAvx2(const LinearGroup&, const Machine& machine) {
  if (Avx2Kernel() == nullptr) return "not compiled for this architecture";
  if (!machine.avx2) return "the CPU has no AVX2";
  if (!machine.fma) return "the CPU has no FMA";
  if (!machine.f16c) return "the CPU has no F16C";
  return nullptr;
}

LinearStatus RunAvx2(const LinearGroup& group, void* workspace, LinearPool* pool) {
  return RunCpu(*Avx2Kernel(), group, workspace, pool);
}

const char* RefusesNothing(const LinearGroup&, const Machine&) { return nullptr; }

LinearStatus RunPortable(const LinearGroup& group, void* workspace, LinearPool* pool) {
  return RunCpu(PortableKernel(), group, workspace, pool);
}

constexpr KernelRow kRows[] = {
    {"cpu_avx2", "x86-64 with AVX2, FMA and F16C, all schemes", RefusesAvx2, RunAvx2},
    {"cpu_portable", "any CPU, all schemes", RefusesNothing, RunPortable},
};

Machine AskMachine() {
  Machine machine;
#if defined(__x86_64__) && defined(__GNUC__)
  machine.avx2 = __builtin_cpu_supports("avx2") != 0;
  machine.fma = __builtin_cpu_supports("fma") != 0;
  // Every CPU with AVX2 that was built has F16C; clang 14 does not know the name.
#if defined(__clang__)
  machine.f16c = machine.avx2;
#else
  machine.f16c = __builtin_cpu_supports("f16c") != 0;
#endif
#endif
  return machine;
}

}  // namespace

const Machine& ThisMachine() {
  static const Machine machine = AskMachine();
  return machine;
}

KernelRows AllKernels() { return {kRows, sizeof(kRows) / sizeof(kRows[0])}; }

const KernelRow* ChooseKernel(const LinearGroup& group, const Machine& machine) {
  for (const KernelRow& row : AllKernels())
    if (row.refuses(group, machine) == nullptr) return &row;
  return nullptr;
}

std::string ExplainKernel(const LinearGroup& group, const Machine& machine) {
  std::string text;
  for (const KernelRow& row : AllKernels()) {
    const char* reason = row.refuses(group, machine);
    if (reason == nullptr) return text + row.name + " runs it: " + row.what;
    text += std::string(row.name) + ": " + reason + "\n";
  }
  return text + "no kernel runs it";
}

LinearStatus RunKernel(const KernelRow& row, const LinearGroup& group, void* workspace,
                       size_t workspace_size, LinearPool* pool) {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  const char* reason = row.refuses(group, ThisMachine());
  if (reason != nullptr) return {LinearCode::kUnsupported, -1, reason};
  const size_t needed = WorkspaceSize(group);
  if (needed > 0 && workspace == nullptr)
    return {LinearCode::kWorkspace, -1, "the workspace is null"};
  if (reinterpret_cast<uintptr_t>(workspace) % kWorkspaceAlignment != 0)
    return {LinearCode::kWorkspace, -1, "the workspace is not aligned to 64"};
  if (needed > workspace_size) return {LinearCode::kWorkspace, -1, "the workspace is too small"};
  return row.run(group, workspace, pool);
}

LinearStatus LinearCpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                       LinearPool* pool) {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  const KernelRow* row = ChooseKernel(group);
  if (row == nullptr) return {LinearCode::kUnsupported, -1, "every kernel refuses this group"};
  return RunKernel(*row, group, workspace, workspace_size, pool);
}

}  // namespace ferrule
