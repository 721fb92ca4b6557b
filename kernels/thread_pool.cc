// SPDX-License-Identifier: Apache-2.0
#include "kernels/thread_pool.h"

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

namespace ferrule {

LinearPool::Impl::Impl(int threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  } catch (const std::system_error&) {
    // The machine gives no more threads: run with those that there are.
  }
}

LinearPool::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void LinearPool::Impl::Drain() {
  for (int64_t task = next_++; task < count_; task = next_++) function_(context_, task);
}

void LinearPool::Impl::Work() {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    lock.unlock();
    Drain();
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

void LinearPool::Impl::Run(int64_t count, TaskFunction function, void* context) {
  std::unique_lock lock(mutex_);
  count_ = count;
  function_ = function;
  context_ = context;
  next_ = 0;
  running_ = static_cast<int>(workers_.size());
  ++round_;
  lock.unlock();
  start_.notify_all();
  Drain();
  lock.lock();
  done_.wait(lock, [&] { return running_ == 0; });
}

void RunTasks(LinearPool* pool, int64_t count, TaskFunction function, void* context) {
  if (pool != nullptr && pool->threads() > 1 && count > 1)
    return pool->impl().Run(count, function, context);
  for (int64_t task = 0; task < count; ++task) function(context, task);
}

std::unique_ptr<LinearPool> LinearPool::Create(int threads) try {
  return std::unique_ptr<LinearPool>(
      new LinearPool(std::make_unique<Impl>(std::clamp(threads, 1, 256))));
} catch (const std::bad_alloc&) {
  return nullptr;
}

LinearPool::LinearPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LinearPool::~LinearPool() = default;
int LinearPool::threads() const { return impl_->threads(); }

}  // namespace ferrule
