// SPDX-License-Identifier: Apache-2.0
// Threads that wait for numbered tasks. Which thread runs which task is left to chance: a task must
// not depend on it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/linear.h"

namespace ferrule {

using TaskFunction = void (*)(void* context, int64_t task);  // must not throw

class LinearPool::Impl {
 public:
  explicit Impl(int threads);
  ~Impl();
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Held by one call of LinearCpu from its first Run to its last.
  std::mutex& busy() { return busy_; }

  // Runs tasks 0 … count-1, the caller among the workers, and returns when all are done.
  void Run(int64_t count, TaskFunction function, void* context);

 private:
  void Work();
  void Drain();

  std::mutex busy_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  uint64_t round_ = 0;  // guarded by mutex_, as the next three
  int running_ = 0;
  bool stop_ = false;
  int64_t count_ = 0;  // INVARIANT: these three change only while running_ == 0
  TaskFunction function_ = nullptr;
  void* context_ = nullptr;
  std::atomic<int64_t> next_{0};
  std::vector<std::thread> workers_;
};

// On the pool, or on the caller's thread where there is none.
void RunTasks(LinearPool* pool, int64_t count, TaskFunction function, void* context);

}  // namespace ferrule
