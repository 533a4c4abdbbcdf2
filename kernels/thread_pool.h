// The compute threads of one rank.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/thread_affinity.h"

namespace lockstep::kernels {

// How the threads of a pool run.
struct ThreadTeam {
  int size = 1;
  // Whether threads that wait spin for a while before they sleep. Where there are more threads than
  // cores, a spinning thread keeps the one it waits for from running.
  bool spin = true;
  // Where each thread runs, `size` of them; empty: wherever the system puts them.
  std::vector<CpuSet> cpus = {};
};

// A fixed team: the calling thread and size() - 1 helpers. Work is split by index, so that which
// thread computes what has no part in the result. Helpers stay awake for a while after a task, for
// the next one of the same step is microseconds away, then sleep. Where a helper has not begun by
// the time the caller is done with its own index, its core is probably taken by another thread: the
// caller computes the helper's index then, and does not wait.
class ThreadPool {
 public:
  // REQUIRES: team.size >= 1. Throws Error when a helper cannot run where it should.
  explicit ThreadPool(ThreadTeam team);
  // A team that spins and is pinned nowhere.
  explicit ThreadPool(int size) : ThreadPool(ThreadTeam{.size = size}) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(helpers_.size()) + 1; }

  // While the result lives, the calling thread runs where the team's first thread should. The pool
  // does not pin its caller by itself: threads that a pinned thread starts inherit its one core.
  [[nodiscard]] PinnedThread pin_caller() const {
    return PinnedThread(team_.cpus.empty() ? CpuSet() : team_.cpus.front());
  }

  // Runs task(index) for index = 0 .. size() - 1, each once, 0 on the calling thread; returns when
  // all are done. The task must not throw; of all indices, only 0 may wait for others.
  template <class Task>
  void run(const Task& task) {
    run_erased([](const void* t, int index) { (*static_cast<const Task*>(t))(index); }, &task);
  }

  // Splits [0, count) into contiguous runs, one per thread: body(begin, end). Counts below
  // `serial_below` stay on the calling thread, for waking the others would cost more.
  template <class Body>
  void for_ranges(std::ptrdiff_t count, const Body& body, std::ptrdiff_t serial_below = 2) {
    if (size() == 1 || count < serial_below) {
      if (count > 0) body(std::ptrdiff_t{0}, count);
      return;
    }
    run([&](int index) {
      const std::ptrdiff_t begin = count * index / size();
      const std::ptrdiff_t end = count * (index + 1) / size();
      if (begin < end) body(begin, end);
    });
  }

 private:
  struct NoHelpersYet {};
  using ErasedTask = void (*)(const void*, int);

  ThreadPool(ThreadTeam team, NoHelpersYet);
  void run_erased(ErasedTask task, const void* context);
  void help(int index);
  // Takes a helper's index of task `generation`, for the helper itself or for the pool's caller.
  // False: the other one has it.
  bool claim(std::size_t helper, unsigned generation);
  // Waits until `value` is no longer `old`.
  void wait_for_change(const std::atomic<unsigned>& value, unsigned old) const;

  const ThreadTeam team_;
  ErasedTask task_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<unsigned> generation_{0};  // one more for every task
  alignas(64) std::atomic<unsigned> done_{0};        // helpers that finished the current task
  // Of each helper, the last task of which its index has been claimed.
  struct alignas(64) Claim {
    std::atomic<unsigned> generation{0};
  };
  const std::unique_ptr<Claim[]> claims_;
  std::atomic<bool> stop_{false};
  std::vector<std::jthread> helpers_;
};

}  // namespace lockstep::kernels
