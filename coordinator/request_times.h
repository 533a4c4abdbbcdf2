// When what happened to a request.
#pragma once

#include <chrono>
#include <optional>

#include "comm/client_message.h"

namespace lockstep::coordinator {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct RequestTimes {
  Clock::time_point arrived;
  std::optional<Clock::time_point> first_scheduled;
  std::optional<Clock::time_point> first_token;
  std::optional<Clock::time_point> last_token;

  // Phases that were never reached last 0 ms.
  comm::Timings timings() const {
    comm::Timings timings;
    if (first_scheduled) timings.queue_ms = 1e3 * seconds_between(arrived, *first_scheduled);
    if (first_token) timings.prefill_ms = 1e3 * seconds_between(*first_scheduled, *first_token);
    if (last_token) timings.decode_ms = 1e3 * seconds_between(*first_token, *last_token);
    return timings;
  }
};

}  // namespace lockstep::coordinator
