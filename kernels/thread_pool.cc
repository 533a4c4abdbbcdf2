#include "kernels/thread_pool.h"

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

// Waits until `value` is no longer `old`.
void wait_for_change(const std::atomic<unsigned>& value, unsigned old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int size) {
  for (int index = 1; index < size; ++index) {
    helpers_.emplace_back([this, index] { help(index); });
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

}  // namespace lockstep::kernels
