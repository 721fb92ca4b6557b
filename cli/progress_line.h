// SPDX-License-Identifier: Apache-2.0
// The line on a terminal that says how far something is.
#pragma once

#include <chrono>
#include <string>

namespace ferrule::cli {

// On standard error, the same line again and again. One thread.
class ProgressLine {
 public:
  // Nothing is written unless `terminal`.
  explicit ProgressLine(bool terminal) : terminal_(terminal) {}
  ~ProgressLine() { End(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // What follows begins now: nothing is shown of what takes less than half a second.
  void Begin();
  void Show(const std::string& text);
  // Whatever is written next, an error too, has a line of its own.
  void End();

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_;
  Clock::time_point begin_ = Clock::now();
  size_t width_ = 0;  // of what stands there
};

}  // namespace ferrule::cli
