// SPDX-License-Identifier: Apache-2.0
// Which kernel runs a group, and why the others do not. The rows are in the order of preference;
// the first that does not refuse runs. To add a kernel: one source file with its run function, one
// row in dispatch.cc. Everything here is constant after start-up and safe from any thread.
#pragma once

#include <cstddef>
#include <string>

#include "kernels/linear.h"

namespace ferrule {

// What the dispatcher knows about the machine. Tests make up their own.
struct Machine {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
};
const Machine& ThisMachine();  // asked once

struct KernelRow {
  const char* name;  // `cpu_avx2`
  const char* what;  // one line for people
  // Null: runs this (valid) group. Else the reason why not, static text.
  const char* (*refuses)(const LinearGroup& group, const Machine& machine);
  // Group valid, workspace of WorkspaceSize(group) and aligned; not refused.
  LinearStatus (*run)(const LinearGroup& group, void* workspace, LinearPool* pool);
};

struct KernelRows {
  const KernelRow* rows;
  size_t count;
  const KernelRow* begin() const { return rows; }
  const KernelRow* end() const { return rows + count; }
};
KernelRows AllKernels();

// The row that LinearCpu uses, or null where all refuse. Does not validate the group.
const KernelRow* ChooseKernel(const LinearGroup& group, const Machine& machine = ThisMachine());

// `cpu_avx2 runs it` after a line for each row before it that refuses: `cpu_x: reason`.
std::string ExplainKernel(const LinearGroup& group, const Machine& machine = ThisMachine());

// LinearCpu with the choice made by the caller, for tests and benchmarks. kUnsupported with the
// row's own reason where it refuses.
LinearStatus RunKernel(const KernelRow& row, const LinearGroup& group, void* workspace,
                       size_t workspace_size, LinearPool* pool);

}  // namespace ferrule
