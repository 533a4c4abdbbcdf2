#include "kernels/thread_pool.h"

#include <sched.h>

#include <chrono>
#include <utility>

#include "kernels/flush_denormals.h"

namespace lockstep::kernels {
namespace {

using Clock = std::chrono::steady_clock;

// A thread that waits spins for about 50 microseconds, longer than most operations of a step differ
// between threads. Then it offers its core to others, which may be what the thread that it waits
// for has been interrupted by; and sleeps only after a time that is longer than the gap between
// steps: to be woken takes as long as several operations.
constexpr int kSpins = 2000;
constexpr auto kAwake = std::chrono::milliseconds(2);
constexpr int kYieldsPerClockReading = 16;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(ThreadTeam team, NoHelpersYet)
    : team_(std::move(team)), claims_(new Claim[static_cast<std::size_t>(team_.size)]) {}

// The other constructor has made the pool by now: should this one throw, the destructor ends the
// helpers that there are.
ThreadPool::ThreadPool(ThreadTeam team) : ThreadPool(std::move(team), NoHelpersYet{}) {
  for (int index = 1; index < team_.size; ++index) {
    helpers_.emplace_back([this, index] { help(index); });
    if (team_.cpus.empty()) continue;
    pin_thread(helpers_.back().native_handle(), team_.cpus[static_cast<std::size_t>(index)]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void ThreadPool::run_erased(ErasedTask task, const void* context) {
  task_ = task;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const unsigned generation = generation_.fetch_add(1, std::memory_order_release) + 1;
  generation_.notify_all();
  task(context, 0);
  unsigned busy = 0;  // helpers
  for (std::size_t helper = 0; helper < helpers_.size(); ++helper) {
    if (claim(helper, generation)) {
      task(context, static_cast<int>(helper) + 1);
    } else {
      ++busy;
    }
  }
  for (unsigned done = done_.load(std::memory_order_acquire); done != busy;
       done = done_.load(std::memory_order_acquire)) {
    wait_for_change(done_, done);
  }
}

void ThreadPool::help(int index) {
  const FlushDenormals flush_denormals;
  unsigned seen = 0;
  while (true) {
    wait_for_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    // The caller waits for who has claimed: task_ is that of `seen` until the index is done.
    if (!claim(static_cast<std::size_t>(index) - 1, seen)) continue;
    task_(context_, index);
    done_.fetch_add(1, std::memory_order_release);
    done_.notify_one();
  }
}

bool ThreadPool::claim(std::size_t helper, unsigned generation) {
  unsigned before = generation - 1;
  return claims_[helper].generation.compare_exchange_strong(before, generation,
                                                            std::memory_order_acq_rel);
}

void ThreadPool::wait_for_change(const std::atomic<unsigned>& value, unsigned old) const {
  const auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  for (int spins = team_.spin ? kSpins : 0; spins > 0; --spins) {
    if (changed()) return;
    relax();
  }
  const auto begin = Clock::now();
  while (team_.spin && Clock::now() - begin < kAwake) {
    for (int yields = 0; yields < kYieldsPerClockReading; ++yields) {
      if (changed()) return;
      sched_yield();
    }
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace lockstep::kernels
