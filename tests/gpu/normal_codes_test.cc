// SPDX-License-Identifier: Apache-2.0
// Weights as checkpoints have them, for which bounds are close: every kernel, each tile and way to
// share.
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/choices.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr int64_t kColumns = 1088;  // K ends inside a block

Shape Normal(Shape s) {
  s.normal = true;
  return s;
}

void AgreeClosely(int64_t tokens, const std::vector<Shape>& shapes,
                  const std::vector<GpuChoice>& choices) {
  Agree(96, {"normal codes", tokens, kColumns, shapes}, 8, choices, kNormalCodes, true);
}

}  // namespace

TEST_CASE("few tokens agree closely with the CPU where codes are those of normal values") {
  std::vector<GpuChoice> choices = FewTokens(false);
  choices.push_back(Only(GpuKernel::kAny));
  for (const int slices : {1, 2, 8}) choices.push_back(InSmall({.slices = slices}));
  for (const int64_t tokens : {1, 5, 8, 13, 32, 70}) {
    AgreeClosely(tokens, {Normal(Fp8(600))}, choices);
    AgreeClosely(tokens, {Normal(Fp8(301, 37, 48)), Bf16(72), Normal(Fp8(520, 0, 48))},
                 FewTokens(true));
  }
}

TEST_CASE("many tokens agree closely with the CPU where codes are those of normal values") {
  AgreeClosely(270, {Normal(Fp8(301, 37, 48)), With(Normal(Fp8(320, 0, 48)), true)},
               ManyTokens(270, 0));
  AgreeClosely(140, {Normal(Fp8(400)), Bf16(72)}, ManyTokens(140, 32));
  for (const int64_t tokens : {40, 200, 1000})
    AgreeClosely(tokens, {Normal(Fp8(600))}, {Only(GpuKernel::kAny)});
}

TEST_CASE("other kernels agree closely with the CPU where codes are those of normal values") {
  for (const int64_t tokens : {1, 16, 140}) {
    AgreeClosely(tokens, {Normal(Fp8(520))}, AnyTokens(false));
    AgreeClosely(tokens, {Normal(Fp8(301, 37, 48)), Bf16(72)}, AnyTokens(true));
  }
}
