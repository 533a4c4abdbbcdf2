#include "tests/kernels/cuda/fiber.h"

#include <boost/context/detail/fcontext.hpp>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace lockstep::kernels::cuda {
namespace {

// Not boost::context::fiber: it unwinds what was left in the middle, and takes a new stack each
// time.
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

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
  own_ = make_fcontext(stack_.get() + kStackBytes, kStackBytes, [](transfer_t from) {
    auto* fiber = static_cast<Fiber*>(from.data);
    fiber->resumer_ = from.fctx;
    fiber->arrive();
    fiber->body_();
    fiber->suspend();  // for ever: start() begins anew
  });
}

void Fiber::arrive() { announce_arrival(asan_own_, &resumer_stack_, &resumer_bytes_); }

void Fiber::resume() {
#if defined(__SANITIZE_THREAD__)
  tsan_resumer_ = __tsan_get_current_fiber();
#endif
  void* left = nullptr;
  announce_switch(&left, stack_.get(), kStackBytes, tsan_own_);
  own_ = jump_fcontext(own_, this).fctx;
  announce_arrival(left, nullptr, nullptr);
}

void Fiber::suspend() {
  announce_switch(&asan_own_, resumer_stack_, resumer_bytes_, tsan_resumer_);
  resumer_ = jump_fcontext(resumer_, nullptr).fctx;
  arrive();
}

}  // namespace lockstep::kernels::cuda
