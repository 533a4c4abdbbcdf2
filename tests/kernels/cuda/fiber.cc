#include "tests/kernels/cuda/fiber.h"

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace lockstep::kernels::cuda {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;  // the kernel gives pages as they are touched

// Sanitizers have to be told when another stack becomes the current one.
void announce_switch([[maybe_unused]] void** left, [[maybe_unused]] const void* stack,
                     [[maybe_unused]] std::size_t bytes, [[maybe_unused]] void* tsan_fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(left, stack, bytes);
#elif defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(tsan_fiber, 0);
#endif
}

void announce_arrival([[maybe_unused]] void* left, [[maybe_unused]] const void** old_stack,
                      [[maybe_unused]] std::size_t* old_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(left, old_stack, old_bytes);
#endif
}

}  // namespace

Fiber::Fiber() : stack_(std::make_unique_for_overwrite<std::byte[]>(kStackBytes)) {
#if defined(__SANITIZE_THREAD__)
  tsan_own_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(tsan_own_);
#endif
}

void Fiber::start(std::function<void()> body) {
  body_ = std::move(body);
  asan_own_ = nullptr;
  if (getcontext(&own_) != 0) throw std::system_error(errno, std::generic_category(), "getcontext");
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;
  // makecontext passes ints: the pointer goes in two halves.
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  makecontext(&own_, reinterpret_cast<void (*)()>(&Fiber::enter), 2,
              static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
}

void Fiber::enter(unsigned high, unsigned low) {
  auto* fiber = reinterpret_cast<Fiber*>(std::uintptr_t{high} << 32 | low);
  fiber->arrive();
  fiber->body_();
  fiber->suspend();  // for ever: start() begins anew
}

void Fiber::arrive() { announce_arrival(asan_own_, &resumer_stack_, &resumer_bytes_); }

void Fiber::resume() {
#if defined(__SANITIZE_THREAD__)
  tsan_resumer_ = __tsan_get_current_fiber();
#endif
  void* left = nullptr;
  announce_switch(&left, stack_.get(), kStackBytes, tsan_own_);
  swapcontext(&resumer_, &own_);
  announce_arrival(left, nullptr, nullptr);
}

void Fiber::suspend() {
  announce_switch(&asan_own_, resumer_stack_, resumer_bytes_, tsan_resumer_);
  swapcontext(&own_, &resumer_);
  arrive();
}

}  // namespace lockstep::kernels::cuda
