// A function that can be left in the middle and continued later, on a stack of its own.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace lockstep::kernels::cuda {

// One at a time of them runs, on the thread that resumes it.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next resume() begins `body`. What a body that was left in the middle holds on its stack is
  // abandoned.
  // REQUIRES: `body` does not throw.
  void start(std::function<void()> body);

  // Runs the body until it suspends or returns.
  void resume();

  // Called inside the body: goes back to where it was resumed.
  void suspend();

 private:
  void arrive();

  std::unique_ptr<std::byte[]> stack_;
  std::function<void()> body_;
  void* own_ = nullptr;  // where each of the two goes on
  void* resumer_ = nullptr;
  // What sanitizers know of the two stacks.
  void* tsan_own_ = nullptr;
  void* tsan_resumer_ = nullptr;
  void* asan_own_ = nullptr;
  const void* resumer_stack_ = nullptr;
  std::size_t resumer_bytes_ = 0;
};

}  // namespace lockstep::kernels::cuda
