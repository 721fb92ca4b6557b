// SPDX-License-Identifier: Apache-2.0
// Which kernels of kernels/large_m_linear.cuh there are: LargeArguments → the one for them.
#pragma once

#include "kernels/large_m_linear.cuh"

namespace ferrule::large_m {

template <int kTokens, int kRows, int kResident, LargeWork kWork, bool kTokenScales>
cudaError_t LaunchTileAs(const LargeArguments& a, const LaunchTarget& to) {
  // Of 64 tokens, and of K shared out, no plan does.
  constexpr bool kSends = kTokens > 64 && kWork == LargeWork::kTiles && !kTokenScales;
  const auto launch = [&](auto segments, auto mixed, auto sends) {
    return LaunchAs<kTokens, kRows, kResident, kWork, segments, mixed, sends, kTokenScales>(a, to);
  };
  constexpr std::integral_constant<int, 1> one;
  constexpr std::integral_constant<int, kGpuSegments> several;
  constexpr std::bool_constant<kSends> in_boxes;
  if constexpr (!kTokenScales)
    if (a.plan.bf16_tile > 0) return launch(several, std::true_type(), in_boxes);
  if (a.plan.sends)
    return a.segment_count > 1 ? launch(several, std::false_type(), in_boxes)
                               : launch(one, std::false_type(), in_boxes);
  return a.segment_count > 1 ? launch(several, std::false_type(), std::false_type())
                             : launch(one, std::false_type(), std::false_type());
}

template <int kTokens, int kRows, int kResident, bool kTokenScales, LargeWork kWork,
          LargeWork... kOthers>
cudaError_t LaunchWork(const LargeArguments& a, const LaunchTarget& to) {
  if constexpr (kWork == LargeWork::kTiles || (kResident == 1 && LargeWorks(kTokens, kRows, kWork)))
    if (a.plan.work == kWork)
      return LaunchTileAs<kTokens, kRows, kResident, kWork, kTokenScales>(a, to);
  if constexpr (sizeof...(kOthers) > 0) {
    return LaunchWork<kTokens, kRows, kResident, kTokenScales, kOthers...>(a, to);
  } else {
    return cudaErrorInvalidValue;
  }
}

template <int kTokens, int kRows, int kResident, bool kTokenScales>
cudaError_t LaunchTile(const LargeArguments& a, const LaunchTarget& to) {
  using enum LargeWork;
  return LaunchWork<kTokens, kRows, kResident, kTokenScales, kTiles, kOneTile, kTurns, kTwo, kFour>(
      a, to);
}

// One kernel for each number of rows, as LargeTileExists says; of few, two CTAs a multiprocessor.
template <int kTokens, bool kTokenScales, int kRows, int... kOthers>
cudaError_t LaunchRows(const LargeArguments& a, const LaunchTarget& to) {
  if (a.plan.row_tile == kRows) {
    if constexpr (kRows <= 64)
      if (a.plan.resident == 2) return LaunchTile<kTokens, kRows, 2, kTokenScales>(a, to);
    return LaunchTile<kTokens, kRows, 1, kTokenScales>(a, to);
  }
  if constexpr (sizeof...(kOthers) > 0) {
    return LaunchRows<kTokens, kTokenScales, kOthers...>(a, to);
  } else {
    return cudaErrorInvalidValue;
  }
}

template <bool kTokenScales>
cudaError_t LaunchOf64(const LargeArguments& a, const LaunchTarget& to) {
  return LaunchRows<64, kTokenScales, 32, 64, 80, 96, 112, 128, 160, 192>(a, to);
}
template <bool kTokenScales>
cudaError_t LaunchOf128(const LargeArguments& a, const LaunchTarget& to) {
  return LaunchRows<128, kTokenScales, 64, 80, 96, 112, 128, 160, 192>(a, to);
}
template <bool kTokenScales>
cudaError_t LaunchOf256(const LargeArguments& a, const LaunchTarget& to) {
  return LaunchRows<256, kTokenScales, 96, 128>(a, to);
}

}  // namespace ferrule::large_m
