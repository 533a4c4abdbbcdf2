#include "kernels/thread_pool.h"

#include <utility>

#include "kernels/flush_denormals.h"

namespace lockstep::kernels {
namespace {

// About 50 microseconds: longer than the gap between two operations of a step, far shorter than
// the gap between two steps.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(ThreadTeam team, NoHelpersYet) : team_(std::move(team)) {}

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
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  task(context, 0);
  const auto helpers = static_cast<unsigned>(helpers_.size());
  for (unsigned done = done_.load(std::memory_order_acquire); done != helpers;
       done = done_.load(std::memory_order_acquire)) {
    wait_for_change(done_, done);
  }
}

void ThreadPool::help(int index) {
  const FlushDenormals flush_denormals;
  unsigned seen = 0;
  while (true) {
    wait_for_change(generation_, seen);
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    task_(context_, index);
    done_.fetch_add(1, std::memory_order_release);
    done_.notify_one();
  }
}

void ThreadPool::wait_for_change(const std::atomic<unsigned>& value, unsigned old) const {
  for (int spins = team_.spin ? kSpins : 0; spins > 0; --spins) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace lockstep::kernels
