// What a coroutine waits on while others work for it.
#pragma once

#include "gateway/asio.h"

namespace lockstep::gateway {

// A flag that one coroutine waits for and anything on the same thread raises. Raising it before the
// wait is not lost; raising it twice is the same as once.
class Signal {
 public:
  explicit Signal(const asio::any_io_executor& executor) : timer_(executor) {}

  void raise() {
    raised_ = true;
    timer_.cancel();
  }

  // Returns when the signal was raised, or at `deadline`. False: it was not raised.
  asio::awaitable<bool> wait_until(Clock::time_point deadline) {
    if (!raised_) {
      timer_.expires_at(deadline);
      error_code cancelled;
      co_await timer_.async_wait(error_to(cancelled));
    }
    co_return std::exchange(raised_, false);
  }

 private:
  asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace lockstep::gateway
