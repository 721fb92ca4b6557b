// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_line.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule::cli {

void ProgressLine::Begin() {
  End();
  begin_ = Clock::now();
}

void ProgressLine::Show(const std::string& text) {
  if (!terminal_ || Clock::now() - begin_ < std::chrono::milliseconds(500)) return;
  fmt::print(stderr, "\r{:<{}}", text, width_);  // over all that stood there
  width_ = std::max(width_, text.size());
}

void ProgressLine::End() {
  if (width_ > 0) fmt::print(stderr, "\n");
  width_ = 0;
}

}  // namespace ferrule::cli
